"""No defense, but well trained: the baseline that the utility of defenses is measured against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Le

from bench.contract import (
    FitReport,
    Fraction,
    Network,
    Recipe,
    Split,
    TrainingContext,
    TrainingDefense,
    generator,
)
from bench.contract import seed as derive
from bench.contract.task import loss, targets
from defenses.common.descent import predict


@dataclass(frozen=True)
class Regularised(TrainingDefense):
    """The model as a careful owner trains it who thinks of usefulness only.

    Nearly every defense regularises. Compared with an overfit model it looks free, whatever it
    costs. So this baseline gets what defenses get: a number of settings, of which the best is kept.
    Each is trained on most of the training records, from the same initial weights, and judged by
    its loss on the rest. The best of them is trained again on all training records. The test split
    decides nothing. Nothing is done against an attacker; that a regularised model often leaks less
    is no merit of a defense, and a board shows it as a row of its own.

    The settings come in a fixed order, each on top of the recipe of the model:

    1. the recipe as it is;
    2. training stops when the loss of a tenth of the records no longer falls for 3 epochs;
       leaves of trees hold at least 5 records;
    3. a weight decay of 0.003; leaves of at least 10;
    4. a weight decay of 0.03; leaves of at least 25;
    5. a quarter of the epochs; leaves of at least 50;
    6. a weight decay of 0.01 and the early stopping of 2; leaves of at least 100.

    What a model does not have (epochs, weights, leaves) stays as it is.

    Attributes:
        settings: how many of them are tried, the first ones; 1 is the model as it is. Give it as
            many as each defense of the grid has.
        validation: share of the training records that judges the settings.
    """

    settings: Annotated[int, Ge(1), Le(6)] = 4
    validation: Fraction = 0.2

    covers = frozenset({"labels", "scores", "weights", "deletions"})
    paper = (
        "none: early stopping (Prechelt 1998), weight decay (Krogh and Hertz 1991) and larger "
        "leaves, chosen by a hold-out"
    )
    cost = "a training for every setting"
    by_trainer: ClassVar[bool] = True
    zero: ClassVar[Mapping[str, Any]] = {"settings": 1}

    @property
    def tries(self) -> int:
        """Settings among which it chooses by itself."""
        return self.settings

    def fit(
        self, network: Network, train: Split, recipe: Recipe, context: TrainingContext
    ) -> FitReport:
        """Try every setting on most of the records, then train the best on all of them."""
        order = torch.randperm(
            len(train), generator=generator(derive(context.seed, part="settings"))
        ).to(train.x.device)
        count = min(max(1, round(self.validation * len(train))), len(train) - 1)
        held, kept = train.take(order[:count]).to(context.device), train.take(order[count:])
        best, least = recipe, math.inf
        fits = [(deepcopy(network), kept, tried, context.seed) for tried in self.recipes(recipe)]
        context.trainer.fit_all(fits)
        for candidate, _, tried, _ in fits:
            outputs = predict(candidate, held.x)
            found = float(loss(context.task, outputs, targets(context.task, held)))
            if found < least:
                best, least = tried, found
        return context.trainer.fit(network, train, best, context.seed)

    def recipes(self, recipe: Recipe) -> tuple[Recipe, ...]:
        """The settings that are tried, the recipe as it is first."""
        stopped = replace(recipe, validation=0.1, patience=3)
        decay, leaf = recipe.weight_decay, recipe.min_leaf
        every = (
            recipe,
            replace(stopped, min_leaf=max(leaf, 5)),
            replace(recipe, weight_decay=decay + 0.003, min_leaf=max(leaf, 10)),
            replace(recipe, weight_decay=decay + 0.03, min_leaf=max(leaf, 25)),
            replace(recipe, epochs=max(1, recipe.epochs // 4), min_leaf=max(leaf, 50)),
            replace(stopped, weight_decay=decay + 0.01, min_leaf=max(leaf, 100)),
        )
        return every[: self.settings]
