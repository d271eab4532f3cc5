"""Smaller trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bench.contract import Count, NonNegative, Recipe, TrainingDefense
from defenses.common import adaptive


@dataclass(frozen=True)
class Pruning(TrainingDefense):
    """Leaves of many records, and no branch that earns too little.

    A leaf that holds one record says what is in it. ``min_leaf`` bounds how few may share one;
    minimal cost-complexity pruning (Breiman et al. 1984, chapter 3; scikit-learn's ``ccp_alpha``)
    cuts a branch back while the impurity it saves is at most ``alpha`` per leaf.

    Attributes:
        min_leaf: training records that a leaf must hold, at least 1.
        alpha: complexity parameter, at least 0; 0 cuts nothing back.
    """

    min_leaf: Count = 10
    alpha: NonNegative = 0.0

    covers = frozenset({"labels", "scores", "weights"})
    needs = frozenset({"leaves"})
    modalities = frozenset({"table", "basket"})
    adaptive_attacks = (*adaptive.BASIC, "tree_counts", "black_box", "csmia", "membership")
    paper = (
        "Breiman, Friedman, Olshen, Stone, Classification and Regression Trees, 1984, chapter 3; "
        "Fredrikson, Jha, Ristenpart, CCS 2015, section 6 (decision trees)"
    )
    cost = "none: smaller trees"
    zero: ClassVar[Mapping[str, Any]] = {"min_leaf": 1, "alpha": 0.0}

    def recipe(self, recipe: Recipe) -> Recipe:
        """The stricter of the two demands."""
        return replace(
            recipe,
            min_leaf=max(recipe.min_leaf, self.min_leaf),
            prune=max(recipe.prune, self.alpha),
        )
