"""Learn features that a person does not see (AT-AT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.contract import Count, Network, NonNegative, Positive, Step, TrainingDefense
from defenses.common.perturbation import perturbed


@dataclass(frozen=True)
class AntiAdversarial(TrainingDefense):
    """Teach the network that a tiny perturbation makes a record one of another class.

    This is the anti-adversarial training of Torp, Smith and Breuer (ICLR 2026). Every record is
    perturbed towards a random other class, and that class is its label in a second cross-entropy.
    The network then relies on features that are brittle and invisible, and an inversion shows no
    person.

    Attributes:
        weight: weight of the second loss; 0 is no defense. Values worth a sweep are 0.03, 0.08, 0.3
            and 1.
        epsilon: largest change of every pixel in [0, 1]. The authors' 0.0005 of pixels in [-1, 1]
            is 0.00025 here; it is for pictures much larger than those of this suite, which need
            more.
        steps: number of gradient steps; each is a pass forward and backward.
        step_size: length of each step; null means epsilon / steps, as the authors have it.
    """

    weight: NonNegative = 0.08
    epsilon: Positive = 0.01
    steps: Count = 5
    step_size: Positive | None = None

    covers = frozenset({"labels", "scores", "weights", "deletions"})
    needs = frozenset({"steps"})
    tasks = ("classification",)
    modalities = frozenset({"image"})
    paper = "Torp, Smith, Breuer, ICLR 2026 (OpenReview BnEG8pn3pK), as the authors' code"
    cost = "steps + 1 more passes forth and back a step"
    zero: ClassVar[Mapping[str, Any]] = {"weight": 0.0}

    def penalty(
        self,
        network: Network,
        x: Tensor,
        y: Tensor,
        hidden: Sequence[Tensor],
        outputs: Tensor,
        step: Step,
    ) -> Tensor:
        """The loss of the perturbed records under the labels they were perturbed towards."""
        if self.weight == 0:
            return outputs.new_zeros(())
        own = y.argmax(1) if y.is_floating_point() else y
        # Every class but the record's own.
        away = torch.randint(1, step.n_classes, own.shape, generator=step.rng, device=own.device)
        other = (own + away) % step.n_classes
        size = self.step_size or self.epsilon / self.steps
        moved = perturbed(network, x, other, self.epsilon, self.steps, -size, step.rng)
        return self.weight * F.cross_entropy(network(moved), other)
