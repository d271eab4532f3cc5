from __future__ import annotations

import pytest
import torch

from attacks.common.candidates import value_prior
from attacks.tree_counts import TreeCounts, reachable
from bench.contract import Exposure, Network, Split
from bench.models.trees import RandomForest
from defenses.pruning import Pruning
from tests.attacks.tables import stump, table, table_card, told


def test_tree_counts_are_the_papers_formula() -> None:
    """``prior(v) * p(leaf of x_v) / sum of p over leaves open to v``, by hand on a small tree."""
    card = table_card()
    victims = table(card, 40, 1)
    knowledge = told(card, table(card, 30, 0), victims)
    network = stump(5, 2)
    out = TreeCounts().run(Exposure("weights", network, network, network), knowledge, 0, "cpu")
    p0, p1 = value_prior(knowledge).tolist()
    # Root asks for known column 2; below on the left it asks for value 1. Leaves 30, 10 | 60.
    for x, row in zip(victims.x, out.values, strict=True):
        left = float(x[2]) <= 0.5
        a = p0 * (30 if left else 60) / (30 + 60)
        b = p1 * (10 if left else 60) / (10 + 60)
        assert float(row[0]) == pytest.approx(a / (a + b), abs=1e-6)
    assert reachable(network.blocks[0], card.sensitive).tolist() == [[90.0, 70.0]]  # type: ignore[arg-type]


def test_tree_counts_with_the_label_count_that_class_only() -> None:
    card = table_card()
    victims = table(card, 40, 1)
    victims.x[:, 2] = 0.0  # everyone goes left, where the leaf of value 1 is all of class 1
    knowledge = told(card, table(card, 30, 0), victims)
    network = stump(5, 2)
    exposure = Exposure("weights", network, network, network)
    out = TreeCounts(label=True).run(exposure, knowledge, 0, "cpu").values
    plain = TreeCounts().run(exposure, knowledge, 0, "cpu").values
    assert bool((out[victims.y == 1, 1] > plain[victims.y == 1, 1]).all())
    assert bool((out[victims.y == 0, 1] < 0.01).all())


def test_several_trees_are_averaged() -> None:
    card = table_card()
    victims = table(card, 40, 1)
    knowledge = told(card, table(card, 30, 0), victims)
    one, two = stump(5, 2), stump(5, 2, trees=2)
    a, b = (TreeCounts().run(Exposure("weights", n, n, n), knowledge, 0, "cpu") for n in (one, two))
    assert b.info["trees"] == 2
    assert torch.allclose(a.values, b.values)


def forest(members: Split, min_leaf: int = 1) -> Network:
    model = RandomForest(trees=7)
    network = model.build((members.x.shape[1],), 2, 0)
    recipe = Pruning(min_leaf=min_leaf).recipe(model.recipe)
    model.solve(network, members.x, members.y, recipe, 0)
    return network.eval()


@pytest.mark.parametrize("min_leaf", [1, 10])
def test_the_formula_holds_for_a_forest_grown_on_samples(min_leaf: int) -> None:
    """By brute force: a leaf is open to a value if some record of that value can reach it."""
    card = table_card()
    members = table(card, 120, 1)
    network = forest(members, min_leaf)
    leaves = network.blocks[0]
    assert int(leaves.counts[leaves.leaf >= 0].min()) >= min_leaf
    knowledge = told(card, table(card, 30, 0), members.take(torch.arange(10)))
    out = TreeCounts().run(Exposure("weights", network, network, network), knowledge, 0, "cpu")
    prior = value_prior(knowledge)
    completed = card.sensitive.candidates(knowledge.partial.x)
    dense = card.sensitive.candidates(3 * torch.randn(20000, card.shape[0]))
    reached = [leaves.rows(dense[:, value]) for value in range(2)]
    taken = [leaves.rows(completed[:, value]) for value in range(2)]
    scores = torch.zeros(10, 2, dtype=torch.float64)
    for tree in range(7):
        count = leaves.counts[tree].double()
        place = {int(row): node for node, row in enumerate(leaves.leaf[tree]) if row >= 0}
        each = torch.zeros(10, 2, dtype=torch.float64)
        for value in range(2):
            open_ = reached[value][:, tree].unique().tolist()
            below = sum(float(count[place[row]]) for row in open_)
            here = taken[value][:, tree].tolist()
            share = torch.tensor([float(count[place[row]]) for row in here])
            each[:, value] = prior[value] * share / below
        scores += each / each.sum(1, keepdim=True) / 7
    torch.testing.assert_close(out.values.double(), scores, atol=0.02, rtol=0)


def test_pruning_takes_from_a_forest_what_counts_tell_of_its_members() -> None:
    """The secret is noise to the class: whoever guesses it knows the members."""
    card = table_card()
    members, others = table(card, 80, 1, signal=0.0), table(card, 80, 2, signal=0.0)

    def right(min_leaf: int, victims: Split) -> float:
        network = forest(members, min_leaf)
        knowledge = told(card, table(card, 80, 0, signal=0.0), victims)
        exposure = Exposure("weights", network, network, network)
        found = TreeCounts(label=True).run(exposure, knowledge, 0, "cpu").values
        return float((found.argmax(1) == victims.s).double().mean())

    gaps = {m: right(m, members) - right(m, others) for m in (1, 20)}
    assert gaps[1] > 0.1 > gaps[20] + 0.05
