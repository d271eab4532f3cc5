"""Weight decay during training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bench.contract import NonNegative, Recipe, TrainingDefense
from defenses.common import adaptive


@dataclass(frozen=True)
class WeightDecay(TrainingDefense):
    """Add ``strength / 2 * ||w||^2`` over all parameters to the loss.

    Attributes:
        strength: weight of the L2 penalty; 0 is no defense. Values worth a sweep are 0.001, 0.003,
            0.01, 0.03 and 0.1.
    """

    strength: NonNegative = 0.01

    needs = frozenset({"descent"})
    adaptive_attacks = (*adaptive.BASIC, "hrec")
    paper = "Krogh & Hertz, NIPS 1991"
    cost = "none"
    zero: ClassVar[Mapping[str, Any]] = {"strength": 0.0}

    def recipe(self, recipe: Recipe) -> Recipe:
        """The same recipe with this penalty added."""
        return replace(recipe, weight_decay=recipe.weight_decay + self.strength)
