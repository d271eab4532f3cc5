"""Several drivers on one store: each node is run by one of them, and seen by all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bench.engine.driving.bundles import Choice
from bench.engine.driving.recording import stood
from bench.engine.driving.settling import Settling, Told
from bench.engine.driving.states import DONE, ELSEWHERE, RUNNING
from bench.engine.driving.work import RunOutcome
from bench.engine.store import Claims, Store


class Sharing:
    """What this driver runs, and what it waits for because another one does.

    Args:
        graph: how far everything is.
        store: where results are.
        claims: of this driver.
        again: whether nodes are run although they are recorded (``rerun=all``).
        outcome: the account of the run.
    """

    def __init__(
        self, graph: Settling, store: Store, claims: Claims, again: bool, outcome: RunOutcome
    ) -> None:
        self._graph, self._store, self._claims = graph, store, claims
        self._again, self._outcome = again, outcome
        self._elsewhere: dict[int, Mapping[str, Any] | None] = {}

    def __len__(self) -> int:
        """How many nodes other drivers run that this one waits for."""
        return len(self._elsewhere)

    def claim(self, selected: Sequence[Choice]) -> list[Choice]:
        """What is left of a selection without what other drivers run, or have run meanwhile."""
        names = [self._graph.nodes[n].id for choice in selected for n in choice.nodes]
        given = self._claims.take(names) if names else set()
        chosen, unused = [], []
        for choice in selected:
            inside: dict[int, None] = {}
            for number in choice.nodes:
                name = self._graph.nodes[number].id
                if name not in given:
                    self._wait_for(number)
                elif self._is_to_run(number, inside):
                    inside[number] = None
                else:
                    unused.append(name)
            if inside:
                as_one = choice.as_one and len(inside) > 1
                chosen.append(Choice(list(inside), choice.asked, as_one))
        if unused:
            self._claims.release(unused)
        return chosen

    def release(self, numbers: Sequence[int]) -> None:
        """Let go of nodes that do not run any more."""
        self._claims.release([self._graph.nodes[number].id for number in numbers])

    def look(self) -> None:
        """See what has become of nodes that other drivers run; of a dead one they are free."""
        numbers = {self._graph.nodes[number].id: number for number in self._elsewhere}
        held = self._claims.elsewhere(list(numbers))
        for name, number in numbers.items():
            if name in held:
                continue
            before = self._elsewhere.pop(number)
            if self._graph.states.state[number] == ELSEWHERE and not self._ended(number, before):
                self._graph.again(number)

    def _wait_for(self, number: int) -> None:
        node = self._graph.nodes[number]
        self._graph.states.state[number] = ELSEWHERE
        self._elsewhere[number] = self._store.failure(node.kind, node.id)

    def _is_to_run(self, number: int, inside: Collection[int]) -> bool:
        """Whether a node of ours can be sent after ``inside``; else it is dealt with."""
        node, state = self._graph.nodes[number], self._graph.states.state
        if not self._again and self._store.has(node.kind, node.id):
            self._recorded(number)
            return False
        if all(state[p] == DONE or p in inside for p in self._graph.states.parents(number)):
            return True
        self._graph.again(number)
        return False

    def _recorded(self, number: int) -> None:
        self._outcome.elsewhere += 1
        self._graph.settle(number)
        self._graph.news.append(Told(number, "", "elsewhere"))

    def _ended(self, number: int, before: Mapping[str, Any] | None) -> bool:
        """Whether another driver has recorded the end of a node; then it has ended here as well.

        Args:
            number: of the node.
            before: its last failure before this driver began to wait for it.
        """
        node = self._graph.nodes[number]
        if self._store.has(node.kind, node.id):
            self._recorded(number)
            return True
        failure = self._store.failure(node.kind, node.id)
        if failure is None or failure == before or not self._graph.stands(failure):
            return False
        self._graph.states.state[number] = RUNNING
        self._graph.fail(number, stood(failure))
        self._graph.news.append(Told(number, "", str(failure["status"])))
        return True
