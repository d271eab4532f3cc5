"""A process that has the imports done once and forks workers, which then start in milliseconds.

It is started by :mod:`bench.engine.backends.slot`, in a session of its own so that Ctrl-C and
signals to a group of processes reach the supervisor alone, and it ends when that is gone.
"""

from __future__ import annotations

import importlib
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.engine.messages import Blobs, Bundle, Done

NUMBER = struct.Struct("i")
UNKNOWN = 2**31 - 1
"""Stands for the exit status of a worker that does not end."""
_ENDS_IN_S = 5.0


@dataclass(frozen=True)
class Outfit:
    """What a worker is given when it starts.

    Attributes:
        devices: value of ``CUDA_VISIBLE_DEVICES``; None leaves it as it is.
        blobs: pickled folder of large files; None where this machine does not see the store.
    """

    devices: str | None = None
    blobs: bytes | None = None


@dataclass(frozen=True)
class Work:
    """What a worker is sent.

    Attributes:
        payload: the pickled bundle.
        ended: jobs of it that ended in another worker: the pickled result, None of a failure.
        alone: run the jobs of groups one by one.
        tensors: by digest, for parcels whose tensors this machine cannot read from the store.
    """

    payload: bytes
    ended: Mapping[str, bytes | None]
    alone: bool
    tensors: Mapping[str, bytes] = field(default_factory=dict)


def serve(control: socket.socket) -> None:
    """Fork a worker for every socket that is sent, and say how a worker ended when asked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _warm()
    while True:
        data, sent, _, _ = socket.recv_fds(control, NUMBER.size, 1)
        if not data:
            os._exit(0)
        if not sent:
            control.sendall(NUMBER.pack(_status_of(*NUMBER.unpack(data))))
            continue
        worker = os.fork()
        if worker == 0:
            control.close()
            try:
                _worker(Connection(sent[0]))
            except BaseException:
                traceback.print_exc()
            finally:  # nothing of what the zygote does next may happen here
                os._exit(1)
        os.close(sent[0])
        control.sendall(NUMBER.pack(worker))


def _warm() -> None:
    """Import what every job needs. What cannot be imported fails again in the job, with words."""
    modules = ["bench.engine.worker", "bench.engine.environment", "scipy.linalg", "threadpoolctl"]
    # The first step of an optimizer imports it, which takes longer than many a training.
    modules.append("torch._dynamo")
    with suppress(Exception):
        from bench.engine.graph import KINDS
        from bench.engine.stages import module_of
        from bench.goals import goals

        modules += [module_of(kind) for kind in KINDS]
        modules += dict.fromkeys(goal.judge for goal in goals().values())
    for module in modules:
        with suppress(Exception):
            importlib.import_module(module)
    with suppress(Exception):
        from bench.engine.environment import environment

        environment("cpu", 1)  # what it remembers, every worker then knows


def _status_of(worker: int) -> int:
    """Exit code of a worker whose line is closed; of a signal, its number below zero."""
    until = time.monotonic() + _ENDS_IN_S
    while time.monotonic() < until:
        try:
            ended, status = os.waitpid(worker, os.WNOHANG)
        except ChildProcessError:
            return UNKNOWN
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    with suppress(ProcessLookupError):  # it has closed its line and goes on
        os.kill(worker, signal.SIGKILL)
    return UNKNOWN


# ---------------------------------------------------------------- the worker
def _worker(line: Connection) -> None:
    """Run bundles as they arrive, until the supervisor is gone."""
    _end_with_parent()
    threading.Thread(target=_end_with_supervisor, args=(line.fileno(),), daemon=True).start()
    outfit: Outfit = line.recv()
    if outfit.devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = outfit.devices
    blobs: Blobs | None = None if outfit.blobs is None else pickle.loads(outfit.blobs)
    while True:
        try:
            work: Work = line.recv()
        except EOFError:
            os._exit(0)
        _run(line, work, blobs)
        sys.stdout.flush()
        sys.stderr.flush()
        line.send(("finished", _resident()))


def _run(line: Connection, work: Work, blobs: Blobs | None) -> None:
    from bench.engine.messages import Done
    from bench.engine.worker import env_of, execute

    bundle: Bundle = pickle.loads(work.payload)
    parcels = {
        node: replace(parcel, tensors=work.tensors[parcel.digest])
        if parcel.digest is not None and parcel.digest in work.tensors
        else parcel
        for node, parcel in bundle.parcels.items()
    }
    bundle = replace(bundle, parcels=parcels)
    ended = {
        node: Done("failed") if done is None else pickle.loads(done)
        for node, done in work.ended.items()
    }
    line.send(("env", pickle.dumps(env_of(bundle))))

    def tell(what: str, nodes: tuple[str, ...], done: Done | None) -> None:
        sent: Any = None if done is None else (done.status, pickle.dumps(done, 5))
        line.send((what, nodes, sent))

    execute(bundle, tell, blobs, ended, work.alone)


def _end_with_parent() -> None:
    """Let the system kill this process when the one that forked it is gone (Linux)."""
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _end_with_supervisor(line: int) -> None:
    """End when the supervisor has closed its end of the line, in the middle of a job too."""
    hangup = select.poll()
    hangup.register(line, 0)  # a hang-up is told whether or not it is asked for
    hangup.poll()
    os._exit(0)


def _resident() -> int:
    """Bytes of memory that this process holds now; 0 where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
