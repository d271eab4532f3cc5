from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import Split, sparse
from bench.data.baskets import Baskets
from bench.metrics import recommendation
from bench.metrics.customers import useful
from bench.metrics.recommendation import ask, fold


def utility(
    recommend: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor
) -> dict[str, float | None]:
    return recommendation.utility(ask(recommend, x), x)


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


def test_a_list_for_another_number_of_baskets_is_refused() -> None:
    x = baskets()
    with pytest.raises(ValueError, match="59 lists for 60 baskets"):
        recommendation.utility(torch.zeros(59, 20, dtype=torch.int64), x)


def test_other_customers_would_find_a_recommender_as_useful() -> None:
    x = baskets(5, 300)
    x[7] = torch.nn.functional.one_hot(torch.tensor(3), 40)  # one item: nothing is left to show
    lists = ask(lambda asked: (asked + 0.1 * x[:1]).topk(20, 1).indices, x)
    test = Split(x, torch.zeros(300, dtype=torch.int64), torch.arange(300))
    card = Baskets(items=40, mean_size=8, train=60, test=60, public=60).load(0, None).card
    gain = recommendation.gains(lists, x)["ndcg_at_20"]
    drawn = useful("recommendation", test, card, lists, None, "ndcg_at_20")["ndcg_at_20"]
    assert len(gain) == 299
    assert np.mean(drawn) == pytest.approx(float(gain.mean()), abs=0.01)
    assert np.std(drawn) == pytest.approx(float(gain.std()) / 299**0.5, rel=0.2)
