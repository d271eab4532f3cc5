"""One training by steps: what it trains on, its generators, and how far it has come."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.contract import (
    DivergedError,
    FitReport,
    Network,
    Recipe,
    Split,
    Step,
    Task,
    generator,
    sparse,
)
from bench.contract import seed as derive
from bench.contract.task import agreement, leading, loss, targets

if TYPE_CHECKING:
    from bench.models.training import Loop


@torch.no_grad()
def predict(network: Network, x: Tensor, batch_size: int = 1024) -> Tensor:
    """Raw outputs ``[n, width]`` of records ``[n, *shape]`` in evaluation mode."""
    network.eval()
    return torch.cat([network(part) for part in sparse.blocks(x, batch_size)])


@torch.no_grad()
def fitted(network: Network, task: Task, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Loss and agreement on the training records, those in compressed rows a part at a time."""
    if not sparse.is_sparse(x):
        outputs = predict(network, x)
        return float(loss(task, outputs, y)), agreement(task, outputs, y)
    totals = torch.zeros(2, dtype=torch.float64)
    for part in sparse.blocks(x):
        outputs, target = predict(network, part), sparse.dense(part)
        means = float(loss(task, outputs, target)), leading(outputs, target)
        totals += len(target) * torch.tensor(means, dtype=torch.float64)
    final_loss, accuracy = (totals / len(x)).tolist()
    return final_loss, accuracy


def _hold_out(
    x: Tensor, y: Tensor, share: float, seed: int
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
    """Records and targets without a random ``share`` of them, and that share; None if it is 0."""
    if share == 0:
        return x, y, None
    rng = generator(derive(seed, part="validation"))
    order = torch.randperm(len(x), generator=rng).to(x.device)
    count = min(max(1, round(share * len(x))), len(x) - 1)
    held, kept = order[:count], order[count:]
    return x[kept], y[kept], (x[held], y[held])


@dataclass
class _Best:
    """The best epoch so far, by the loss of the records held out."""

    patience: int
    loss: float = math.inf
    since: int = 0
    state: dict[str, Tensor] | None = None

    def enough(self, network: Network, task: Task, x: Tensor, y: Tensor) -> bool:
        """Whether the last ``patience`` epochs were no better; the best weights are kept."""
        present = float(loss(task, predict(network, x), y))
        network.train()
        if present < self.loss:
            self.loss, self.since = present, 0
            self.state = {k: v.detach().clone() for k, v in network.state_dict().items()}
        else:
            self.since += 1
        return self.since >= max(self.patience, 1)

    def restore(self, network: Network) -> None:
        """Put the best weights back, if records were held out."""
        if self.state is not None:
            network.load_state_dict(self.state)


@dataclass
class Fitting:
    """One training by steps: what it trains on, its generators, and how far it has come.

    The order of batches and the noise of stochastic layers come from generators of their own, so a
    defense that adds dropout sees the same batches as one that does not.

    Attributes:
        loop: the loop that trains.
        network: is trained in place.
        split: the records.
        recipe: how.
        seed: decides everything random.
    """

    loop: Loop
    network: Network
    split: Split
    recipe: Recipe
    seed: int
    x: Tensor = field(init=False)
    y: Tensor = field(init=False)
    noise: torch.Generator = field(init=False)
    steps: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        device, seed = self.loop.device, self.seed
        x = self.split.x.to(device)
        y = targets(self.loop.task, self.split).to(device)
        self._order = generator(derive(seed, part="batches"))
        self.noise = generator(derive(seed, part="share"), device)
        self._drawn = generator(derive(seed, part="augment"), device)
        self.x, self.y, self._held = _hold_out(x, y, self.recipe.validation, seed)
        self._best = _Best(self.recipe.patience)
        self._epochs, self._loss = 0, 0.0

    @property
    def layer_seed(self) -> int:
        """Seed of the noise of stochastic layers."""
        return derive(self.seed, part="layers")

    def shuffled(self) -> Tensor:
        """The order of the records in the next epoch, int64 ``[n]``."""
        return torch.randperm(len(self.x), generator=self._order).to(self.x.device)

    def step(self, epoch: int) -> Step:
        """Where training is in an epoch, for its layers."""
        return Step(epoch / self.recipe.epochs, self.loop.card.n_classes, self._drawn)

    def ended(self, epoch: int, loss_sum: float, steps: int) -> bool:
        """Take note of an epoch; whether it was the last.

        Args:
            epoch: its number, from 0.
            loss_sum: sum of the losses of its records.
            steps: how many it had.

        Raises:
            DivergedError: the loss became NaN or Inf.
        """
        recipe = self.recipe
        if not math.isfinite(loss_sum):
            raise DivergedError(
                f"The training loss became {loss_sum} in epoch {epoch + 1} of "
                f"{recipe.epochs}; lower the learning rate ({recipe.lr})."
            )
        self.steps += steps
        self._epochs, self._loss = epoch + 1, loss_sum / len(self.x)
        task, held = self.loop.task, self._held
        stops = held is not None and self._best.enough(self.network, task, *held)
        return stops or epoch + 1 == recipe.epochs

    def report(self) -> FitReport:
        """Put the best weights back, if records were held out, and say what training did."""
        self._best.restore(self.network)
        soft = self.loop.task == "classification" and self.y.is_floating_point()
        y = self.y.argmax(1) if soft else self.y
        _, accuracy = fitted(self.network, self.loop.task, self.x, y)
        return FitReport(self._epochs, self.steps, self._loss, accuracy)
