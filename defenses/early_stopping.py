"""Stop training before it fits its records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bench.contract import Count, Recipe, Share, TrainingDefense


@dataclass(frozen=True)
class EarlyStopping(TrainingDefense):
    """Stop when the loss of held-out records no longer falls, and keep the best weights.

    The held-out records are training records, so the test split decides nothing. The judge still
    counts them as members, though no step ever saw them: leakage is over all records of the owner.

    Attributes:
        validation: share of the training records that is held out; 0 or null is no defense.
        patience: epochs without a better validation loss before training stops. Values worth a
            sweep are 1, 3, 5 and 10.
    """

    validation: Share | None = 0.1
    patience: Count = 3

    covers = frozenset({"labels", "scores", "weights", "deletions"})
    needs = frozenset({"steps"})
    on_steps: ClassVar[bool] = True
    paper = "Prechelt, Early Stopping - But When?, Neural Networks: Tricks of the Trade, 1998"
    cost = "the records held out"
    zero: ClassVar[Mapping[str, Any]] = {"validation": None}

    def recipe(self, recipe: Recipe) -> Recipe:
        """The same recipe that stops early."""
        if not self.validation:
            return recipe
        return replace(recipe, validation=self.validation, patience=self.patience)
