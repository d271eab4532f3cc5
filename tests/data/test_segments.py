from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import UserError
from bench.data.baskets import Baskets
from bench.data.groceries import Groceries
from bench.data.segments import segment, segment_names


def shop(n: int, seed: int) -> torch.Tensor:
    """Two kinds of customers with shelves of their own."""
    x = torch.zeros(n, 20)
    rng = torch.Generator().manual_seed(seed)
    bought = (torch.rand(n, 10, generator=rng) < 0.5).float()
    bought[:, 0] = 1.0
    x[::2, :10], x[1::2, 10:] = bought[::2], bought[1::2]
    return x


@given(seed=st.integers(0, 2**31 - 1), n=st.integers(30, 80))
@settings(max_examples=10, deadline=None)
def test_segments_follow_what_is_bought_and_the_public_rows_alone(seed: int, n: int) -> None:
    x, public = shop(n, seed), np.arange(20)
    y = segment("shop", x, public, 2, seed)
    assert torch.equal(y == y[0], torch.arange(n) % 2 == 0)
    changed = x.clone()
    changed[-1] = 1.0
    assert torch.equal(segment("shop", changed, public, 2, seed)[:-1], y[:-1])


def test_too_few_different_baskets_are_refused() -> None:
    x = shop(40, 0)
    x[:20] = x[0]
    with pytest.raises(UserError, match="1 different public baskets, too few for segments=2"):
        segment("shop", x, np.arange(20), 2, 0)


def test_names() -> None:
    assert segment_names(2) == ("segment 1", "segment 2")


def test_shops_can_be_recommended_from() -> None:
    assert Baskets.tasks == Groceries.tasks == ("classification", "recommendation")
    assert Baskets().load(0, None).card.tasks == Baskets.tasks
