"""Smaller trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bench.contract import Count, NonNegative, Recipe, TrainingDefense


@dataclass(frozen=True)
class Pruning(TrainingDefense):
    """Grow trees with leaves of many records and without branches that earn too little.

    A leaf with a single record says what that record holds. ``min_leaf`` bounds how few records may
    share a leaf. Minimal cost-complexity pruning (Breiman et al. 1984, chapter 3; scikit-learn's
    ``ccp_alpha``) cuts a branch back where the impurity that it saves is at most ``alpha`` per
    leaf.

    Attributes:
        min_leaf: least number of training records in a leaf. Values worth a sweep are 5, 10, 25 and
            50.
        alpha: complexity parameter; 0 cuts nothing back. Useful values lie between 0.001 and 0.02.
    """

    min_leaf: Count = 10
    alpha: NonNegative = 0.0

    covers = frozenset({"labels", "scores", "weights", "deletions"})
    needs = frozenset({"leaves"})
    modalities = frozenset({"table", "basket"})
    paper = (
        "Breiman, Friedman, Olshen, Stone, Classification and Regression Trees, 1984, chapter 3; "
        "Fredrikson, Jha, Ristenpart, CCS 2015, section 6 (decision trees)"
    )
    cost = "none: smaller trees"
    zero: ClassVar[Mapping[str, Any]] = {"min_leaf": 1, "alpha": 0.0}

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with the stricter of both demands, its own and this defense's."""
        return replace(
            recipe,
            min_leaf=max(recipe.min_leaf, self.min_leaf),
            prune=max(recipe.prune, self.alpha),
        )
