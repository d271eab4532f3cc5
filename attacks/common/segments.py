"""What a segment buys: shared by the baselines and the decoders of baskets."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import one_hot

from bench.contract import sparse


def mean(x: Tensor) -> Tensor:
    """Share of the baskets ``[n, n_items]``, dense or compressed, that hold each item."""
    return sparse.sums(x, 0) / len(x) if sparse.is_sparse(x) else x.mean(0)


def popularity(x: Tensor, y: Tensor, n_classes: int, strength: float = 5.0) -> Tensor:
    """Share of the baskets of each class that hold each item.

    Args:
        x: baskets ``[n, n_items]``.
        y: int64 ``[n]`` classes.
        n_classes: number of classes.
        strength: baskets of global popularity mixed into each class, so that a class with few or
            no baskets falls back on it.

    Returns:
        ``[n_classes, n_items]`` in [0, 1].
    """
    member = one_hot(y, n_classes).to(x)
    bought, baskets = member.T @ x, member.sum(0).unsqueeze(1)
    return (bought + strength * x.mean(0)) / (baskets + strength)
