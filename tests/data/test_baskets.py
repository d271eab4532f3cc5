from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.contract import Splits
from bench.data import baskets
from bench.data.baskets import Baskets


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Baskets().load(0, None)


def f1(scores: Tensor, x: Tensor, k: int) -> float:
    hits = x.gather(1, scores.topk(k, 1).indices).sum(1)
    return float((2 * hits / (k + x.sum(1))).mean())


def test_records_are_baskets(splits: Splits) -> None:
    x = torch.cat([splits.train.x, splits.test.x, splits.public.x])
    assert x.shape == (5000, 150)
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert x.sum(1).min() >= 1
    assert x.sum(1).mean() == pytest.approx(15.0, abs=0.5)
    assert splits.facts["mean_basket"] == pytest.approx(float(x.sum(1).mean()))
    assert min(splits.facts["class_counts"]) > 200


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_segment_says_more_than_popularity_and_less_than_the_basket(seed: int) -> None:
    splits = Baskets().load(seed, None)
    x, y, public = splits.test.x, splits.test.y, splits.public
    k = round(float(public.x.sum(1).mean()))
    popular = f1(public.x.mean(0).expand_as(x), x, k)
    means = torch.stack([public.x[public.y == c].mean(0) for c in range(10)])
    assert 0.20 < popular < 0.30, "PROTOCOL 2.4: about .25"
    assert 0.40 < f1(means[y], x, k) < 0.50, "PROTOCOL 2.4: about .45"


def together(splits: Splits) -> float:
    """Mean squared correlation of two items given the segment, in units of pure chance."""
    public = splits.public
    means = torch.stack([public.x[public.y == c].mean(0) for c in range(10)])
    squares = torch.corrcoef((public.x - means[public.y]).T).square()
    squares.fill_diagonal_(0.0)
    return float(squares.sum() / (squares.numel() - len(squares))) * len(public)


def test_taste_differs_inside_a_segment(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items go together beyond what the segment explains: scores can tell more than the label."""
    assert together(splits) > 1.5
    monkeypatch.setattr(baskets, "WHIM", 0.0)
    monkeypatch.setattr(baskets, "MOST_LEAN", 0.0)
    assert together(Baskets().load(0, None)) == pytest.approx(1.0, abs=0.1)


def test_popularity_has_a_long_tail_with_the_sensitive_items_in_it(splits: Splits) -> None:
    rate = splits.public.x.mean(0)
    assert rate[:10].mean() > 4 * rate[-10:].mean()
    listed = list(splits.card.sensitive_items)
    assert listed == list(Baskets().load(1, None).card.sensitive_items)
    assert min(listed) >= 75
    assert rate[listed].max() < rate.mean()


def test_the_seed_decides(splits: Splits) -> None:
    assert Baskets().load(0, None).facts["sha256"] == splits.facts["sha256"]
    assert Baskets().load(1, None).facts["sha256"] != splits.facts["sha256"]
