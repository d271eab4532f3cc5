"""A slot: one worker process, started anew when it dies, and whoever watches over it.

It runs in the driver's process or in an actor of Ray. What it passes on it does not look into, so
it needs nothing but the standard library and starts at once.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from bench.engine.backends.zygote import NUMBER, UNKNOWN, Outfit, Work

_START = """
import json, socket, sys
sys.path[:] = json.loads(sys.argv[2])
from bench.engine.backends.zygote import serve
serve(socket.socket(fileno=int(sys.argv[1])))
"""
_FROM_OUTSIDE = frozenset({-signal.SIGKILL, -signal.SIGTERM})
_BEGINS_IN_S = 300.0
"""A worker that has not said by then that it runs a job never will."""
_MOST_EMPTY_STARTS = 2
"""Workers of one bundle that may end before they have run anything."""


@dataclass(frozen=True)
class Task:
    """What a supervisor knows of a job.

    Attributes:
        node: identity.
        kind: which stage.
        timeout_s: seconds it may run.
    """

    node: str
    kind: str
    timeout_s: float


@dataclass(frozen=True)
class Cargo:
    """A bundle as a supervisor handles it.

    Attributes:
        payload: the pickled bundle.
        tasks: its jobs.
        tensors: by digest, what the worker cannot read from the store.
    """

    payload: bytes
    tasks: tuple[Task, ...]
    tensors: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """A job has ended.

    Attributes:
        node: identity.
        status: of its result.
        done: the pickled result; None where the worker could not send one.
        reason: why, where the supervisor says it.
        seconds: how long it ran, where the supervisor says it.
        env: pickled facts of the worker, where the supervisor speaks.
    """

    node: str
    status: str
    done: bytes | None
    reason: str = ""
    seconds: float = 0.0
    env: bytes | None = None


@dataclass
class Outcome:
    """What has come of a bundle so far; one thread writes, others may look.

    Attributes:
        ended: jobs in the order in which they ended.
        begun: the job that runs now, or ran when the bundle was lost.
        lost: why the rest is missing, though no job is to blame.
        over: whether nothing more will come.
    """

    ended: list[Ended] = field(default_factory=list)
    begun: str | None = None
    lost: str | None = None
    over: bool = False


class Zygote:
    """The process that forks workers; one for all slots of this process, started when needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork(self) -> tuple[int, Connection]:
        """A new worker: its process number and the line to it.

        Raises:
            OSError: no process could be started.
        """
        with self._lock:
            for last in (False, True):
                ours, theirs = socket.socketpair()
                try:
                    control = self._started()
                    socket.send_fds(control, [NUMBER.pack(0)], [theirs.fileno()])
                    return self._answer(control), Connection(ours.detach())
                except OSError:
                    ours.close()
                    self._drop()
                    if last:
                        raise
                finally:
                    theirs.close()
        raise AssertionError

    def status_of(self, worker: int) -> int:
        """Exit code of a worker whose line is closed; ``UNKNOWN`` where nobody can say."""
        with self._lock:
            if self._control is None:
                return UNKNOWN
            try:
                self._control.sendall(NUMBER.pack(worker))
                return self._answer(self._control)
            except OSError:
                self._drop()
                return UNKNOWN

    def start(self) -> None:
        """Begin with the imports, so that the first worker need not wait for all of them."""
        with self._lock, suppress(OSError):
            self._started()

    def close(self) -> None:
        """End it, and with it every worker."""
        with self._lock:
            self._drop()

    def _started(self) -> socket.socket:
        if self._control is None:
            ours, theirs = socket.socketpair()
            with theirs:
                words = [f"-W{option}" for option in sys.warnoptions]
                number = str(theirs.fileno())
                self._process = subprocess.Popen(
                    [sys.executable, *words, "-c", _START, number, json.dumps(sys.path)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            ours.settimeout(_BEGINS_IN_S)  # its imports may hang, on a file server that is away
            self._control = ours
        return self._control

    def _answer(self, control: socket.socket) -> int:
        data = control.recv(NUMBER.size)
        if len(data) < NUMBER.size:
            raise ConnectionResetError("the process that starts workers is gone")
        number: int = NUMBER.unpack(data)[0]
        return number

    def _drop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Slot:
    """Runs one bundle at a time in a worker process.

    Args:
        zygote: starts the worker.
        outfit: what the worker is given.
        memory: bytes; a worker that holds more between bundles is replaced.
    """

    def __init__(self, zygote: Zygote, outfit: Outfit, memory: int) -> None:
        self.outfit, self.memory = outfit, memory
        self._zygote = zygote
        self._worker = 0
        self._line: Connection | None = None
        self._closed = False
        self._began = 0.0
        self._env: bytes | None = None

    def run(self, cargo: Cargo, outcome: Outcome) -> None:
        """Run a bundle to its end; never raises. A job that is to blame does not end the others."""
        try:
            self._run(cargo, outcome)
        except OSError as error:
            outcome.lost = f"no worker process can be started ({error.strerror or error})"
        except Exception as error:  # a line that speaks another language: that of other code
            outcome.lost = f"the worker cannot be understood ({type(error).__name__}: {error})"
        if outcome.lost:
            self._kill()
            self._reap()
        outcome.over = True

    def close(self) -> None:
        """Kill the worker; what runs is lost."""
        self._closed = True
        self._kill()

    def _run(self, cargo: Cargo, outcome: Outcome) -> None:
        alone, empty = False, 0
        while not self._closed:
            ooms = oom_kills()
            finished, begun, why = self._attempt(cargo, outcome, alone)
            if finished:
                return
            status = 0 if why else self._reap()
            outcome.begun = begun[0].node if begun else None
            if not why and (self._closed or status in _FROM_OUTSIDE or status == UNKNOWN):
                grown = any(now > then for now, then in zip(oom_kills(), ooms, strict=True))
                if not (grown and begun and status == -signal.SIGKILL):
                    outcome.lost = _lost(status)
                    return
                why = "oom"
            if len(begun) > 1:
                alone = True
            elif begun:
                self._blame(begun[0], why, status, outcome)
            else:
                empty += 1
                if empty > _MOST_EMPTY_STARTS:
                    outcome.lost = f"the worker process ended with code {status} before it began"
                    return
        outcome.lost = "the run was stopped"

    def _attempt(
        self, cargo: Cargo, outcome: Outcome, alone: bool
    ) -> tuple[bool, tuple[Task, ...], str]:
        """Send what remains and follow it.

        Returns:
            Whether the worker came to the end; else the jobs that were running, and ``timeout``
            where they were stopped.
        """
        tasks = {task.node: task for task in cargo.tasks}
        line = self._ready()
        running: tuple[Task, ...] = ()
        try:
            done = {e.node: e.done if e.status == "done" else None for e in outcome.ended}
            line.send(Work(cargo.payload, done, alone, cargo.tensors))
            until = time.monotonic() + _BEGINS_IN_S
            while True:
                if not line.poll(max(0.0, until - time.monotonic())):
                    self._kill()
                    self._reap()
                    return False, running, "timeout"
                what, *more = line.recv()
                if what == "finished":
                    if more[0] > self.memory:
                        self._kill()
                        self._reap()
                    return True, (), ""
                if what == "env":
                    self._env = more[0]
                elif what == "started":
                    running = tuple(tasks[node] for node in more[0])
                    outcome.begun = running[0].node
                    self._began = time.monotonic()
                    until = self._began + _deadline(running)
                else:
                    (node,), (status, result) = more
                    running = tuple(task for task in running if task.node != node)
                    outcome.ended.append(Ended(node, status, result))
                    outcome.begun = None
                    if not running:
                        until = time.monotonic() + _BEGINS_IN_S
        except (EOFError, OSError):
            return False, running, ""

    def _blame(self, task: Task, why: str, status: int, outcome: Outcome) -> None:
        if why == "timeout":
            reason = f"Stopped after {task.timeout_s:g} s; raise timeout_s.{task.kind}."
        elif why == "oom":
            reason = "The system ran out of memory and killed the worker process."
        else:
            why, reason = "crashed", f"The worker process ended {_how(status)}."
        seconds = time.monotonic() - self._began
        outcome.ended.append(Ended(task.node, why, None, reason, seconds, self._env))
        outcome.begun = None

    def _ready(self) -> Connection:
        if self._line is None:
            self._env = None
            self._worker, self._line = self._zygote.fork()
            with suppress(OSError):  # a worker that is gone is noticed when it is sent work
                self._line.send(self.outfit)
            if self._closed:  # meanwhile, when there was nothing to kill yet
                self._kill()
        return self._line

    def _kill(self) -> None:
        if self._line is not None:
            with suppress(ProcessLookupError):
                os.kill(self._worker, signal.SIGKILL)

    def _reap(self) -> int:
        """Exit code of the worker, which is forgotten."""
        if self._line is None:
            return UNKNOWN
        self._line.close()
        self._line = None
        return self._zygote.status_of(self._worker)


def _deadline(tasks: tuple[Task, ...]) -> float:
    """Seconds for jobs that run as one program: it must pay, and one that hangs must be found."""
    limits = [task.timeout_s for task in tasks]
    return max(*limits, sum(limits) / 3) if len(limits) > 1 else limits[0]


def _how(status: int) -> str:
    if status >= 0:
        return f"with code {status}"
    try:
        return f"by signal {signal.Signals(-status).name}"
    except ValueError:
        return f"by signal {-status}"


def _lost(status: int) -> str:
    if status == UNKNOWN:
        return "the worker process is gone, and nobody knows how it ended"
    return f"the worker process was killed from outside ({_how(status)})"


# ---------------------------------------------------------------- memory
def oom_kills() -> tuple[int, ...]:
    """Counters of processes that the system has killed for want of memory, as far as it tells."""
    return tuple(_count(path) for path in _counters())


def _counters() -> list[Path]:
    """Files that count such kills: of this process's control groups, and of the machine."""
    paths = [Path("/proc/vmstat")]
    with suppress(OSError):
        for entry in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, group = entry.split(":", 2)
            if "memory" in controllers.split(","):
                paths.append(Path(f"/sys/fs/cgroup/memory{group}/memory.oom_control"))
            elif not controllers:
                paths.append(Path(f"/sys/fs/cgroup{group}/memory.events"))
                paths.append(Path(f"/sys/fs/cgroup/unified{group}/memory.events"))
    return paths


def _count(path: Path) -> int:
    with suppress(OSError, ValueError):
        for entry in path.read_text(encoding="ascii", errors="replace").splitlines():
            name, _, number = entry.partition(" ")
            if name == "oom_kill":
                return int(number)
    return 0


def memory_limit(asked_gb: float | None) -> int:
    """Bytes above which a worker is replaced: 4 GiB, or a quarter of a smaller machine's memory."""
    if asked_gb is not None:
        return int(asked_gb * 2**30)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(4 * 2**30, machine // 4)
