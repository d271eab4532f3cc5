"""Nodes that may start, by what they ask of a machine."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping

from bench.engine.settings import Resources


class Ready:
    """A queue for each request; adding a node and taking one costs O(log n).

    Args:
        order: of every node, its place in the order of dispatch; no two have the same.
    """

    def __init__(self, order: list[int]) -> None:
        self._order = order
        self._queues: dict[Resources, list[tuple[int, int]]] = defaultdict(list)
        self._asked: dict[int, Resources] = {}
        self._alike: dict[tuple[Resources, str], set[int]] = defaultdict(set)
        self._replica: dict[int, str] = {}
        self.counts: Counter[Resources] = Counter()

    def __len__(self) -> int:
        return len(self._asked)

    def __contains__(self, node: int) -> bool:
        return node in self._asked

    def add(self, node: int, asked: Resources, replica: str | None = None) -> None:
        """Queue a node, unless it is queued already.

        Args:
            node: its number.
            asked: what it needs of a machine.
            replica: what it has in common with those that it can be run with as one program.
        """
        if node in self._asked:
            return
        self._asked[node] = asked
        self.counts[asked] += 1
        heapq.heappush(self._queues[asked], (self._order[node], node))
        if replica is not None:
            self._replica[node] = replica
            self._alike[asked, replica].add(node)

    def remove(self, node: int) -> None:
        """Take a node out, if it is queued; its place in the heap is passed over later."""
        asked = self._asked.pop(node, None)
        if asked is None:
            return
        self.counts[asked] -= 1
        replica = self._replica.pop(node, None)
        if replica is not None:
            self._alike[asked, replica].discard(node)

    def first(self, asked: Resources) -> int | None:
        """The next node of a request, which stays queued; None if there is none."""
        queue = self._queues[asked]
        while queue and self._asked.get(queue[0][1]) != asked:
            heapq.heappop(queue)
        return queue[0][1] if queue else None

    def alike(self, node: int, most: int) -> list[int]:
        """A queued node, and at most ``most`` - 1 others that can be run with it as one program."""
        replica = self._replica.get(node)
        if replica is None or most < 2:
            return [node]
        others = self._alike[self._asked[node], replica] - {node}
        return [node, *heapq.nsmallest(most - 1, others, key=self._order.__getitem__)]

    def number_alike(self, node: int) -> int:
        """How many queued nodes can be run with a queued one as one program, itself included."""
        replica = self._replica.get(node)
        return 1 if replica is None else len(self._alike[self._asked[node], replica])

    def waiting(self) -> Mapping[Resources, int]:
        """How many nodes are queued of each request."""
        return {asked: count for asked, count in self.counts.items() if count}
