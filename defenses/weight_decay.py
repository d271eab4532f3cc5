"""Weight decay during training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bench.contract import Recipe, TrainingDefense, require


@dataclass(frozen=True)
class WeightDecay(TrainingDefense):
    """Shrink all parameters towards 0 at every step.

    With Adam the decay is decoupled (Loshchilov & Hutter, ICLR 2019): a step multiplies the
    parameters by ``1 - lr * strength``, which at lr 0.001 needs a strength of about 0.1 to 10.

    Attributes:
        strength: decay coefficient, at least 0; 0 is no defense.
    """

    strength: float = 3.0

    adaptive_attacks = ("prior_inversion", "miface", "attribute_map", "basket_decoder")
    paper = "Krogh & Hertz, NIPS 1991"
    zero: ClassVar[Mapping[str, Any]] = {"strength": 0.0}

    def __post_init__(self) -> None:
        require(
            0.0 <= self.strength < float("inf"),
            f"WeightDecay.strength is {self.strength}; give a finite number of at least 0.",
        )

    def recipe(self, recipe: Recipe) -> Recipe:
        """The same recipe with this decay added."""
        return replace(recipe, weight_decay=recipe.weight_decay + self.strength)
