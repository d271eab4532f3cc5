"""Soft labels, positive or negative."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Le
from torch import Tensor

from bench.contract import Network, Step, TrainingDefense
from bench.contract.task import distribution


@dataclass(frozen=True)
class LabelSmoothing(TrainingDefense):
    """Train on ``(1 - alpha) y + alpha / K`` for K classes instead of ``y``.

    Struppek, Hintersdorf and Kersting (ICLR 2024): a positive alpha makes the inversion of a class
    easier, a negative one harder. A negative alpha rewards ever smaller logits of the other
    classes, so the gradient at a trained class vanishes; an attack on raw logits does not need that
    gradient.

    Attributes:
        alpha: amount of smoothing; 0 is no defense, and a negative amount is the defense of the
            paper. Values worth a sweep are -0.3, -0.1, -0.05 and 0.1.
        schedule: with ``paper`` a negative alpha is 0 for the first half of the epochs, then grows
            linearly as if it were to be whole at the end, and is whole from three quarters on, as
            in the authors' training over 100 epochs; a positive alpha is whole from the start. With
            ``constant`` it is always whole.
    """

    alpha: Annotated[float, Le(1)] = -0.05
    schedule: Literal["paper", "constant"] = "paper"

    covers = frozenset({"labels", "scores", "weights", "deletions"})
    needs = frozenset({"steps"})
    tasks = ("classification",)
    paper = (
        "Struppek, Hintersdorf, Kersting, ICLR 2024 (arXiv 2310.06549), schedule as train_model.py "
        "of the authors' code; Szegedy et al., CVPR 2016, section 7"
    )
    cost = "none"
    zero: ClassVar[Mapping[str, Any]] = {"alpha": 0.0}
    # A probe of few epochs would hardly leave the first half.
    probe: ClassVar[Mapping[str, Any]] = {"schedule": "constant"}

    def strength(self, progress: float) -> float:
        """Alpha where ``progress`` of the epochs are done."""
        if self.schedule == "constant" or self.alpha > 0 or progress >= 0.75:
            return self.alpha
        return self.alpha * max(0.0, 2 * progress - 1)

    def augment(self, network: Network, x: Tensor, y: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Smooth the targets, whatever earlier layers made of them."""
        alpha = self.strength(step.progress)
        if alpha == 0:
            return x, y
        return x, (1 - alpha) * distribution(y, step.n_classes) + alpha / step.n_classes
