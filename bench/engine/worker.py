"""A worker runs one node and returns a record in every case: only the system itself can raise."""

from __future__ import annotations

import json
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.contract import DivergedError, UserError, require
from bench.contract.secrets import redacted
from bench.engine.graph import Reading
from bench.engine.names import TENSORS


@dataclass(frozen=True)
class Job:
    """A node as it travels: plain data only.

    Attributes:
        node: identity.
        kind: which stage.
        payload: what the stage works from.
        parents: role to the parcel of the result.
        configs: role to the payload of that parent.
        source: module to the digest of its code, as it was planned.
        texts: module to the digest of its text, as it was planned.
        readings: files that the node's components read, as they were planned.
        threads: CPU threads granted.
        gpus: share of a GPU granted.
        data_root: folder of real data sets.
        packages: top-level packages that options may name.
        path: entries to add to ``sys.path`` for a user's own packages.
    """

    node: str
    kind: str
    payload: Mapping[str, Any]
    parents: Mapping[str, Any]
    configs: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    readings: Mapping[str, Reading] = field(default_factory=dict)
    threads: int = 1
    gpus: float = 0.0
    data_root: str | None = None
    packages: tuple[str, ...] = ()
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Done:
    """What came back.

    Attributes:
        status: ``done``, ``failed``, ``diverged``, ``oom``, or ``damaged`` where a parent's stored
            result is not what was written.
        output: JSON of the stage.
        files: tensors and pictures.
        failure: type, message and traceback where the status is not ``done``.
        seconds: wall time in the worker.
        env: where it ran.
        damaged: role to what is wrong with the result of that parent.
    """

    status: str
    output: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    failure: Mapping[str, str] | None = None
    seconds: float = 0.0
    env: Mapping[str, Any] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)


def execute(task: Job) -> Done:
    """Run one node."""
    started = time.perf_counter()
    for entry in task.path:
        if entry not in sys.path:
            sys.path.append(entry)
    from bench.engine.environment import environment

    device = "cuda" if task.gpus > 0 else "cpu"

    def done(status: str, **more: Any) -> Done:
        env = environment(device, task.threads)
        return Done(status, seconds=time.perf_counter() - started, env=env, **more)

    try:
        from bench.engine.stages import run
        from bench.engine.stages.result import Machine, encode

        _limit_threads(task.threads)
        _check_source(task)
        parents, damaged = _parents(task)
        if damaged:
            return done("damaged", damaged=damaged)
        _check_files(task)
        root = Path(task.data_root) if task.data_root else None
        result = run(task.kind, task.payload, parents, Machine(device, root, task.packages))
        _check_files(task)  # it may have changed while it was read
        json.dumps(result.output, allow_nan=False)
        return done("done", output=result.output, files=encode(result))
    except Exception as error:
        trace = "" if isinstance(error, UserError) else traceback.format_exc()
        failure = {
            "type": type(error).__name__,
            # Redacted before it is cut, and here: the driver does not know this host's variables.
            "message": " ".join(redacted(str(error)).split())[:2000] or type(error).__name__,
            "traceback": redacted(trace),
        }
        return done(_status(error), failure=failure)


_pools: tuple[int, Any] = (0, None)
"""Modules that were loaded when libraries with threads were last looked for, and what was found."""


def _limit_threads(threads: int) -> None:
    """Torch, BLAS and OpenMP: they decide speed and the order of sums, hence the last digits."""
    global _pools  # noqa: PLW0603  looking for libraries takes milliseconds, a task as few
    import torch
    from threadpoolctl import ThreadpoolController

    torch.set_num_threads(threads)
    if _pools[0] != len(sys.modules):
        _pools = (len(sys.modules), ThreadpoolController())
    _pools[1].limit(limits=threads)


def _parents(task: Job) -> tuple[dict[str, Any], dict[str, str]]:
    """Results of the parents, and what is wrong with those that are damaged."""
    from bench.engine.seal import digest_of
    from bench.engine.stages.result import decode

    results, damaged = {}, {}
    for role, parcel in task.parents.items():
        if parcel.digest != (None if parcel.tensors is None else digest_of(parcel.tensors)):
            damaged[role] = f"{parcel.place}/{TENSORS}: what it holds is not what was written"
        else:
            result = decode(parcel.output, parcel.tensors)
            results[role] = replace(result, config=task.configs[role])
    return results, damaged


def _check_source(task: Job) -> None:
    """Refuse to run other code than the one that the result would be recorded under.

    Raises:
        UserError: names the host and the modules.
    """
    from bench.contract.source import changed_texts, forget_sources, sources

    if not changed_texts(task.texts):
        return
    forget_sources()
    here = sources(tuple(task.source), task.packages).digests
    other = sorted(k for k in task.source if task.source[k] != here.get(k))
    require(
        not other,
        f"Host '{socket.gethostname()}' has other code than the run was planned with, in "
        f"{', '.join(other)}: its results would stand under the wrong identity. Give every machine "
        "the same version, or start the run again if a file was edited meanwhile.",
    )


def _check_files(task: Job) -> None:
    """Refuse to read other files than those that the result would be recorded under.

    Raises:
        UserError: names the host, the option and the files.
    """
    from bench.engine.contents import contents

    for reading in task.readings.values():
        require(
            contents([Path(path) for path in reading.paths]) == reading.digest,
            f"Host '{socket.gethostname()}': '{reading.paths[0]}' ({reading.option}) does not hold "
            "what it held when the run was planned: it has been changed, or this machine has "
            "another copy. Give every machine the same files and start the run again.",
        )


def _status(error: Exception) -> str:
    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "oom"
    return "failed"
