"""Progress of a run: a bar in a terminal, plain lines elsewhere; every node is logged."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bench.engine.driving.pace import Pace
from bench.engine.durations import duration
from bench.engine.graph import Node

_LINE_EVERY_S = 15.0
_LOG = logging.getLogger(__name__)


class Display:
    """Shows a run as it goes; a :class:`bench.engine.driving.driver.Listener`.

    Args:
        nodes: how many are to be run.
        trials: trials to end.
        pace: how long nodes take.
        mode: ``bar``, ``plain``, ``none`` or ``auto`` (a bar in a terminal, else plain).
        stream: where to show it.
    """

    def __init__(
        self,
        nodes: int,
        trials: int,
        pace: Pace,
        mode: str = "auto",
        stream: TextIO | None = None,
    ) -> None:
        stream = stream or sys.stderr
        self.total = nodes
        self.trials = trials
        self.ended: Counter[str] = Counter()
        self.nodes = 0
        self.running = 0
        self.slots = 1
        self._pace = pace
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
        _LOG.info("%s in %.2f s: %s %s", status, seconds, node.kind, node.label)
        if status not in ("done", "elsewhere"):
            self.say(f"{node.kind} {node.label} ended in {status}")

    def trial(self, key: str, status: str, fresh: bool) -> None:
        """A trial has ended."""
        self.ended[status] += 1

    def tick(self, running: int) -> None:
        """Time has passed."""
        self.running = running
        self.slots = max(self.slots, running)
        if self._bar is not None:
            self._bar.update(self._task, completed=self.nodes, more=self._state())
        elif time.monotonic() - self._said >= _LINE_EVERY_S:
            self._said = time.monotonic()
            self.say(f"{self.nodes}/{self.total} nodes, {self._state()}")

    def close(self) -> None:
        """Stop showing."""
        if self._bar is not None:
            self._bar.update(self._task, completed=self.nodes, more=self._state())
            self._bar.stop()

    # ------------------------------------------------------------ words
    def _state(self) -> str:
        bad = sum(n for status, n in self.ended.items() if status not in ("done", "skipped"))
        rate = self.nodes / max(time.monotonic() - self.started, 1e-9)
        left = self.left_s()
        return (
            f"{self.ended['done']}/{self.trials} trials done, {self.running} running, "
            f"{bad} failed, {rate:.1f} nodes/s, {'?' if left is None else duration(left)} left"
        )

    def left_s(self) -> float | None:
        """Seconds left on the slots that work; None before anything is known."""
        left = self._pace.left()
        return None if left is None else left / self.slots

    def say(self, line: str) -> None:
        """Show a line."""
        _LOG.debug("%s", line)
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        elif self._stream is not None:
            self._stream.write(line + "\n")
            self._stream.flush()
