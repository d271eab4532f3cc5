"""Lists instead of scores."""

from __future__ import annotations

import torch

from bench.contract import Query, generator
from defenses.top_n import TopN

ASKED = Query(torch.zeros(1, 1), generator(0))

SCORES = torch.tensor([[0.1, 0.9, 0.5, 0.7], [4.0, 3.0, 2.0, 1.0]])
BOUGHT = torch.tensor([[0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]])


def test_the_best_items_are_shown_with_or_without_what_was_bought() -> None:
    assert TopN(2).recommend(SCORES, BOUGHT).tolist() == [[3, 2], [3, -1]]
    assert TopN(2, hide_bought=False).recommend(SCORES, BOUGHT).tolist() == [[1, 3], [0, 1]]


def test_no_longer_than_the_catalogue() -> None:
    assert TopN(20).recommend(SCORES, BOUGHT).shape == (2, 4)


def test_rows_do_not_touch_each_other() -> None:
    scores = torch.randn(9, 30, generator=generator(0))
    x = (torch.rand(9, 30, generator=generator(1)) < 0.2).float()
    together = TopN(5).recommend(scores, x)
    alone = torch.cat([TopN(5).recommend(scores[i : i + 1], x[i : i + 1]) for i in range(9)])
    assert torch.equal(together, alone)
    assert float(x.gather(1, together).max()) == 0.0


def test_scores_are_withheld_and_nothing_else() -> None:
    defense = TopN()
    assert defense.offered("scores") == "labels"
    assert [defense.offered(a) for a in ("none", "labels", "weights")] == [
        "none",
        "labels",
        "weights",
    ]
    assert torch.equal(defense.release(SCORES, ASKED), SCORES)
    assert defense.covers == {"scores", "labels"} and defense.zero is None
