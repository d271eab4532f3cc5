"""The one training loop, and the composition of training-time defenses around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.contract import (
    Card,
    DivergedError,
    FitReport,
    Model,
    Network,
    Recipe,
    Split,
    Splits,
    Step,
    Task,
    TrainingContext,
    TrainingDefense,
    clash,
    common_task,
    generator,
    overrides,
    require,
    sparse,
)
from bench.contract import seed as derive
from bench.contract.task import agreement, leading, loss, targets
from bench.models.seeded import seeded

LARGE = 2**28
"""Bytes of weights from which on they are laid out for products with compressed rows."""


@torch.no_grad()
def predict(network: Network, x: Tensor, batch_size: int = 1024) -> Tensor:
    """Raw outputs ``[n, width]`` of records ``[n, *shape]`` in evaluation mode."""
    network.eval()
    return torch.cat([network(part) for part in sparse.blocks(x, batch_size)])


def _share(network: Network, layers: Sequence[TrainingDefense], rng: torch.Generator) -> None:
    """Replace the gradient of a step by what a client with this batch would share."""
    parameters = {k: p for k, p in network.named_parameters() if p.grad is not None}
    update: Mapping[str, Tensor] = {k: p.grad for k, p in parameters.items() if p.grad is not None}
    for layer in layers:
        update = layer.share(update, rng)
    for name, parameter in parameters.items():
        parameter.grad = update[name]


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
class Loop:
    """Mini-batch training, or the model's own ``solve``: a :class:`bench.contract.Trainer`.

    Attributes:
        model: the architecture.
        card: the data's public description; gives the shape of a record.
        task: what the target predicts.
        device: torch device name.
        records: records trained on so far, each fit counted once.
        layers: defenses whose ``augment``, ``penalty`` and ``share`` act on every step, in order.
    """

    model: Model
    card: Card
    task: Task
    device: str
    records: int = 0
    layers: Sequence[TrainingDefense] = ()

    def context(self, public: Split, seed: int) -> TrainingContext:
        """What the defenses of a training by this loop may use."""
        return TrainingContext(self.card, self.task, public, self, seed, self.device)

    def build(self, width: int, seed: int) -> Network:
        """A fresh network of the target's architecture with ``width`` outputs."""
        return self.model.build(self.card.shape, width, seed).to(self.device)

    def fit(self, network: Network, split: Split, recipe: Recipe, seed: int) -> FitReport:
        """Train the parameters of ``network`` that require gradients, in place.

        The order of batches and the noise of stochastic layers come from generators of their own,
        so a defense that adds dropout sees the same batches as one that does not.

        Raises:
            DivergedError: the loss became NaN or Inf.
        """
        self.records += len(split)
        x, y = split.x.to(self.device), targets(self.task, split).to(self.device)
        if type(self.model).solve is not Model.solve:
            self.model.solve(network, x, y, recipe, seed)
            return self._report(network, x, y, recipe, 0)
        optimizer = recipe.optimizer_of(network)
        order = generator(derive(seed, part="batches"))
        noise = generator(derive(seed, part="share"), self.device)
        drawn = generator(derive(seed, part="augment"), self.device)
        sharing = [layer for layer in self.layers if overrides(layer, "share")]
        x, y, held = _hold_out(x, y, recipe.validation, seed)
        best = _Best(recipe.patience)
        loss_sum = torch.zeros((), device=self.device)
        steps, epoch = 0, 0
        network.train()
        with seeded(derive(seed, part="layers"), self.device):
            for epoch in range(recipe.epochs):
                optimizer.param_groups[0]["lr"] = recipe.lr_at(epoch)
                step = Step(epoch / recipe.epochs, self.card.n_classes, drawn)
                shuffled = torch.randperm(len(x), generator=order).to(self.device)
                loss_sum.zero_()
                for batch in torch.split(shuffled, recipe.batch_size):
                    optimizer.zero_grad()
                    error = self._error(network, x[batch], y[batch], step)
                    torch.autograd.backward(error)
                    if sharing:
                        _share(network, sharing, noise)
                    optimizer.step()
                    loss_sum += error.detach() * len(batch)
                    steps += 1
                if not math.isfinite(loss_sum.item()):
                    raise DivergedError(
                        f"The training loss became {loss_sum.item()} in epoch {epoch + 1} of "
                        f"{recipe.epochs}; lower the learning rate ({recipe.lr})."
                    )
                if held is not None and best.enough(network, self.task, *held):
                    break
        best.restore(network)
        report = self._report(network, x, y, recipe, steps)
        return replace(report, epochs=epoch + 1, final_loss=loss_sum.item() / len(x))

    def _error(self, network: Network, x: Tensor, y: Tensor, step: Step) -> Tensor:
        """The loss of one step, with what the layers add to it."""
        for layer in self.layers:
            x, y = layer.augment(network, x, y, step)
        penalised = [layer for layer in self.layers if overrides(layer, "penalty")]
        if not penalised:
            return loss(self.task, network(x), y)
        hidden, outputs = network.trace(x)
        error = loss(self.task, outputs, y)
        for layer in penalised:
            error = error + layer.penalty(network, x, y, hidden, outputs, step)
        return error

    def _report(
        self, network: Network, x: Tensor, y: Tensor, recipe: Recipe, steps: int
    ) -> FitReport:
        final_loss, accuracy = _fitted(network, self.task, x, y)
        return FitReport(
            epochs=recipe.epochs if steps else 1,
            steps=steps,
            final_loss=final_loss,
            train_accuracy=accuracy,
        )


