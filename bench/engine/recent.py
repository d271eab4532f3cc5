"""Results that a process has read lately, decoded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.engine.stages.result import Result


class Recent:
    """Results by key, those used longest ago dropped first.

    A result whose tensors somebody has written into is not given out again.

    Args:
        limit: most bytes of tensors that are kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[Hashable, tuple[Result, int, Any]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> Result | None:
        """The result under a key, if it is there and as it was read."""
        if key not in self._kept:
            return None
        result, size, state = self._kept.pop(key)
        if _state(result) != state:
            self._bytes -= size
            return None
        self._kept[key] = (result, size, state)
        return result

    def put(self, key: Hashable, result: Result, size: int) -> None:
        """Keep a result, unless it alone is too large."""
        if size > self.limit // 2 or key in self._kept:
            return
        self._kept[key] = (result, size, _state(result))
        self._bytes += size
        while self._bytes > self.limit or len(self._kept) > 1024:
            _, (_, dropped, _) = self._kept.popitem(last=False)
            self._bytes -= dropped


def _state(result: Result) -> list[tuple[int, bool]]:
    """What changes when a tensor is written to in place, or drawn into a graph."""
    return [(tensor._version, tensor.requires_grad) for tensor in result.tensors.values()]
