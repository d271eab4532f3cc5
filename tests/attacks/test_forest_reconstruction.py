"""The training set of a random forest, from the counts in its leaves."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from attacks.common.forest_program import solve
from attacks.common.leaf_boxes import read
from attacks.forest_reconstruction import ForestReconstruction
from attacks.public_records import PublicRecords
from bench.contract import (
    Card,
    Column,
    Exposure,
    Knowledge,
    Model,
    Network,
    Reconstruction,
    Split,
    Splits,
    Truth,
    UserError,
    generator,
)
from bench.contract.columns import Layout
from bench.metrics.training_instance import score
from bench.models.trees import Boosting, DecisionTree, RandomForest
from defenses.pruning import Pruning
from tests.attacks import rows

FLAGS, VALUES = 6, 4
CARD = Card(
    "survey",
    "survey",
    "table",
    (FLAGS + VALUES,),
    ("no", "yes"),
    "record",
    "made up",
    "none",
    True,
    fields=(
        *(Column(f"q{i}", "category", (i, i + 1), ("yes",)) for i in range(FLAGS)),
        Column("town", "category", (FLAGS, FLAGS + VALUES), ("a", "b", "c", "d")),
    ),
)


def people(n: int, seed: int) -> Split:
    """Answers to six questions, and a town; the class depends on some of them, and on chance."""
    rng = generator(seed)
    share = torch.tensor([0.5, 0.4, 0.3, 0.6, 0.5, 0.2])
    answers = (torch.rand(n, FLAGS, generator=rng) < share).float()
    town = torch.multinomial(torch.tensor([0.4, 0.3, 0.2, 0.1]), n, True, generator=rng)
    x = torch.cat([answers, torch.nn.functional.one_hot(town, VALUES).float()], 1)
    chance = torch.rand(n, generator=rng)
    y = (x[:, 0] + x[:, 1] * x[:, 7] - x[:, 3] + chance > 0.6).long()
    return Split(x, y, torch.arange(n))


MEMBERS, PUBLIC = people(24, 1), people(200, 2)
KNOWN = Knowledge(CARD, PUBLIC, classes=torch.arange(2))


def grown(model: Model, members: Split = MEMBERS, min_leaf: int = 1) -> Network:
    network = model.build((members.x.shape[1],), 2, 0)
    recipe = Pruning(min_leaf=min_leaf).recipe(model.recipe)
    model.solve(network, members.x, members.y, recipe, 0)
    return network.eval()


def run(
    network: Network, attack: ForestReconstruction, knowledge: Knowledge = KNOWN
) -> Reconstruction:
    return attack.run(Exposure("weights", network, network, network), knowledge, 0, "cpu")


def wrong(found: Tensor, members: Tensor = MEMBERS.x) -> float:
    """Share of wrong values after the best matching of the records: the paper's error."""
    apart = torch.cdist(found, members, p=1) / members.shape[1]
    return float(apart[linear_sum_assignment(apart.numpy())].mean())


def one_hot(draws: np.ndarray) -> np.ndarray:
    """1 at the most frequent class of each leaf, 0 elsewhere."""
    return np.eye(draws.shape[1], dtype=np.int64)[draws.argmax(1)]


def reached(network: Network, x: Tensor) -> Tensor:
    """How many of ``x`` each leaf holds, in the order of the head's columns."""
    held: Tensor = network.blocks[0](x).sum(0)
    return held


def wanted(network: Network) -> Tensor:
    """How many different training records each leaf holds, in the same order."""
    leaves = network.blocks[0]
    is_leaf = leaves.leaf >= 0
    return leaves.counts[is_leaf][leaves.leaf[is_leaf].argsort()].float()


QUICK = ForestReconstruction(limit=2.0)
BRIEF = ForestReconstruction(limit=0.4)


def test_without_the_bootstrap_the_whole_training_set_comes_back() -> None:
    network = grown(RandomForest(trees=40, bootstrap=False))
    found = run(network, replace(QUICK, trees=40)).values
    assert wrong(found) == 0.0
    blind = PublicRecords(candidates=12).run(Exposure("none", network, network), KNOWN, 0, "cpu")
    truth = Truth(Splits(CARD, MEMBERS, people(24, 3), PUBLIC), None, None, {})
    told = score(Reconstruction(found, {}), truth)
    assert told.extra["exact_members"] == 1.0
    # Some held-out people give a member's answers: these are ties, which count one half.
    assert told.value > 0.75 > 0.65 > score(blind, truth).value
    assert wrong(blind.values) > 0.1


