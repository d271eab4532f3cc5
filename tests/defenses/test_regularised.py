"""The baseline that the utility of defenses is measured against."""

from __future__ import annotations

import dataclasses
from statistics import fmean

import torch

from bench.contract import Model
from bench.contract.task import loss
from bench.models.fitting import predict
from bench.models.mlp import Mlp
from bench.models.training import train
from bench.models.trees import DecisionTree
from defenses.regularised import Regularised
from tests.models.records import table

OVERFIT = Mlp(hidden=(64,), epochs=60, lr=0.01, batch_size=16)


def held_out(model: Model, layers: list[Regularised], seed: int) -> float:
    """The loss of records that no training saw."""
    splits = table(seed)
    network, _ = train(model, layers, splits, seed, "cpu")
    return float(loss("classification", predict(network, splits.test.x), splits.test.y))


def test_where_the_model_overfits_the_baseline_predicts_better() -> None:
    plain = fmean(held_out(OVERFIT, [], seed) for seed in range(2))
    tuned = fmean(held_out(OVERFIT, [Regularised()], seed) for seed in range(2))
    assert tuned < plain - 0.3


def test_where_the_model_is_well_made_it_is_left_as_it_is() -> None:
    # One pass overfits nothing, and every setting can only make it learn less.
    splits, modest = table(n=400), dataclasses.replace(OVERFIT, epochs=1, lr=0.003)
    plain, _ = train(modest, [], splits, 0, "cpu")
    tuned, _ = train(modest, [Regularised(settings=4)], splits, 0, "cpu")
    assert torch.equal(plain.head.weight, tuned.head.weight)


def test_trees_get_larger_leaves() -> None:
    model = DecisionTree(min_samples_leaf=1)
    assert held_out(model, [Regularised()], 0) < held_out(model, [], 0) - 1


def test_the_test_split_decides_nothing() -> None:
    splits = table()
    other = dataclasses.replace(splits, test=table(seed=1).test)
    one, _ = train(OVERFIT, [Regularised(settings=2)], splits, 0, "cpu")
    two, _ = train(OVERFIT, [Regularised(settings=2)], other, 0, "cpu")
    assert torch.equal(one.head.weight, two.head.weight)


def test_it_tries_as_many_settings_as_it_says() -> None:
    for settings in range(2, 7):
        defense = Regularised(settings=settings)
        tried = defense.recipes(OVERFIT.recipe)
        assert len(set(tried)) == defense.tries == settings
        assert tried[0] == OVERFIT.recipe
