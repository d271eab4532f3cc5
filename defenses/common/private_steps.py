"""Private steps: Poisson batches, gradients clipped unit by unit, and noise on their sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from opacus import PrivacyEngine
from opacus.optimizers import AdaClipDPOptimizer, DPOptimizer
from opacus.validators import ModuleValidator
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, TensorDataset

from bench.contract import Network, Task, require
from bench.contract.task import loss

Clipping = Literal["flat", "per_layer", "adaptive"]

_CLIP_RATE = 0.2
"""eta_C of the adaptive clipping norm (Andrew et al. NeurIPS 2021)."""


class AdaptiveClip(AdaClipDPOptimizer):  # type: ignore[misc]
    """Opacus's adaptive clipping with the count of Andrew et al. (NeurIPS 2021, algorithm 1).

    Opacus 1.6 charges the noise on the count of unclipped gradients as if one record moved the
    count by 1/2. A record moves it by 1, and the exact size of the batch, by which Opacus divides,
    is private too and may be 0. Here every record of the batch adds 1/2 or -1/2, and the sum is
    divided by the expected size.
    """

    max_grad_norm: float

    def clip_and_accumulate(self) -> None:
        """Clip at the present norm and count; an empty batch counts no record."""
        if len(self.grad_samples[0]):
            super().clip_and_accumulate()
        else:
            DPOptimizer.clip_and_accumulate(self)
            self.unclipped_num = torch.zeros((), device=self.grad_samples[0].device)

    def update_max_grad_norm(self) -> None:
        """Move the norm towards the quantile, by the noisy count."""
        centred = float(self.unclipped_num) - self.sample_size / 2
        share = centred / self.expected_batch_size + 0.5
        moved = self.max_grad_norm * math.exp(
            -self.clipbound_learning_rate * (share - self.target_unclipped_quantile)
        )
        self.max_grad_norm = min(max(moved, self.min_clipbound), self.max_clipbound)


@dataclass
class Units:
    """Whose records are drawn, clipped and protected together.

    Attributes:
        owner: unit of every record, int64 ``[n]``, from 0.
        count: number of units.
        single: whether every unit has one record.
    """

    owner: Tensor
    count: int = field(init=False)
    single: bool = field(init=False)

    def __post_init__(self) -> None:
        self.count = int(self.owner.max()) + 1
        self.single = self.count == len(self.owner)
        if self.single:
            # The order of ids must not decide who is drawn.
            self.owner = torch.arange(self.count, device=self.owner.device)

    @classmethod
    def records(cls, n: int) -> Units:
        """Every record for itself."""
        return cls(torch.arange(n))

    @classmethod
    def people(cls, person: Tensor) -> Units:
        """The records of a person together; ``person`` ``[n]`` names them."""
        return cls(torch.unique(person, return_inverse=True)[1])

    def rows(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Records of the units ``drawn``, and the place of their unit in it, int64 ``[m]`` each."""
        if self.single:
            return drawn, torch.arange(len(drawn), device=drawn.device)
        place = torch.full((self.count,), -1, device=drawn.device)
        place[drawn] = torch.arange(len(drawn), device=drawn.device)
        place_of_record = place[self.owner.to(drawn.device)]
        rows = (place_of_record >= 0).nonzero().squeeze(1)
        return rows, place_of_record[rows]


