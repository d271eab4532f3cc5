"""How far every node and trial of a plan is: a byte and a few integers each.

A node is a number here, its place in the plan: parents have lower numbers than their children.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence

from bench.engine.graph import Plan, Trial

ABSENT, DONE, WAITING, READY, RUNNING, ELSEWHERE, RESTING, FAILED, LEFT = range(9)
"""Of a node: not needed; its result is recorded; a parent's is not; it may start; it was sent to a
worker; another driver runs it; it was lost and waits before it is tried again; it ended in a
failure that stands; machines lost it so often that it is left as it is, without a result."""

_CLOSED = -1


class _Rows:
    """Lists of integers, one after the other in one array."""

    def __init__(self, rows: int, pairs: Sequence[tuple[int, Collection[int]]]) -> None:
        """Make row ``r`` of all ``value`` whose collection holds ``r``; ``pairs`` gives both."""
        sizes = [0] * (rows + 1)
        for _, members in pairs:
            for row in members:
                sizes[row + 1] += 1
        for row in range(rows):
            sizes[row + 1] += sizes[row]
        self._starts = array("l", sizes)
        self._values = array("l", bytes(8 * sizes[rows]))
        places = sizes
        for value, members in pairs:
            for row in members:
                self._values[places[row]] = value
                places[row] += 1

    def __getitem__(self, row: int) -> array[int]:
        return self._values[self._starts[row] : self._starts[row + 1]]


class States:
    """What every node waits for, and which trials wait for it.

    Args:
        plan: nodes and trials.
        todo: identities of the nodes to run.
        trials: those that have not ended.

    Attributes:
        names: identity of every node.
        place: the other way round.
        state: of every node.
        unmet: of a node that is WAITING, how many of its parents have no result.
        trials: as given.
        lacking: of every trial, how many of its nodes have not ended; below 0 once it has.
    """

    def __init__(self, plan: Plan, todo: Collection[str], trials: Sequence[Trial]) -> None:
        self.names = list(plan.nodes)
        self.place = {name: number for number, name in enumerate(self.names)}
        self._parents = [
            tuple({self.place[parent] for parent in node.above}) for node in plan.nodes.values()
        ]
        self._children = _Rows(len(self.names), list(enumerate(self._parents)))
        self.trials = trials
        parts = [tuple({self.place[key] for key in trial.parts}) for trial in trials]
        self._trials_of = _Rows(len(self.names), list(enumerate(parts)))
        self.state = bytearray(len(self.names))
        for above in (parts, self._parents):
            for numbers in above:
                for number in numbers:
                    self.state[number] = DONE
        for key in todo:
            self.state[self.place[key]] = WAITING
        self.unmet = array("l", (self._without(number) for number in range(len(self.names))))
        self.lacking = array("l", (self._not_done(numbers) for numbers in parts))

    def _not_done(self, numbers: Iterable[int]) -> int:
        return sum(self.state[number] != DONE for number in numbers)

    def _without(self, number: int) -> int:
        return self._not_done(self._parents[number]) if self.state[number] == WAITING else 0

    def parents(self, number: int) -> tuple[int, ...]:
        """The nodes whose results a node reads."""
        return self._parents[number]

    def children(self, number: int) -> array[int]:
        """The nodes that read its result."""
        return self._children[number]

    def first(self) -> list[int]:
        """Nodes that wait for nothing."""
        waiting = (n for n, state in enumerate(self.state) if state == WAITING)
        return [number for number in waiting if not self.unmet[number]]

    def wait(self, number: int) -> bool:
        """Let a node wait for what it lacks; returns whether it lacks nothing."""
        self.state[number] = WAITING
        self.unmet[number] = self._without(number)
        return not self.unmet[number]

    def done(self, number: int) -> list[int]:
        """Note a result; returns the nodes that now wait for nothing."""
        self.state[number] = DONE
        free = []
        for child in self._children[number]:
            if self.state[child] == WAITING:
                self.unmet[child] -= 1
                if not self.unmet[child]:
                    free.append(child)
        return free

    def ended(self, number: int) -> list[int]:
        """Trials that lack nothing any more, now that a node is done or has failed."""
        over = []
        for trial in self._trials_of[number]:
            if self.lacking[trial] > 0:
                self.lacking[trial] -= 1
                if not self.lacking[trial]:
                    over.append(trial)
        return over

    def close(self, trial: int) -> None:
        """Note that a trial has ended."""
        self.lacking[trial] = _CLOSED

    def undo(self, number: int) -> list[int]:
        """Take a result back; returns the nodes that were READY and wait again."""
        again = []
        if self.state[number] == DONE:
            for child in self._children[number]:
                if self.state[child] == WAITING:
                    self.unmet[child] += 1
                elif self.state[child] == READY:
                    self.state[child] = WAITING
                    self.unmet[child] = 1
                    again.append(child)
            for trial in self._trials_of[number]:
                if self.lacking[trial] >= 0:
                    self.lacking[trial] += 1
        self.state[number] = WAITING
        return again