def test_more_trees_tell_more() -> None:
    few, many = (run(grown(RandomForest(trees=t, bootstrap=False)), QUICK) for t in (2, 12))
    assert wrong(many.values) < wrong(few.values) - 0.02


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_bootstrap_hides_some_of_it(weight: float) -> None:
    network = grown(RandomForest(trees=8))
    found = run(network, replace(BRIEF, prior_weight=weight))
    guesses = [wrong(people(24, seed).x) for seed in range(5, 15)]
    assert 0.0 < wrong(found.values) < min(guesses)
    # Every leaf finds at least as many records as it was grown on.
    assert bool((reached(network, found.values) >= wanted(network)).all())


def test_larger_leaves_protect() -> None:
    model = RandomForest(trees=12, bootstrap=False)
    open_, pruned = (run(grown(model, min_leaf=m), QUICK) for m in (1, 8))
    assert wrong(pruned.values) > wrong(open_.values) + 0.05


@pytest.mark.parametrize("min_leaf", [1, 6])
def test_numbers_lie_between_the_right_thresholds(min_leaf: int) -> None:
    """Every leaf of every tree holds as many of the returned records as of the true ones."""
    members = rows.split(rows.rows(20, 4))
    known = Knowledge(rows.card(), rows.split(rows.rows(60, 2)), classes=torch.arange(2))
    network = grown(RandomForest(trees=6, bootstrap=False), members, min_leaf)
    found = run(network, QUICK, known).values
    assert torch.equal(reached(network, found), wanted(network))
    assert torch.equal(Layout.of(rows.card(), known.public.x).project(found), found)


def test_leaves_of_several_classes_keep_their_class_counts() -> None:
    network = grown(RandomForest(trees=8, bootstrap=False), min_leaf=5)
    found = run(network, QUICK)
    assert torch.equal(reached(network, found.values), wanted(network))
    network = grown(RandomForest(trees=4), min_leaf=5)
    found = run(network, BRIEF)
    assert bool((reached(network, found.values) >= wanted(network)).all())


def test_a_reader_who_takes_pruned_leaves_for_pure_finds_nothing() -> None:
    """Adaptive to pruning: the class counts of mixed leaves are part of the program."""
    network = grown(RandomForest(trees=8, bootstrap=False), min_leaf=5)
    questions, trees = read(network, Layout.of(CARD, PUBLIC.x), 8)
    naive = [
        replace(tree, draws=tree.draws.sum(1, keepdims=True) * one_hot(tree.draws))
        for tree in trees
    ]
    odds = np.zeros((2, len(questions.column)))
    assert solve(questions, naive, odds, 2.0, 0) is None
    assert solve(questions, trees, odds, 2.0, 0) is not None


def test_a_single_tree_gives_boxes() -> None:
    network = grown(DecisionTree())
    found = run(network, QUICK)
    assert found.info["trees"] == 1
    assert torch.equal(reached(network, found.values), wanted(network))
    assert wrong(found.values) > 0.1


def test_the_same_seed_gives_the_same_records() -> None:
    network = grown(RandomForest(trees=4))
    first, second = (run(network, BRIEF) for _ in range(2))
    assert torch.equal(first.values, second.values)


def test_without_time_or_room_the_boxes_of_one_tree_are_returned() -> None:
    network = grown(RandomForest(trees=6))
    for attack in (replace(QUICK, limit=1e-9), replace(QUICK, pairs=1)):
        found = run(network, attack)
        assert found.info["trees"] == 1
        assert found.values.shape == MEMBERS.x.shape


def test_votes_are_no_counts() -> None:
    with pytest.raises(UserError, match="random forest"):
        run(grown(Boosting(trees=5)), QUICK)
    assert "shares" not in Boosting.offers


def test_no_solver_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ortools.sat.python", None)
    with pytest.raises(UserError, match=r"inversion-bench\[reconstruction\]"):
        run(grown(DecisionTree()), QUICK)