class PrivateSteps:
    """A network, its optimizer and its loader, made private by Opacus.

    Args:
        network: is trained in place.
        optimizer: of the parameters of the network.
        loader: goes over the numbers of the units; its sampler is replaced by a Poisson one.
        units: says which records belong together.
        task: what the network predicts.
        clipping: ``flat`` is one norm of the whole gradient, by ghost clipping where every unit is
            one record: two backward passes instead of a gradient per record, which is as fast on
            small convolutions and up to twenty times faster on wide linear layers. ``per_layer`` is
            an equal norm for every parameter tensor, with the joint norm ``clip_norm``.
            ``adaptive`` follows a quantile.
        sigma: noise multiplier.
        clip_norm: C, or where it starts.
        quantile: of the norms of gradients, which an adaptive C follows.
        rng: generator of the noise.
        watch: of :class:`bench.contract.TrainingContext`.
    """

    def __init__(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        loader: DataLoader[tuple[Tensor, ...]],
        units: Units,
        task: Task,
        *,
        clipping: Clipping,
        sigma: float,
        clip_norm: float,
        quantile: float,
        rng: torch.Generator,
        watch: Callable[[float], None] | None = None,
    ) -> None:
        refuse_mixing(network)
        refuse_weights(loader)
        self.units = units
        self.empty = 0
        self._ghost = clipping == "flat" and units.single
        self._criterion = _Criterion(task)
        self._engine = PrivacyEngine(accountant="prv")
        count = sum(len(group["params"]) for group in optimizer.param_groups)
        made = self._engine.make_private(
            module=network.train(),
            optimizer=optimizer,
            data_loader=loader,
            noise_multiplier=sigma,
            max_grad_norm=(
                [clip_norm / math.sqrt(count)] * count if clipping == "per_layer" else clip_norm
            ),
            clipping="per_layer" if clipping == "per_layer" else "flat",
            grad_sample_mode="ghost" if self._ghost else "hooks",
            criterion=self._criterion,
            noise_generator=rng,
        )
        if self._ghost:
            self._module, self._optimizer, self._criterion, self._loader = made
        else:
            self._module, self._optimizer, self._loader = made
        if clipping == "adaptive":
            self._adapt(sigma, clip_norm, quantile, rng, 1 / len(loader))
        if watch is not None:
            inner = self._optimizer.original_optimizer
            inner.register_step_pre_hook(lambda *_: watch(self._unit))

    def _adapt(
        self, sigma: float, clip_norm: float, quantile: float, rng: torch.Generator, rate: float
    ) -> None:
        expected = self._optimizer.expected_batch_size
        self._optimizer = AdaptiveClip(
            self._optimizer.original_optimizer,
            # Of gradients and count together (theorem 1); the accountant gets this number.
            noise_multiplier=sigma,
            target_unclipped_quantile=quantile,
            clipbound_learning_rate=_CLIP_RATE,
            min_clipbound=1e-6 * clip_norm,
            max_clipbound=1e6 * clip_norm,
            # m / 20 as in the paper; on small batches more, so that gradients need at most 16% more
            # noise than without a count.
            unclipped_num_std=max(expected / 20, sigma),
            max_grad_norm=clip_norm,
            expected_batch_size=expected,
            generator=rng,
        )
        self._optimizer.attach_step_hook(self._engine.accountant.get_optimizer_hook_fn(rate))

    @property
    def history(self) -> list[tuple[float, float, int]]:
        """Noise multiplier, sample rate and number of steps, by the engine's own count."""
        history: list[tuple[float, float, int]] = self._engine.accountant.history
        return history

    @property
    def clip_norm(self) -> float:
        """C of the next step."""
        return float(self._optimizer.max_grad_norm)

    def batches(self) -> Iterator[Tensor]:
        """The batches of an expected pass over the units: numbers of units, perhaps none."""
        for (drawn,) in self._loader:
            yield drawn

    def step(self, drawn: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, int]:
        """One noisy step.

        Args:
            drawn: numbers of units.
            x: all records ``[n, *shape]``.
            y: all targets.

        Returns:
            The loss summed over the records used, and their number.
        """
        self._optimizer.zero_grad()
        rows, place = self.units.rows(drawn)
        total = torch.zeros((), device=x.device)
        if len(rows):
            error = self._criterion(self._module(x[rows]), y[rows])
            # In ghost mode Opacus returns an object of its own, which is no tensor.
            error.backward()
            total = error.detach() * len(rows)
            if not self.units.single:
                self._gather(place, len(drawn))
        else:
            # To skip the step would reveal that the batch is empty, and the accountant would not
            # count it: the step is made on noise alone (opacus issue 161).
            self.empty += 1
            for parameter in self._optimizer.params:
                if self._ghost:
                    parameter.grad = torch.zeros_like(parameter)
                else:
                    parameter.grad_sample = parameter.new_zeros(0, *parameter.shape)
        # An adaptive C moves within the step, after the noise.
        self._unit = self.clip_norm / self._optimizer.expected_batch_size
        self._optimizer.step()
        return total, len(rows)

    def _gather(self, place: Tensor, count: int) -> None:
        """Replace the gradients of a unit's records by their mean, before they are clipped."""
        member = (place == torch.arange(count, device=place.device).unsqueeze(1)).float()
        member /= member.sum(1, keepdim=True)
        for parameter in self._optimizer.params:
            # A product, not index_add: on a GPU the latter adds in any order.
            mean = member.to(parameter.dtype) @ parameter.grad_sample.flatten(1)
            parameter.grad_sample = mean.view(count, *parameter.shape)

    def close(self) -> None:
        """Leave the network without any trace of Opacus."""
        self._optimizer.zero_grad(set_to_none=True)
        self._module.to_standard_module()


class _Criterion(torch.nn.Module):
    """The loss of the task; Opacus asks for it record by record by setting ``reduction``."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        self.reduction = "mean"

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The mean, or one number a record."""
        return loss(self.task, outputs, target, self.reduction)


def unit_loader(
    count: int, batch_size: int, rng: torch.Generator
) -> DataLoader[tuple[Tensor, ...]]:
    """A loader over the numbers of ``count`` units."""
    return DataLoader(TensorDataset(torch.arange(count)), batch_size=batch_size, generator=rng)


def refuse_weights(loader: DataLoader[tuple[Tensor, ...]]) -> None:
    """Refuse a loader that does not draw all units with the same probability."""
    sampler = loader.sampler
    plain = isinstance(sampler, SequentialSampler) or (
        isinstance(sampler, RandomSampler) and not sampler.replacement
    )
    require(
        plain,
        f"DpSgd was given a loader with a {type(sampler).__name__}, but its accountant assumes "
        "that every record is drawn with the same chance (opacus issue 813): the epsilon would "
        "not hold; use a loader without a sampler.",
    )


def refuse_mixing(network: Network) -> None:
    """Refuse layers that mix records, even if they are frozen: their statistics are private too."""
    names = {
        type(m).__name__
        for m in network.modules()
        if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)
    }
    require(
        not names,
        f"DpSgd cannot train {', '.join(sorted(names))}: a batch statistic mixes records; use "
        "group normalisation.",
    )
    errors = ModuleValidator.validate(network.train())
    require(not errors, f"DpSgd cannot train this network: {'; '.join(map(str, errors))}.")
