"""Is a recommender useful? Held-out items of customers it has not seen (PROTOCOL 2.4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.contract import generator

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
        Two 0/1 tensors ``[m, n_items]`` that share no item.
    """
    x = x.flatten(1)
    x = x[x.sum(1) >= 2]
    order = torch.rand(x.shape, generator=generator(0)).to(x.device) * x
    rank = order.argsort(1, descending=True).argsort(1)  # bought items come first, shuffled
    held = (x.sum(1, keepdim=True) * _HELD).round().clamp_min(1)
    wanted = x * (rank < held)
    return x - wanted, wanted


def utility(recommend: Callable[[Tensor], Tensor], x: Tensor) -> dict[str, float | None]:
    """Score the lists that a deployment shows.

    Args:
        recommend: baskets ``[n, n_items]`` to lists int64 ``[n, k]``, best first, -1 for none.
            What a list repeats of the basket shown earns nothing and takes its place.
        x: held-out customers' baskets, 0/1 ``[n, n_items]``.

    Returns:
        ``recall_at_20``: hits over ``min(20, held-out items)``; ``ndcg_at_20``; ``coverage_at_20``:
        share of the catalogue that is shown to anybody. Lists shorter than 20 earn what they hold.
    """
    shown, wanted = fold(x)
    lists = recommend(shown)[:, :DEPTH]
    hits = wanted.gather(1, lists.clamp_min(0)) * (lists >= 0)
    discount = 1 / torch.arange(2, DEPTH + 2, device=x.device).double().log2()
    most = wanted.sum(1).clamp_max(DEPTH).long()
    ideal = discount.cumsum(0)[most - 1]
    seen = torch.zeros(x.flatten(1).shape[1], dtype=torch.bool, device=x.device)
    seen[lists[lists >= 0]] = True
    return {
        "recall_at_20": float((hits.sum(1) / most).mean()),
        "ndcg_at_20": float(((hits * discount[: hits.shape[1]]).sum(1) / ideal).mean()),
        "coverage_at_20": float(seen.double().mean()),
    }
