"""Compressed rows give what dense ones give."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import sparse


def baskets(seed: int, n: int = 30, items: int = 17) -> torch.Tensor:
    return (torch.rand(n, items, generator=torch.Generator().manual_seed(seed)) < 0.2).float()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_every_operation_agrees_with_the_dense_one(seed: int, rows: int) -> None:
    x = baskets(seed)
    kept = sparse.compressed(x)
    assert sparse.is_sparse(kept) and not sparse.is_sparse(x)
    assert torch.equal(sparse.dense(kept), x)
    assert torch.equal(sparse.dense(sparse.from_parts(sparse.parts_of(kept), 17)), x)
    for index in (torch.randperm(30)[:9], torch.rand(30) < 0.4):
        assert torch.equal(sparse.dense(sparse.take(kept, index)), sparse.take(x, index))
    for dim in (0, 1):
        assert torch.equal(sparse.sums(kept, dim), x.sum(dim))
    both = zip(sparse.blocks(kept, rows), sparse.blocks(x, rows), strict=True)
    assert all(torch.equal(sparse.dense(a), b) for a, b in both)
    same = [list(sparse.row_digests(part)) for part in (kept, x)]
    assert [a == same[0][0] for a in same[0]] == [a == same[1][0] for a in same[1]]
