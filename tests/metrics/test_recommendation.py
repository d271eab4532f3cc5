from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import sparse
from bench.metrics.recommendation import fold, utility


def baskets(seed: int = 0, n: int = 60, items: int = 40) -> torch.Tensor:
    return (torch.rand(n, items, generator=torch.Generator().manual_seed(seed)) < 0.3).float()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_what_is_shown_and_what_is_wanted_make_the_basket(seed: int) -> None:
    x = baskets(seed, 20, 12)
    shown, wanted = fold(x)
    kept = x[x.sum(1) >= 2]
    assert torch.equal(shown + wanted, kept)
    assert float((shown * wanted).sum()) == 0.0
    assert bool((wanted.sum(1) >= 1).all() and (shown.sum(1) >= 1).all())
    assert torch.equal(wanted.sum(1), (kept.sum(1) * 0.2).round().clamp_min(1))
    assert torch.equal(fold(x)[0], shown)


def test_an_oracle_earns_everything_and_a_fool_nothing() -> None:
    x = baskets()
    shown, wanted = fold(x)

    def oracle(asked: torch.Tensor) -> torch.Tensor:
        assert torch.equal(asked, shown)
        return (wanted - asked).topk(20, 1).indices

    best = utility(oracle, x)
    assert best["recall_at_20"] == best["ndcg_at_20"] == pytest.approx(1.0)
    bought = utility(lambda asked: asked.topk(5, 1).indices, x)
    assert bought["recall_at_20"] == bought["ndcg_at_20"] == 0.0


def test_ndcg_by_hand() -> None:
    x = torch.zeros(1, 6)
    x[0, :5] = 1  # one of five is held out
    _, wanted = fold(x)
    item = int(wanted[0].argmax())
    second = utility(lambda asked: torch.tensor([[5, item]]), x)
    assert second["ndcg_at_20"] == pytest.approx(1 / torch.tensor(3.0).log2().item())
    assert second["recall_at_20"] == 1.0
    assert second["coverage_at_20"] == pytest.approx(2 / 6)
    nothing = utility(lambda asked: torch.full((1, 20), -1), x)
    assert nothing["ndcg_at_20"] == nothing["coverage_at_20"] == 0.0


def test_compressed_baskets_are_split_and_scored_as_dense_ones() -> None:
    x = baskets(3, 70)
    kept = sparse.compressed(x)
    for one, other in zip(fold(x), fold(kept), strict=True):
        assert torch.equal(one, sparse.dense(other))
    near = torch.rand(40, 40, generator=torch.Generator().manual_seed(1))
    got = utility(lambda asked: (asked @ near).topk(20, 1).indices, kept)
    assert got == pytest.approx(utility(lambda asked: (asked @ near).topk(20, 1).indices, x))
