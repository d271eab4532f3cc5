"""Is a recommender useful? Held-out items of customers it has not seen (PROTOCOL 2.4)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from bench.contract import generator, sparse

DEPTH = 20
"""Items a customer looks at."""
_HELD = 0.2
"""Share of a basket that is held out (Liang et al., WWW 2018, section 4.2)."""


def fold(x: Tensor) -> tuple[Tensor, Tensor]:
    """Split baskets into what the recommender is shown and what it should find.

    A fifth of every basket, at least one item, is held out; a basket of one item has nothing left
    to show and is dropped. The same baskets always give the same split.

    Args:
        x: 0/1 ``[n, n_items]``.

    Returns:
        Two 0/1 tensors ``[m, n_items]`` that share no item, in the layout of ``x``.
    """
    if sparse.is_sparse(x):
        return _fold_sparse(x)
    x = x.flatten(1)
    x = x[x.sum(1) >= 2]
    order = torch.rand(x.shape, generator=generator(0)).to(x.device) * x
    rank = order.argsort(1, descending=True).argsort(1)  # bought items come first, shuffled
    held = (x.sum(1, keepdim=True) * _HELD).round().clamp_min(1)
    wanted = x * (rank < held)
    return x - wanted, wanted


def _fold_sparse(x: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`fold` of compressed baskets: the same draws, but only bought items are sorted."""
    rng, wanted = generator(0), []
    x = sparse.take(x, sparse.sums(x, 1) >= 2)
    for part in sparse.blocks(x):
        bought = sparse.scipy_matrix(part)
        row, column = bought.nonzero()
        order = torch.rand(part.shape, generator=rng).numpy()[row, column]
        best_first = np.lexsort((-order, row))
        size = np.bincount(row, minlength=len(part))
        rank = np.arange(len(row)) - np.repeat(np.cumsum(size) - size, size)
        held = torch.from_numpy(size * _HELD).float().round().clamp_min(1).numpy()
        kept = best_first[rank < np.repeat(held, size)]
        ones = np.ones(len(kept), np.float32)
        wanted.append(csr_matrix((ones, (row[kept], column[kept])), bought.shape))
    found = vstack(wanted, "csr") if wanted else csr_matrix(tuple(x.shape), dtype=np.float32)
    rest = sparse.scipy_matrix(x) - found
    rest.eliminate_zeros()
    return sparse.compressed(rest), sparse.compressed(found)


def ask(recommend: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The lists that a deployment shows to customers of whom it knows a part of their baskets.

    Args:
        recommend: baskets ``[n, n_items]`` to lists int64 ``[n, k]``, best first, -1 for none.
            It is asked about all at once, about compressed ones in parts.
        x: held-out customers' baskets, 0/1 ``[n, n_items]``.

    Returns:
        int64 ``[m, k]``, a row for each basket of at least two items.
    """
    shown, _ = fold(x)
    rows = sparse.ROWS if sparse.is_sparse(x) else max(1, len(shown))
    return torch.cat([recommend(part) for part in sparse.blocks(shown, rows)])


def utility(lists: Tensor, x: Tensor) -> dict[str, float | None]:
    """Score the lists that a deployment shows.

    Args:
        lists: as :func:`ask` returns them. What a list repeats of the basket shown earns nothing
            and takes its place.
        x: the baskets, 0/1 ``[n, n_items]``.

    Returns:
        ``recall_at_20``: hits over ``min(20, held-out items)``; ``ndcg_at_20``; ``coverage_at_20``:
        share of the catalogue that is shown to anybody. Lists shorter than 20 earn what they hold.
    """
    lists = lists[:, :DEPTH]
    seen = torch.zeros(x.flatten(1).shape[1], dtype=torch.bool, device=x.device)
    seen[lists[lists >= 0]] = True
    means = {name: float(gain.mean()) for name, gain in gains(lists, x).items()}
    return {**means, "coverage_at_20": float(seen.double().mean())}


def gains(lists: Tensor, x: Tensor) -> dict[str, Tensor]:
    """Recall and NDCG of each customer, ``[m]``, as :func:`utility` averages them.

    Raises:
        ValueError: there is not one list for each basket of at least two items.
    """
    _, wanted = fold(x)
    if len(lists) != len(wanted):
        raise ValueError(f"There are {len(lists)} lists for {len(wanted)} baskets.")
    parts = zip(torch.split(lists[:, :DEPTH], sparse.ROWS), sparse.blocks(wanted), strict=True)
    earned = [_earned(shown, sparse.dense(held)) for shown, held in parts]
    recall, ndcg = map(torch.cat, zip(*earned, strict=True))
    return {"recall_at_20": recall, "ndcg_at_20": ndcg}


def _earned(lists: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Recall and normalised gain ``[n]`` of lists int64 ``[n, k]`` for what is wanted."""
    hits = wanted.gather(1, lists.clamp_min(0)) * (lists >= 0)
    discount = 1 / torch.arange(2, DEPTH + 2, device=wanted.device).double().log2()
    most = wanted.sum(1).clamp_max(DEPTH).long()
    ideal = discount.cumsum(0)[most - 1]
    return hits.sum(1) / most, (hits * discount[: hits.shape[1]]).sum(1) / ideal
