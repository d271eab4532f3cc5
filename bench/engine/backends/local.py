"""This machine without Ray."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from bench.engine.backends import Capacity, lost
from bench.engine.graph import KINDS
from bench.engine.messages import Parcel
from bench.engine.settings import LocalBackend, Resources
from bench.engine.stages import module_of
from bench.engine.worker import Done, Job, execute
from bench.goals import goals

_PRELOADED = [
    "bench.engine.backends.local",
    "bench.engine.environment",
    "bench.engine.store",
    *(module_of(kind) for kind in KINDS),
    *dict.fromkeys(goal.judge for goal in goals().values()),
]


_ONE_AT_A_TIME = threading.Lock()


class InProcess:
    """One task at a time, in the driver's own process: the simplest thing that works.

    That holds for all runs of the process: libraries draw random numbers from one generator, and a
    task of another thread would change what they give. It cannot stop a task, so deadlines are not
    enforced.
    """

    capacity = Capacity(1_000_000, 1_000_000)
    enforces_deadlines = False

    def __init__(self) -> None:
        self._tasks: list[Job] = []

    def parent(self, parcel: Parcel) -> Any:
        """The parcel."""
        return parcel

    def forget(self, place: str) -> None:
        """Nothing is remembered here."""

    def submit(self, task: Job, resources: Resources) -> None:
        """Queue a task; :meth:`poll` runs it."""
        self._tasks.append(task)

    def poll(self, timeout: float) -> Sequence[tuple[str, Done]]:
        """Run one queued task to its end."""
        if not self._tasks:
            return []
        task = self._tasks.pop(0)
        with _ONE_AT_A_TIME:
            return [(task.node, execute(task))]

    def cancel(self, node: str) -> None:
        """Forget a task that has not begun."""
        self._tasks = [t for t in self._tasks if t.node != node]

    def close(self) -> None:
        """Nothing to stop."""


class Isolated:
    """A process a task, forked from a server that has the imports done once."""

    enforces_deadlines = True

    def __init__(self, options: LocalBackend) -> None:
        self.capacity = Capacity(options.num_cpus, options.num_gpus)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOADED)
        self._running: dict[Connection, tuple[str, Any]] = {}

    def parent(self, parcel: Parcel) -> Any:
        """The parcel."""
        return parcel

    def forget(self, place: str) -> None:
        """Nothing is remembered here."""

    def submit(self, task: Job, resources: Resources) -> None:
        """Start a process for the task."""
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_send, args=(theirs, task), daemon=True)
        process.start()
        theirs.close()
        self._running[ours] = (task.node, process)

    def poll(self, timeout: float) -> Sequence[tuple[str, Done]]:
        """Results of processes that have sent one, or died."""
        out = []
        for pipe in wait(list(self._running), timeout):
            assert isinstance(pipe, Connection)
            node, process = self._running.pop(pipe)
            try:
                done = pipe.recv()
            except EOFError:
                process.join()
                done = lost(
                    "WorkerCrashed", f"The worker process ended with code {process.exitcode}."
                )
            pipe.close()
            process.join()
            out.append((node, done))
        return out

    def cancel(self, node: str) -> None:
        """Kill the task's process."""
        for pipe, (name, process) in list(self._running.items()):
            if name == node:
                process.kill()
                process.join()
                pipe.close()
                del self._running[pipe]

    def close(self) -> None:
        """Kill what still runs."""
        for node, _ in list(self._running.values()):
            self.cancel(node)


def _send(pipe: Connection, task: Job) -> None:
    pipe.send(execute(task))
    pipe.close()
