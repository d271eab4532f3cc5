"""Nodes that were lost with their machine: that is no result of theirs, and is counted beside."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable

from bench.engine.settings import Infrastructure

_MOST_UNFIT = 3
"""Times that one machine may say of a node that it cannot run it as planned."""


class Losses:
    """How often nodes were lost, and when each may be tried again.

    Args:
        rules: how often, and how long to wait.
        clock: seconds that never go back.

    """

    def __init__(self, rules: Infrastructure, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules, self._clock = rules, clock
        self._lost: Counter[int] = Counter()
        self._unfit: Counter[tuple[int, str]] = Counter()
        self._resting: list[tuple[float, int]] = []

    def __len__(self) -> int:
        """How many nodes wait before they are tried again."""
        return len(self._resting)

    def often(self, node: int) -> int:
        """How often a node was lost."""
        return self._lost[node]

    def lost(self, node: int, unfit_on: str | None = None) -> bool:
        """Charge a node with a loss.

        Args:
            node: which.
            unfit_on: the machine that cannot run it as planned, if that is what it was.

        Returns:
            Whether it is tried again, after a while: see :meth:`due`.
        """
        self._lost[node] += 1
        if unfit_on is not None:
            self._unfit[node, unfit_on] += 1
        hopeless = unfit_on is not None and self._unfit[node, unfit_on] >= _MOST_UNFIT
        if hopeless or self._lost[node] > self._rules.losses:
            return False
        doubled = self._rules.first_wait_s * 2.0 ** min(self._lost[node] - 1, 60)
        wait = min(doubled, self._rules.most_wait_s)
        heapq.heappush(self._resting, (self._clock() + wait, node))
        return True

    def due(self) -> list[int]:
        """Nodes that have waited long enough."""
        now, nodes = self._clock(), []
        while self._resting and self._resting[0][0] <= now:
            nodes.append(heapq.heappop(self._resting)[1])
        return nodes
