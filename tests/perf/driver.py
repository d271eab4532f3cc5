"""The driver alone: results are ready at once, so that all time and every fsync is its own.

``python -m tests.perf.driver [TRIALS ...]`` prints milliseconds of CPU, waits for the disk and
bytes of memory a trial; with several numbers of trials, the last against the first.
"""

from __future__ import annotations

import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench.engine.store.database import Database
from tests.engine.ready_made import Canned, drive, grid_of

_DATA, _ATTACKS = 5, 10


@contextmanager
def counted() -> Iterator[list[bool]]:
    """Transactions of the store that wait for the disk, each in one place of the list."""
    waits: list[bool] = []
    real = Database.transaction

    def transaction(self: Database, durable: bool = True) -> AbstractContextManager[None]:
        if durable and not self._depth:
            waits.append(True)
        return real(self, durable)

    Database.transaction = transaction  # type: ignore[method-assign,assignment]
    try:
        yield waits
    finally:
        Database.transaction = real  # type: ignore[method-assign]


def measure(trials: int) -> dict[str, float]:
    """Figures a trial, of a run of ``trials`` trials."""
    plan = grid_of(_DATA, trials // (_DATA * _ATTACKS), _ATTACKS)
    number = len(plan.trials)
    with tempfile.TemporaryDirectory() as folder:
        backend = Canned(slots_=16)
        cpu, wall = time.process_time(), time.perf_counter()
        with counted() as waits:
            outcome = drive(plan, Path(folder), backend)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        assert outcome.count("done") == number
        again = time.process_time()
        drive(plan, Path(folder), Canned())
        again = time.process_time() - again
        size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
    return {
        "trials": number,
        "cpu_ms": 1000 * cpu / number,
        "wall_ms": 1000 * wall / number,
        "fsyncs": len(waits) / number,
        "bundles": len(backend.sent) / number,
        "resume_ms": 1000 * again / number,
        "store_kb": size / 1000 / number,
    }


def memory(trials: int) -> float:
    """Bytes that the driver holds for a trial at most, its plan apart."""
    plan = grid_of(_DATA, trials // (_DATA * _ATTACKS), _ATTACKS)
    with tempfile.TemporaryDirectory() as folder:
        tracemalloc.start()
        drive(plan, Path(folder), Canned(slots_=16))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return most / len(plan.trials)


def report(sizes: Sequence[int] = (1_000, 10_000)) -> list[str]:
    """The table, and the last size against the first."""
    rows = [measure(trials) for trials in sizes]
    ratio = rows[-1]["cpu_ms"] / rows[0]["cpu_ms"]
    return [
        "the driver alone, with results that are ready at once; figures a trial",
        "  ".join(f"{name:>10}" for name in rows[0]),
        *("  ".join(f"{value:10.3f}" for value in row.values()) for row in rows),
        f"CPU a trial at {sizes[-1]} trials / at {sizes[0]} = {ratio:.2f}",
        f"most memory beside the plan: {memory(sizes[0]):.0f} bytes a trial at {sizes[0]} trials",
    ]


if __name__ == "__main__":
    print("\n".join(report([int(word) for word in sys.argv[1:]] or (1_000, 10_000))))
