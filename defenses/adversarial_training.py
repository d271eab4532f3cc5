"""Train on records made hard for the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from bench.contract import Count, Network, NonNegative, Positive, Step, TrainingDefense
from defenses.common.perturbation import perturbed


@dataclass(frozen=True)
class AdversarialTraining(TrainingDefense):
    """Replace every record by the hardest one nearby (Madry et al., ICLR 2018).

    This is a control as much as a defense: a network that resists perturbations uses what people
    see, and that is what an inversion of a class shows (Torp, Smith and Breuer, ICLR 2026). For a
    table, any one column then moves the answers less; a perturbed record need not be one that can
    exist.

    Attributes:
        epsilon: largest change of every number of a record: of pixels in [0, 1], or of a table's
            scaled columns; 0 is no defense. Values worth a sweep are 0.01, 0.03, 0.1 and 0.3.
        steps: number of gradient steps; each is a pass forward and backward.
        step_size: length of each step; null means 2.5 epsilon / steps.
    """

    epsilon: NonNegative = 0.03
    steps: Count = 7
    step_size: Positive | None = None

    covers = frozenset({"labels", "scores", "weights", "deletions"})
    needs = frozenset({"steps"})
    tasks = ("classification",)
    modalities = frozenset({"image", "table"})
    paper = "Madry, Makelov, Schmidt, Tsipras, Vladu, ICLR 2018 (arXiv 1706.06083), section 2.1"
    cost = "steps more passes forth and back a step"
    zero: ClassVar[Mapping[str, Any]] = {"epsilon": 0.0}

    def augment(self, network: Network, x: Tensor, y: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """The hardest records nearby, with the same targets."""
        if self.epsilon == 0:
            return x, y
        size = self.step_size or 2.5 * self.epsilon / self.steps
        return perturbed(network, x, y, self.epsilon, self.steps, size, step.rng), y
