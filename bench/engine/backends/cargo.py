"""Bundles as supervisors handle them, and what comes back as the driver reads it."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping

from bench.engine.backends.slot import Cargo, Ended, Task
from bench.engine.messages import Bundle, Done

_TYPES = {"timeout": "Timeout", "oom": "OutOfMemory"}


def pack(bundle: Bundle) -> Cargo:
    """A bundle on its way to a worker."""
    tasks = tuple(Task(job.node, job.kind, job.timeout_s) for job in bundle.jobs)
    return Cargo(pickle.dumps(bundle, 5), tasks)


def unpack(ended: Iterable[Ended]) -> dict[str, Done]:
    """Results by identity."""
    return {item.node: _done(item) for item in ended}


def _done(item: Ended) -> Done:
    if item.done is not None:
        done: Done = pickle.loads(item.done)
        return done
    env: Mapping[str, object] = {} if item.env is None else pickle.loads(item.env)
    kind = _TYPES.get(item.status, "WorkerCrashed")
    failure = {"type": kind, "message": item.reason, "traceback": ""}
    return Done(item.status, failure=failure, seconds=item.seconds, env=env)
