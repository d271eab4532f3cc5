"""What goes to a worker together: small nodes that need each other, or nodes of one program."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.engine.driving.pace import Pace, component
from bench.engine.driving.ready import Ready
from bench.engine.driving.states import RUNNING, WAITING, States
from bench.engine.graph import Node
from bench.engine.settings import Resources

MOST_JOBS = 256
"""Most nodes of one bundle."""
MOST_REPLICAS = 16
"""Most nodes that run as one program."""
_USUAL_S = 2.0
_LONGEST_S = 10.0
_SHORTEST_S = 0.2
"""Expected seconds of a bundle: usually, while much more work waits than there are slots, and while
little does. A message costs a few milliseconds; what is in a bundle is lost with its machine."""
_KIN_S = 30.0
"""Expected seconds that long attacks of one kind on one target may have in a bundle: what they make
for themselves, such as shadow models, is made once. Results wait for the end of their bundle."""
_SHARES = 4
"""Bundles for each slot that what remains is cut into, so that no slot is left with the rest."""
_MUCH = 8
"""Times the usual seconds that such a share must have before bundles become longer."""


@dataclass
class Choice:
    """Nodes that one worker shall run.

    Attributes:
        nodes: their numbers, parents before children.
        asked: what each of them needs of a machine.
        as_one: whether they are run as one vectorised program.
    """

    nodes: list[int]
    asked: Resources
    as_one: bool = False


class Bundler:
    """Chooses what goes together.

    Args:
        nodes: of the plan, by number.
        states: how far they are.
        ready: those that may start.
        order: of every node, its place in the order of dispatch.
        pace: how long nodes take.
        asks: what a node needs of a machine.
        alone: whether a node is to run by itself, because something was wrong with it before.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        states: States,
        ready: Ready,
        order: Sequence[int],
        pace: Pace,
        asks: Callable[[int], Resources],
        alone: Callable[[int], bool],
    ) -> None:
        self._nodes, self._states, self._ready, self._order = nodes, states, ready, order
        self._pace, self._asks, self._alone = pace, asks, alone

    def choose(self, asked: Resources, room: int, slots: int) -> list[Choice]:
        """At most ``room`` bundles of nodes that ask for this; they are no longer queued.

        Args:
            asked: the request.
            room: how many bundles can start at once; at least 1.
            slots: how many could if nothing ran.
        """
        heads = self._ready.counts[asked]
        kin = heads // max(slots, room)
        seconds = max(_SHORTEST_S, self._seconds(slots) * min(1.0, heads / room))
        most = math.ceil(heads / room)
        choices: list[Choice] = []
        while len(choices) < room and (first := self._ready.first(asked)) is not None:
            alike = self._replicas(first, asked, room - len(choices))
            if len(alike) > 1:
                for node in alike:
                    self._take(node)
                choices.append(Choice(alike, asked, as_one=True))
            else:
                choices.append(Choice(self._small(asked, seconds, most, kin), asked))
        return choices

    def _seconds(self, slots: int) -> float:
        """Expected seconds that a bundle may have: less where little is left, more where much."""
        share = (self._pace.left() or 0.0) / (_SHARES * slots)
        return min(_LONGEST_S, max(_SHORTEST_S, min(_USUAL_S, share), share / _MUCH))

    def _replicas(self, first: int, asked: Resources, room: int) -> list[int]:
        """Nodes for one program with the first; fewer where slots would have nothing to do."""
        if self._alone(first):
            return [first]
        number = self._ready.number_alike(first)
        slots = max(1, room - (self._ready.counts[asked] - number))
        alike = self._ready.alike(first, min(MOST_REPLICAS, math.ceil(number / slots)))
        return [node for node in alike if not self._alone(node)]

    def _take(self, node: int) -> None:
        self._ready.remove(node)
        self._states.state[node] = RUNNING

    def _small(self, asked: Resources, most_s: float, most_heads: int, most_kin: int) -> list[int]:
        """The next node, what needs only nodes of the bundle, and further nodes of the queue.

        A long node is run with its kin at most, and one of which nothing is known is the last.
        """
        nodes: list[int] = []
        free: list[tuple[int, int]] = []
        met: Counter[int] = Counter()
        seconds, heads = 0.0, 0
        while len(nodes) < MOST_JOBS:
            head = None
            if free:
                node = heapq.heappop(free)[1]
            else:
                head = self._ready.first(asked) if heads < most_heads else None
                if head is None or (nodes and self._ready.number_alike(head) > 1):
                    break
                node, heads = head, heads + 1
            expected = None if self._alone(node) else self._pace.likely(self._nodes[node])
            whole = math.inf if expected is None else seconds + expected
            if nodes and whole > most_s:
                close = len(nodes) < most_kin and whole <= _KIN_S
                if not (close and self._are_kin(nodes[-1], node)):
                    if head is not None:
                        break
                    continue
            self._take(node)
            nodes.append(node)
            if expected is None:
                break
            seconds = whole
            for child in self._states.children(node):
                met[child] += 1
                waits = self._states.state[child] == WAITING
                if waits and met[child] == self._states.unmet[child] and self._asks(child) == asked:
                    heapq.heappush(free, (self._order[child], child))
        return nodes

    def _are_kin(self, one: int, other: int) -> bool:
        """Whether two nodes are attacks of one kind on one target."""
        attacks = _attacks(self._nodes[one])
        return attacks is not None and attacks == _attacks(self._nodes[other])


def _attacks(node: Node) -> tuple[str, str] | None:
    """Which target a node attacks, and with what; None if it is no attack on a target."""
    target = node.parents.get("target")
    return None if node.kind != "attack" or target is None else (target, component(node))


def dispatch_order(nodes: Sequence[Node], place: Mapping[str, int]) -> list[int]:
    """In which order nodes are sent: data, baselines, then target by target.

    Data sets come first so that targets that can be trained as one program are ready together. All
    trials of a data set rest on its baselines, so that a trial ends with its attack. What belongs
    to one target follows it, so that a worker reads the target once, and there what is alike.

    Args:
        nodes: of the plan.
        place: number of a node by its identity.
    """

    def key(number: int) -> tuple[int, int, str, int]:
        node = nodes[number]
        family = node.parents.get("target")
        if family is not None:
            return 2, place[family], component(node) if node.kind == "attack" else "", number
        return {"data": 0, "evaluator": 1, "attack": 1}.get(node.kind, 2), number, "", number

    order = [0] * len(nodes)
    for rank, number in enumerate(sorted(range(len(nodes)), key=key)):
        order[number] = rank
    return order
