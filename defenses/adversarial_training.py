"""Train on records made hard for the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from bench.contract import Network, Step, TrainingDefense, require
from defenses.common.perturbation import perturbed


@dataclass(frozen=True)
class AdversarialTraining(TrainingDefense):
    """Replace every record by the hardest one nearby (Madry et al., ICLR 2018).

    A control as much as a defense: what resists perturbation is what people see, and by Torp, Smith
    and Breuer (ICLR 2026) what class inversion shows. Of a table it makes answers move less with
    any one column; a perturbed record need not be one that exists.

    Attributes:
        epsilon: most change of every number of a record: of pixels in [0, 1], of a table's scaled
            columns; 0 is no defense.
        steps: gradient steps, each a pass forth and back.
        step_size: of each; None: 2.5 epsilon / steps.
    """

    epsilon: float = 0.03
    steps: int = 7
    step_size: float | None = None

    covers = frozenset({"labels", "scores", "weights"})
    needs = frozenset({"steps"})
    tasks = ("classification",)
    modalities = frozenset({"image", "table"})
    adaptive_attacks = ("prior_inversion", "attribute_map", "basket_decoder", "lomma", "plg_mi")
    paper = "Madry, Makelov, Schmidt, Tsipras, Vladu, ICLR 2018 (arXiv 1706.06083), section 2.1"
    cost = "steps more passes forth and back a step"
    zero: ClassVar[Mapping[str, Any]] = {"epsilon": 0.0}

    def __post_init__(self) -> None:
        require(
            0.0 <= self.epsilon < float("inf"),
            f"AdversarialTraining.epsilon is {self.epsilon}; give a finite number of at least 0.",
        )
        require(
            self.steps >= 1,
            f"AdversarialTraining.steps is {self.steps}; give at least 1.",
        )
        require(
            self.step_size is None or 0.0 < self.step_size < float("inf"),
            f"AdversarialTraining.step_size is {self.step_size}; give a finite number above 0, or "
            "null for 2.5 epsilon / steps.",
        )

    def augment(self, network: Network, x: Tensor, y: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """The hardest records nearby, with the same targets."""
        if self.epsilon == 0:
            return x, y
        size = self.step_size or 2.5 * self.epsilon / self.steps
        return perturbed(network, x, y, self.epsilon, self.steps, size, step.rng), y
