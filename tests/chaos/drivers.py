"""The driver of a round: the same command, given again until it says that all is done."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.chaos.judge import Verdict
from tests.chaos.lab import Machine, descendants, heeds, send, words_of

ENDED = (0, 1)
"""Exit codes of a run whose trials have all ended."""
STOPS_IN_S = 20
"""Seconds in which a driver asked to stop must have stopped: ten, twice on a loaded machine."""
_BY_SIGTERM = (-signal.SIGTERM, 128 + signal.SIGTERM)
_LAST_WORD = "trials done"
_CRASHES = ("Traceback (most recent call last)", "*** StackTrace Information ***", "Check failed")
"""What Python or Ray writes where a program ends that was not meant to."""
_PAUSE_S = 1.0
_MOST_STARTS = 25


class Driver:
    """One command on one machine.

    Args:
        machine: where it runs.
        words: what is given to ``invbench``.
        log: file to which it writes.
        variables: of its environment.
        complete: whether the store holds the end of every trial.
    """

    def __init__(
        self,
        machine: Machine,
        words: Sequence[str],
        log: Path,
        variables: Mapping[str, str],
        complete: Callable[[], bool],
    ) -> None:
        self.machine, self.words, self.log = machine, list(words), log
        self.variables, self._complete = dict(variables), complete
        self.verdict = Verdict()
        self.starts = 0
        self.slowest_stop_s = 0.0
        self.ended = False
        self._process: subprocess.Popen[bytes] | None = None
        self._from = 0
        self._asked: float | None = None
        self._unheard = False
        self._killed = False
        self._again_at = 0.0

    @property
    def pid(self) -> int | None:
        """Its process, as the outer machine counts; None while it does not run."""
        if self._process is None or self._process.poll() is not None:
            return None
        inner = list(descendants(self._process.pid))
        return inner[0] if inner and "run" in words_of(inner[0]) else None

    @property
    def pids(self) -> list[int]:
        """The same, after whoever has entered the machine for it; empty while it does not run."""
        pid = self.pid
        return [] if pid is None or self._process is None else [self._process.pid, pid]

    def look(self) -> None:
        """Start it, or take note of its end."""
        if self.ended:
            return
        if self._process is None:
            if time.monotonic() >= self._again_at:
                self._start()
            return
        code = self._process.poll()
        if code is None:
            if self._asked is not None and time.monotonic() - self._asked > STOPS_IN_S:
                self.verdict.hung.append(f"the driver went on for {STOPS_IN_S} s after SIGTERM")
                self.kill()
            return
        self._close(code)

    def _start(self) -> None:
        if self.starts == _MOST_STARTS:
            self.verdict.hung.append(f"not done after {_MOST_STARTS} starts of the command")
            self.ended = True
            return
        self.starts += 1
        self._from = self.log.stat().st_size if self.log.exists() else 0
        self._asked, self._unheard, self._killed = None, False, False
        self._process = self.machine.start(self.words, self.log, self.variables)

    def _close(self, code: int) -> None:
        self._process, self._again_at = None, time.monotonic() + _PAUSE_S
        if self._asked is not None:
            self.slowest_stop_s = max(self.slowest_stop_s, time.monotonic() - self._asked)
        with self.log.open("rb") as file:
            file.seek(self._from)
            text = file.read().decode(errors="replace")
        if not self._killed:
            # Python itself was starting, or clearing away after the command's last word.
            apart = not text.strip() or _LAST_WORD in text
            excused = self._unheard and code in _BY_SIGTERM and apart
            if (code < 0 or code > 130) and not excused:
                self.verdict.wrong.append(f"the driver ended with exit code {code}: {_end(text)}")
            elif crash := next((words for words in _CRASHES if words in text), ""):
                self.verdict.wrong.append(f"the driver ended in '{crash}': {_end(text)}")
        if code in ENDED and self._complete():
            self.ended = True

    def kill(self) -> None:
        """End it with no warning."""
        if (pid := self.pid) is not None:
            self._killed = True
            send(pid, signal.SIGKILL)

    def ask(self) -> None:
        """Ask it to stop."""
        if (pid := self.pid) is not None:
            self._asked = self._asked or time.monotonic()
            self._unheard = self._unheard or not heeds(pid, signal.SIGTERM)
            send(pid, signal.SIGTERM)


def _end(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-3:])[-400:]
