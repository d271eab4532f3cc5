"""Train on mixtures of two records."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.contract import Network, NonNegative, Step, TrainingDefense
from bench.contract.task import distribution


@dataclass(frozen=True)
class Mixup(TrainingDefense):
    """Train on ``w x_i + (1 - w) x_j`` with targets mixed alike, ``w ~ Beta(alpha, alpha)``.

    As in the authors' code, a batch has one weight, and its partners are a permutation of the
    batch. The network is never trained on a record as it is. What clients share is here a gradient
    of records that are not mixed.

    Attributes:
        alpha: parameter of the Beta distribution; the larger it is, the closer the weight is to one
            half; 0 or null is no defense. Values worth a sweep are 0.2, 1, 4 and 16.
    """

    alpha: NonNegative | None = 1.0

    covers = frozenset({"labels", "scores", "weights", "deletions"})
    needs = frozenset({"steps"})
    tasks = ("classification",)
    paper = "Zhang, Cisse, Dauphin, Lopez-Paz, ICLR 2018 (arXiv 1710.09412), section 2"
    cost = "a mixture a step"
    zero: ClassVar[Mapping[str, Any]] = {"alpha": None}

    def augment(self, network: Network, x: Tensor, y: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Mix the batch with a permutation of itself."""
        if not self.alpha:
            return x, y
        # PyTorch cannot draw from a Beta distribution with a generator of our own.
        drawn = int(torch.randint(2**62, (), generator=step.rng, device=x.device))
        weight = random.Random(drawn).betavariate(self.alpha, self.alpha)
        partner = torch.randperm(len(x), generator=step.rng, device=x.device)
        y = distribution(y, step.n_classes)
        return weight * x + (1 - weight) * x[partner], weight * y + (1 - weight) * y[partner]
