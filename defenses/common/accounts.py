"""What monitors have in common: they look at queries account by account."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def by_account(account: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Every account, and the places of its queries in ``account`` ``[n]``, in their order."""
    order = torch.argsort(account, stable=True)
    names, counts = torch.unique_consecutive(account[order], return_counts=True)
    yield from zip(names.tolist(), torch.split(order, counts.tolist()), strict=True)
