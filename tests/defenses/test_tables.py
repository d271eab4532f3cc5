"""Defenses of tables: fewer columns, groups that look the same, larger leaves."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from bench.contract import (
    Card,
    Column,
    Network,
    Sensitive,
    Split,
    Splits,
    TrainingContext,
    UserError,
    generator,
)
from bench.models.mlp import Mlp
from bench.models.ridge import Ridge
from bench.models.training import Loop, restore, train
from bench.models.trees import Boosting, DecisionTree, Leaves
from defenses.common.sanitizers import mondrian
from defenses.drop_attribute import DropAttribute
from defenses.k_anonymity import KAnonymity
from defenses.pruning import Pruning
from tests.models.records import numbers

MODEL = Mlp(hidden=(8,), epochs=3)


def people(n: int = 90) -> Splits:
    """Age, one of three towns (sensitive), a flag; ``n`` records a split."""
    rng = generator(0)
    town = torch.randint(3, (3 * n,), generator=rng)
    x = torch.cat(
        [
            torch.randn(3 * n, 1, generator=rng),
            torch.nn.functional.one_hot(town, 3).float(),
            (torch.rand(3 * n, 1, generator=rng) < 0.3).float(),
        ],
        1,
    )
    y = (x[:, 0] + 2 * x[:, 1] + x[:, 4] > 0.8).long()
    card = Card(
        "people",
        "survey",
        "table",
        (5,),
        ("no", "yes"),
        "record",
        "made up",
        "none",
        True,
        sensitive=Sensitive("town", ("a", "b", "c"), (1, 4), ((1, 0, 0), (0, 1, 0), (0, 0, 1))),
        fields=(
            Column("age", "number", (0, 1)),
            Column("town", "category", (1, 4), ("a", "b", "c")),
            Column("member", "category", (4, 5), ("yes",)),
        ),
    )
    full = Split(x, y, torch.arange(3 * n), town)
    return Splits(card, *(full.take(torch.arange(i * n, (i + 1) * n)) for i in range(3)))


def context(splits: Splits) -> TrainingContext:
    loop = Loop(MODEL, splits.card, "classification", "cpu")
    return TrainingContext(splits.card, "classification", splits.public, loop, 0, "cpu")


# ---------------------------------------------------------------- dropped attributes
@pytest.mark.parametrize("model", [MODEL, DecisionTree()])
def test_an_answer_does_not_depend_on_a_dropped_attribute(model: Any) -> None:
    splits = people()
    layers = [DropAttribute()]
    network, _ = train(model, layers, splits, 0, "cpu")
    plain, _ = train(model, [], splits, 0, "cpu")
    assert splits.card.sensitive is not None
    tried = splits.card.sensitive.candidates(splits.test.x)  # [n, 3, 5]
    assert torch.equal(network(tried[:, 0]), network(tried[:, 2]))
    assert not torch.equal(plain(tried[:, 0]), plain(tried[:, 2]))
    assert not torch.equal(network(tried[:, 0]), network(tried[:, 0] + torch.eye(5)[0] * 3))
    # Its names are those of any network, so that it can be loaded again and masks again.
    assert list(network.state_dict()) == list(plain.state_dict())
    again = restore(model, layers, splits, 0, network.state_dict(), "cpu")
    assert torch.equal(again(tried[:, 1]), network(tried[:, 0]))


def test_training_does_not_see_it_either() -> None:
    splits = people()
    shuffled = splits.train.x.clone()
    shuffled[:, 1:4] = shuffled[torch.randperm(90, generator=generator(1)), 1:4]
    other = dataclasses.replace(splits, train=dataclasses.replace(splits.train, x=shuffled))
    for model in (MODEL, DecisionTree()):
        one, two = (train(model, [DropAttribute()], s, 0, "cpu")[0] for s in (splits, other))
        for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_two_dropped_attributes_stack_and_a_regression_works() -> None:
    splits = people()
    layers = [DropAttribute(("age",)), DropAttribute(("town", "member"))]
    network, _ = train(MODEL, layers, splits, 0, "cpu")
    assert len(torch.unique(network(splits.test.x), dim=0)) == 1, "nothing is left to tell"
    dose = numbers()
    fields = tuple(Column(f"number {i}", "number", (i, i + 1)) for i in range(6))
    dose = dataclasses.replace(dose, card=dataclasses.replace(dose.card, fields=fields))
    ridge, report = train(Ridge(), [DropAttribute(("number 0",))], dose, 0, "cpu")
    assert report.train_accuracy < 0.7, "half of the outcome was said by it"
    x = dose.test.x
    assert torch.equal(ridge(x), ridge(x + 5 * torch.eye(6)[0]))


# ---------------------------------------------------------------- k-anonymity
def test_mondrian_on_hand_worked_numbers() -> None:
    # The first dimension is the widest once scaled by its range; its median cut is 3 | 3. Neither
    # half can be cut again at k = 3.
    values = np.array([[0, 0], [1, 9], [2, 0], [7, 9], [8, 0], [9, 9]], dtype=float)
    parts = {tuple(sorted(rows.tolist())) for rows in mondrian(values, 3)}
    assert parts == {(0, 1, 2), (3, 4, 5)}
    # At k = 1 every record is alone.
    assert len(mondrian(values, 1)) == 6
    # Equal values stay together: the cut nearest the median that is possible is 5 | 1.
    tied = np.array([[0.0]] * 5 + [[1.0]])
    assert sorted(len(rows) for rows in mondrian(tied, 1)) == [1, 5]
    assert [len(rows) for rows in mondrian(tied, 2)] == [6]


@pytest.mark.parametrize("k", [2, 5, 20])
def test_every_record_looks_like_k_of_them(k: int) -> None:
    splits = people()
    anonymous = KAnonymity(k=k).sanitize(splits.train, context(splits))
    _, same = torch.unique(anonymous.x, dim=0, return_counts=True)
    assert int(same.min()) >= k
    assert len(same) > 90 / (4 * k), "and not like needlessly many"
    assert torch.equal(anonymous.y, splits.train.y)
    # Valid records, and numbers keep their mean.
    assert torch.equal(anonymous.x[:, 1:4].sum(1), torch.ones(90))
    assert set(anonymous.x[:, 4].tolist()) <= {0, 1}
    torch.testing.assert_close(anonymous.x[:, 0].mean(), splits.train.x[:, 0].mean())


def test_a_class_takes_its_mean_and_its_most_common_category() -> None:
    splits = people()
    anonymous = KAnonymity(k=10).sanitize(splits.train, context(splits)).x
    for row in torch.unique(anonymous, dim=0):
        members = splits.train.x[(anonymous == row).all(1)]
        assert float(row[0]) == pytest.approx(float(members[:, 0].mean()), abs=1e-5)
        counts = members[:, 1:4].sum(0)
        assert float(counts[row[1:4].argmax()]) == float(counts.max())


def test_only_the_named_columns_are_grouped() -> None:
    splits = people()
    anonymous = KAnonymity(k=30, attributes=("age",)).sanitize(splits.train, context(splits)).x
    assert torch.equal(anonymous[:, 1:], splits.train.x[:, 1:])
    assert sorted(torch.unique(anonymous[:, 0], return_counts=True)[1].tolist()) == [45, 45]


# ---------------------------------------------------------------- trees
def leaves(network: Network) -> torch.Tensor:
    block = network.blocks[0]
    assert isinstance(block, Leaves)
    return block.counts[block.leaf >= 0]


def test_leaves_hold_many_records_and_branches_are_cut_back() -> None:
    splits = people()
    plain, _ = train(DecisionTree(), [], splits, 0, "cpu")
    large, _ = train(DecisionTree(), [Pruning(min_leaf=12)], splits, 0, "cpu")
    cut, _ = train(DecisionTree(), [Pruning(min_leaf=1, alpha=0.02)], splits, 0, "cpu")
    assert int(leaves(plain).min()) < 12 <= int(leaves(large).min())
    assert len(leaves(cut)) < len(leaves(plain))
    boosted, _ = train(Boosting(trees=3), [Pruning(min_leaf=20)], splits, 0, "cpu")
    assert int(leaves(boosted).min()) >= 20


def test_of_two_prunings_the_stricter_counts() -> None:
    recipe = DecisionTree().recipe
    for layer in (Pruning(5, 0.1), Pruning(20, 0.01)):
        recipe = layer.recipe(recipe)
    assert (recipe.min_leaf, recipe.prune) == (20, 0.1)


# ---------------------------------------------------------------- messages
def test_what_only_the_data_can_tell_is_refused_too() -> None:
    splits = people()
    with pytest.raises(UserError, match=r"names 'twon'.*Did you mean 'town'"):
        train(MODEL, [DropAttribute(("twon",))], splits, 0, "cpu")
    with pytest.raises(UserError, match="k = 91 records cannot be made of 90"):
        train(MODEL, [KAnonymity(k=91)], splits, 0, "cpu")
    nobody = dataclasses.replace(splits, card=dataclasses.replace(splits.card, sensitive=None))
    with pytest.raises(UserError, match="has no sensitive attribute"):
        train(MODEL, [DropAttribute()], nobody, 0, "cpu")
    with pytest.raises(UserError, match="needs leaves"):
        train(MODEL, [Pruning()], splits, 0, "cpu")
