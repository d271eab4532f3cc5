"""Progress of a run: a bar in a terminal, plain lines elsewhere; every node is logged."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bench.contract.record import TrialRecord
from bench.engine.durations import duration
from bench.engine.graph import Node, Plan

_LINE_EVERY_S = 15.0
_LOG = logging.getLogger(__name__)


class TimeLeft:
    """Seconds left, from the mean time of each kind of node and the slots that work.

    Args:
        kinds: number of nodes to run, by kind.
        history: mean seconds of a node by kind in earlier runs.
    """

    def __init__(self, kinds: Mapping[str, int], history: Mapping[str, float]) -> None:
        self.left = Counter(kinds)
        self._sum: dict[str, float] = defaultdict(float)
        self._n: Counter[str] = Counter()
        self._history = history

    def ended(self, kind: str, seconds: float) -> None:
        """A node has ended."""
        self.left[kind] -= 1
        self._sum[kind] += seconds
        self._n[kind] += 1

    def estimate(self, slots: float) -> float | None:
        """Seconds left on ``slots`` workers; None before anything is known."""
        known = {k: self._sum[k] / self._n[k] for k in self._n}
        known = {**self._history, **known}
        if not known:
            return None
        other = sum(known.values()) / len(known)
        return sum(n * known.get(k, other) for k, n in self.left.items() if n > 0) / max(slots, 1)


class Display:
    """Shows a run as it goes; a :class:`bench.engine.driver.Listener`.

    Args:
        plan: what is run.
        todo: identities of the nodes to run.
        trials: trials to end.
        mode: ``bar``, ``plain``, ``none`` or ``auto`` (a bar in a terminal, else plain).
        history: mean seconds of a node by kind in earlier runs.
        stream: where to show it.
    """

    def __init__(
        self,
        plan: Plan,
        todo: set[str],
        trials: int,
        mode: str = "auto",
        history: Mapping[str, float] | None = None,
        stream: TextIO | None = None,
    ) -> None:
        stream = stream or sys.stderr
        kinds: Counter[str] = Counter(plan.nodes[key].kind for key in todo)
        self.total = len(todo)
        self.trials = trials
        self.ended: Counter[str] = Counter()
        self.nodes = 0
        self.running = 0
        self.slots = 1
        self.left = TimeLeft(kinds, history or {})
        self.started = time.monotonic()
        self._said = -_LINE_EVERY_S
        self._stream = stream if mode != "none" else None
        self._bar: Progress | None = None
        if mode == "bar" or (mode == "auto" and stream.isatty()):
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total} nodes"),
                TextColumn("{task.fields[more]}"),
                console=Console(file=stream),
                transient=True,
            )
            self._task = self._bar.add_task("running", total=self.total, more="")
            self._bar.start()

    # ------------------------------------------------------------ told by the driver
    def node(self, node: Node, status: str, seconds: float) -> None:
        """A node has ended."""
        self.nodes += 1
        self.left.ended(node.kind, seconds)
        _LOG.info("%s in %.2f s: %s %s", status, seconds, node.kind, node.label)
        if status != "done":
            self._say(f"{node.kind} {node.label} ended in {status}")

    def trial(self, record: TrialRecord, fresh: bool) -> None:
        """A trial has ended."""
        self.ended[record.status] += 1

    def tick(self, running: int) -> None:
        """Time has passed."""
        self.running = running
        self.slots = max(self.slots, running)
        if self._bar is not None:
            self._bar.update(self._task, completed=self.nodes, more=self._state())
        elif time.monotonic() - self._said >= _LINE_EVERY_S:
            self._said = time.monotonic()
            self._say(f"{self.nodes}/{self.total} nodes, {self._state()}")

    def close(self) -> None:
        """Stop showing."""
        if self._bar is not None:
            self._bar.update(self._task, completed=self.nodes, more=self._state())
            self._bar.stop()

    # ------------------------------------------------------------ words
    def _state(self) -> str:
        bad = sum(n for status, n in self.ended.items() if status not in ("done", "skipped"))
        rate = self.nodes / max(time.monotonic() - self.started, 1e-9)
        left = self.left.estimate(self.slots)
        return (
            f"{self.ended['done']}/{self.trials} trials done, {self.running} running, "
            f"{bad} failed, {rate:.1f} nodes/s, {'?' if left is None else duration(left)} left"
        )

    def _say(self, line: str) -> None:
        _LOG.debug("%s", line)
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        elif self._stream is not None:
            self._stream.write(line + "\n")
            self._stream.flush()