@torch.no_grad()
def _fitted(network: Network, task: Task, x: Tensor, y: Tensor) -> tuple[float, float]:
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


def train(
    model: Model,
    layers: Sequence[TrainingDefense],
    splits: Splits,
    seed: int,
    device: str,
    watch: Callable[[float], None] | None = None,
) -> tuple[Network, FitReport]:
    """Train a target behind the training part of a defense.

    A layer's ``share`` hook acts on the gradient of every private step, as if one client held the
    batch, so that the target pays for what its clients hide. The test split is never read.
    Initial weights and batch order follow from ``seed`` alone, so all defenses of a repeat share
    them (PROTOCOL 3.1).

    Args:
        model: architecture and undefended recipe.
        layers: training-time defenses, in order; each hook is applied in that order.
        splits: the data; ``train`` and ``public`` are used.
        seed: of this repeat's training.
        device: torch device name.
        watch: of :class:`bench.contract.TrainingContext`.

    Returns:
        The network in evaluation mode, and what training did.

    Raises:
        UserError: two layers replace the training loop, or one does and another changes its steps,
            or one needs what the model lacks, or the model cannot learn from such data.
        DivergedError: the loss became NaN or Inf.
    """
    reason = clash(layers)
    require(reason is None, f"{reason}.")
    for layer in layers:
        missing = ", ".join(sorted(layer.needs - model.offers))
        require(
            not missing,
            f"{type(layer).__name__} needs {missing}, which {type(model).__name__} does not "
            "offer; choose another model.",
        )

    loop = Loop(model, splits.card, task_of(model, splits.card), device)
    context = replace(loop.context(splits.public, seed), watch=watch)
    data, recipe = splits.train, model.recipe
    for layer in layers:
        data = layer.sanitize(data, context)
        recipe = layer.recipe(recipe)
    network = _adapted(layers, context)
    # Private records do not reach a hook before fit, so whatever was trained on is public.
    public_records = loop.records
    trainer = next((layer for layer in layers if overrides(layer, "fit")), None)
    if trainer is not None:
        report = trainer.fit(network, data, recipe, context)
    else:
        report = replace(loop, layers=layers).fit(network, data, recipe, seed)
    network.eval()
    return network, replace(report, public_records=report.public_records + public_records)


def task_of(model: Model, card: Card) -> Task:
    """What a model learns from such data.

    Raises:
        UserError: it can learn nothing from it.
    """
    task = common_task(card.tasks, model.tasks)
    require(
        task is not None,
        f"{type(model).__name__} does {' or '.join(model.tasks)}, data set '{card.name}' offers "
        f"{' or '.join(card.tasks)}; choose another model.",
    )
    assert task is not None
    return task


def _adapted(layers: Sequence[TrainingDefense], context: TrainingContext) -> Network:
    """The network after the ``adapt`` hooks, before any private record."""
    width = context.card.width(context.task)
    network = context.trainer.build(width, derive(context.seed, part="init"))
    for layer in layers:
        network = layer.adapt(network, context)
    return network


def initial(
    model: Model, layers: Sequence[TrainingDefense], splits: Splits, seed: int, device: str
) -> Network:
    """The network that :func:`train` starts from, in evaluation mode.

    Args:
        model: as in :func:`train`.
        layers: as in :func:`train`; their ``adapt`` hooks run in full, public pre-training
            included, and decide which parameters require gradients.
        splits: as in :func:`train`; only ``public`` is read.
        seed: as in :func:`train`.
        device: torch device name.
    """
    loop = Loop(model, splits.card, task_of(model, splits.card), device)
    return _adapted(layers, loop.context(splits.public, seed)).to(device).eval()


class _Untrained(Loop):
    """A loop that repeats what a defense does to an architecture, without any training."""

    def fit(self, network: Network, split: Split, recipe: Recipe, seed: int) -> FitReport:
        """Leave ``network`` as it is; its weights are loaded afterwards."""
        return FitReport(epochs=0, steps=0, final_loss=0.0, train_accuracy=0.0)


def restore(
    model: Model,
    layers: Sequence[TrainingDefense],
    splits: Splits,
    seed: int,
    weights: Mapping[str, Tensor],
    device: str,
) -> Network:
    """A trained target from its options and its weights, in evaluation mode.

    Its parameters require gradients where they did in training.

    Args:
        model: as in :func:`train`.
        layers: as in :func:`train`; their ``adapt`` hooks shape the network again.
        splits: as in :func:`train`.
        seed: as in :func:`train`.
        weights: the state dictionary of the network that :func:`train` returned.
        device: torch device name.

    Raises:
        RuntimeError: the weights do not fit, name by name and shape by shape.
    """
    loop = _Untrained(model, splits.card, task_of(model, splits.card), device)
    network = _adapted(layers, loop.context(splits.public, seed))
    state = dict(weights)
    large = sum(value.nbytes for value in state.values()) > LARGE
    if large:
        # A product with compressed rows copies a matrix that does not lie as it reads it.
        state = {k: v.t().contiguous().t() if v.dim() == 2 else v for k, v in state.items()}
    network.load_state_dict(state, strict=True, assign=large)
    return network.to(device).eval()
