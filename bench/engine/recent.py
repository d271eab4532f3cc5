"""What a process has read or made lately, and may need again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


class Recent(Generic[T]):
    """Values by key, those used longest ago dropped first.

    A value whose tensors somebody has written into is not given out again.

    Args:
        limit: most bytes that are kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[Hashable, tuple[T, int, list[Tensor], list[tuple[int, bool]]]]
        self._kept = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> T | None:
        """The value under a key, if it is there and as it was kept."""
        if key not in self._kept:
            return None
        value, size, tensors, state = self._kept.pop(key)
        if _state(tensors) != state:
            self._bytes -= size
            return None
        self._kept[key] = (value, size, tensors, state)
        return value

    def put(self, key: Hashable, value: T, tensors: Iterable[Tensor], size: int) -> None:
        """Keep a value, unless it alone is too large.

        Args:
            key: by which it is found.
            value: what is kept.
            tensors: its tensors.
            size: its bytes.
        """
        if size > self.limit // 2 or key in self._kept:
            return
        held = list(tensors)
        self._kept[key] = (value, size, held, _state(held))
        self._bytes += size
        while self._bytes > self.limit or len(self._kept) > 1024:
            _, (_, dropped, _, _) = self._kept.popitem(last=False)
            self._bytes -= dropped


def _state(tensors: Iterable[Tensor]) -> list[tuple[int, bool]]:
    """What changes when a tensor is written to in place, or drawn into a graph."""
    return [(tensor._version, tensor.requires_grad) for tensor in tensors]
