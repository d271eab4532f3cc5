from __future__ import annotations

import pytest
import torch

from attacks.common.candidates import value_prior
from attacks.tree_counts import TreeCounts, reachable
from bench.contract import Exposure
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
