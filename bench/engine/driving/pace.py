"""How long nodes take: learned from the store, and again while a run goes on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from bench.engine.graph import KINDS, Node
from bench.engine.store import Store

_HISTORY = 2000
"""Most records of a kind that are asked how long they took."""
_VARIANTS = 3
"""So many nodes of a component must have ended before anything is expected of other options."""
_SHORT_S = 1.0
"""Seconds below which even the longest node of a component is short."""


class Pace:
    """Expected seconds of nodes.

    Args:
        kinds: number of nodes to run, by kind.
        history: mean seconds of earlier runs, as :func:`history` gives it.
    """

    def __init__(self, kinds: Mapping[str, int], history: Mapping[str, float]) -> None:
        self._history = history
        self._remaining = Counter(kinds)
        self._sum: dict[str, float] = defaultdict(float)
        self._number: Counter[str] = Counter()
        self._longest: dict[str, float] = defaultdict(float)

    def ended(self, node: Node, seconds: float | None) -> None:
        """A node has ended.

        Args:
            node: which.
            seconds: how long it took; None if that says nothing of others like it.
        """
        self._remaining[node.kind] -= 1
        if seconds is not None:
            variants = component(node)
            self._longest[variants] = max(self._longest[variants], seconds)
            for name in (node.kind, *likenesses(node.kind, node.label), variants):
                self._sum[name] += seconds
                self._number[name] += 1

    def mean(self, name: str) -> float | None:
        """Mean seconds of what ``name`` stands for; None if nothing is known."""
        if name in self._number:
            return self._sum[name] / self._number[name]
        return self._history.get(name)

    def seconds(self, node: Node) -> float | None:
        """What a node should take; None if nothing like it has ended yet."""
        for name in likenesses(node.kind, node.label):
            known = self.mean(name)
            if known is not None:
                return known
        return None

    def likely(self, node: Node) -> float | None:
        """What a node should take, or else what its component took with other options.

        None if too little is known: options decide how long a node takes, so this says where it may
        run with others, and nothing to people. Where the longest was long, it counts.
        """
        known = self.seconds(node)
        name = component(node)
        if known is not None or self._number[name] < _VARIANTS:
            return known
        return self.mean(name) if self._longest[name] < _SHORT_S else self._longest[name]

    def left(self) -> float | None:
        """Seconds that remain, one node after the other; None before anything is known.

        Of a kind that is not known, a node counts as long as those of the others on average.
        """
        means: dict[str, float] = {
            kind: known for kind in KINDS if (known := self.mean(kind)) is not None
        }
        if not means:
            return None
        other = sum(means.values()) / len(means)
        return sum(n * means.get(kind, other) for kind, n in self._remaining.items() if n > 0)


def history(store: Store) -> dict[str, float]:
    """Mean seconds of a node from earlier records: by kind, by component, and by label."""
    total: dict[str, float] = defaultdict(float)
    number: Counter[str] = Counter()
    for kind in KINDS:
        for label, seconds in store.seconds(kind, _HISTORY):
            for name in (kind, *likenesses(kind, label)):
                total[name] += seconds
                number[name] += 1
    return {name: total[name] / number[name] for name in total}


def likenesses(kind: str, label: str) -> tuple[str, str]:
    """What nodes of one duration share, the closest first: all but the seed; the component."""
    head = label.rpartition("/")[0]
    return f"{kind} {head}", f"{kind} {head.rpartition('/')[2]}"


def component(node: Node) -> str:
    """What nodes of a kind share whose component differs in its options at most."""
    return likenesses(node.kind, node.label)[1].partition("[")[0] + "[*]"


def expected(nodes: Sequence[Node], known: Mapping[str, float]) -> tuple[float, int]:
    """Seconds that nodes should take by earlier records, and of how many nothing is known.

    Only nodes of the same component or of the same cell but for the seed are like each other: what
    another attack took says nothing of this one.
    """
    pace = Pace({}, known)
    seconds = [pace.seconds(node) for node in nodes]
    return sum(s for s in seconds if s is not None), sum(s is None for s in seconds)
