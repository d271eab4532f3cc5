"""A worker runs one node and returns a record in every case: only the system itself can raise."""

from __future__ import annotations

import json
import math
import platform
import resource
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contract import DivergedError, UserError


@dataclass(frozen=True)
class Task:
    """A node as it travels: plain data only.

    Attributes:
        node: identity.
        kind: which stage.
        payload: what the stage works from.
        parents: role to the folder of the result, or to its ``(record, tensors)`` bytes where the
            store is not shared.
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
    threads: int = 1
    gpus: float = 0.0
    data_root: str | None = None
    packages: tuple[str, ...] = ()
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Done:
    """What came back.

    Attributes:
        status: ``done``, ``failed``, ``diverged`` or ``oom``.
        output: JSON of the stage.
        files: tensors and pictures.
        failure: type, message and traceback where the status is not ``done``.
        seconds: wall time in the worker.
        env: where it ran.
    """

    status: str
    output: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    failure: Mapping[str, str] | None = None
    seconds: float = 0.0
    env: Mapping[str, Any] = field(default_factory=dict)


def execute(task: Task) -> Done:
    """Run one node."""
    started = time.perf_counter()
    for entry in task.path:
        if entry not in sys.path:
            sys.path.append(entry)
    try:
        import torch
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(task.threads)
        # BLAS and OpenMP too: they decide speed and the order of sums, hence the last digits.
        threadpool_limits(task.threads)
        device = "cuda" if task.gpus > 0 else "cpu"
        from bench.engine.stages import Site, run
        from bench.engine.store import decode, encode, read

        parents = {
            role: decode(*source) if isinstance(source, tuple) else read(Path(source))
            for role, source in task.parents.items()
        }
        root = Path(task.data_root) if task.data_root else None
        result = run(task.kind, task.payload, parents, Site(device, root, task.packages))
        output = plain(result.output)
        json.dumps(output, allow_nan=False)
        return Done(
            "done",
            output,
            encode(result),
            seconds=time.perf_counter() - started,
            env=_environment(device, task.threads),
        )
    except Exception as error:
        return Done(
            _status(error),
            failure={
                "type": type(error).__name__,
                "message": " ".join(str(error).split())[:2000] or type(error).__name__,
                "traceback": "" if isinstance(error, UserError) else traceback.format_exc(),
            },
            seconds=time.perf_counter() - started,
            env=_environment("cpu", task.threads),
        )


def _status(error: Exception) -> str:
    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "oom"
    return "failed"


def plain(value: Any) -> Any:
    """``value`` as JSON: tuples to lists, NumPy scalars to numbers, non-finite numbers to None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _environment(device: str, threads: int) -> dict[str, Any]:
    import numpy
    import torch

    return {
        "device": device if device == "cpu" else torch.cuda.get_device_name(),
        "threads": threads,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
