"""Canaries whose gradients meet nothing else: what an audit adds to a network (PROTOCOL 4.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.contract import Network, Split, Task, TrainingContext, TrainingDefense, generator
from bench.contract.task import targets

_SCALE = 1000.0
"""Size of a canary's input to its own weight. The gradient of that weight is then larger than that
of all others together, and larger than usual clipping norms."""
BLANKS = 64
"""Weights of no canary, which show the noise alone."""


class CanaryWeights(nn.Module):
    """One weight per canary, which only that canary's records use.

    Canaries disturb one another in the weights that they share, which hides what a training tells
    about each (Keinan, Shenfeld, Ligett, arXiv 2503.07199, abstract). Here no other record has a
    gradient in the weight of a canary. What is added to the outputs is 0 whatever the weights are,
    and only its gradient is not. So a canary does not get used to its weight, and the rest of the
    network trains as it would without.

    A record is recognised by a random projection of its values, in float64.

    Args:
        records: of all canaries, ``[k, *shape]``; no two alike.
        owner: which canary each belongs to, int64 ``[k]``, from 0.
        towards: direction in the outputs that each of them asks for, ``[k, width]``.
    """

    def __init__(self, records: Tensor, owner: Tensor, towards: Tensor) -> None:
        super().__init__()
        count, device = int(owner.max()) + 1, records.device
        direction = torch.randn(records[0].numel(), generator=generator(0), dtype=torch.float64)
        self.direction: Tensor
        self.prints: Tensor
        self.owner: Tensor
        self.towards: Tensor
        self.register_buffer("direction", direction.to(device))
        prints, order = self._print(records).sort()
        self.register_buffer("prints", prints)
        self.register_buffer("owner", owner.to(device)[order])
        self.register_buffer("towards", towards.to(records)[order])
        self.weights = nn.Linear(count + BLANKS, 1, bias=False, device=device)
        nn.init.zeros_(self.weights.weight)

    def _print(self, x: Tensor) -> Tensor:
        return (x.flatten(1).double() * self.direction).sum(1)

    @torch.no_grad()
    def places(self, x: Tensor) -> Tensor:
        """Where each record stands among those of the canaries, int64 ``[n]``; -1 if it is none."""
        prints = self._print(x)
        after = torch.searchsorted(self.prints, prints).clamp(max=len(self.prints) - 1)
        before = (after - 1).clamp(min=0)
        nearer = (self.prints[before] - prints).abs() < (self.prints[after] - prints).abs()
        place = torch.where(nearer, before, after)
        known = (self.prints[place] - prints).abs() <= 1e-9 * (1 + prints.abs())
        return torch.where(known, place, -1)

    def forward(self, x: Tensor) -> Tensor:
        """What is added to the outputs, ``[n, width]``: 0, with a gradient."""
        place = self.places(x)
        marks = torch.zeros(len(x), self.weights.in_features, dtype=x.dtype, device=x.device)
        rows = (place >= 0).nonzero().squeeze(1)
        marks[rows, self.owner[place[rows]]] = _SCALE
        answer = self.weights(marks)
        outputs: Tensor = (answer - answer.detach()) * self.towards[place]
        return outputs


@dataclass
class Steps:
    """What the noisy steps of a training did to the canaries' weights.

    Attributes:
        weights: those of the network in training; None before it is built.
        total: sum over the steps of what went towards each canary's answer, each step in units of
            its clipping norm: for a canary that was left out noise alone; ``[m + BLANKS]``.
        count: number of steps.
    """

    weights: Tensor | None = None
    total: Tensor = field(default_factory=lambda: torch.zeros(0))
    count: int = 0

    def __call__(self, unit: float) -> None:
        """Called before a step, when the gradients are those that the training steps by.

        Args:
            unit: the most that one unit adds to the gradients, by their norm.
        """
        if self.weights is None or self.weights.grad is None:
            return
        moved = -self.weights.grad.detach()[0].double().cpu() / unit
        self.total = moved if self.count == 0 else self.total + moved
        self.count += 1


@dataclass(frozen=True)
class Planted(TrainingDefense):
    """Adds :class:`CanaryWeights` to a network before training; it is no defense.

    Attributes:
        records: of all canaries, included or not.
        owner: which canary each belongs to, int64 ``[k]``, from 0.
        layers: the defenses before it, which may change records one by one.
        steps: learns of the weights that are added.
    """

    records: Split
    owner: Tensor
    layers: Sequence[TrainingDefense]
    steps: Steps

    covers = frozenset()
    paper = "Steinke, Nasr, Jagielski, NeurIPS 2023; Keinan, Shenfeld, Ligett, arXiv 2503.07199"
    zero: ClassVar[Mapping[str, Any]] = {}

    def adapt(self, network: Network, context: TrainingContext) -> Network:
        """The same network, with the canaries' weights beside it."""
        records = self.records
        for layer in self.layers:
            records = layer.sanitize(records, context)
        towards = _towards(context.task, records, context.card.width(context.task))
        device = context.device
        added = CanaryWeights(records.x.to(device), self.owner.to(device), towards.to(device))
        network.canaries = added
        network.register_forward_hook(_sum)
        self.steps.weights = added.weights.weight
        return network


def _sum(network: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
    assert isinstance(network.canaries, CanaryWeights)
    added: Tensor = network.canaries(inputs[0])
    return outputs + added


def _towards(task: Task, records: Split, width: int) -> Tensor:
    """The outputs that lower the loss of each record, ``[k, width]``."""
    if task == "regression":
        return torch.ones(len(records), 1)
    if task == "recommendation":
        bought = targets(task, records)
        return bought / bought.mean(1, keepdim=True).clamp_min(1 / width)
    return nn.functional.one_hot(records.y, width).float()
