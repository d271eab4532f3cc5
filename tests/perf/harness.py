"""Trials that do next to nothing: a run's wall time against its compute and bare Ray tasks."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator

from bench.engine.backends.ray_cluster import connect, leave
from bench.engine.execution import execute, prepare
from bench.engine.settings import RayBackend
from tests.perf.plan import CONF, words
from tests.perf.workers import bare

BACKENDS = {
    "local": ("backend=local",),
    "local, isolated": ("backend=local", "backend.isolate=true", "backend.num_cpus=2"),
    "ray": ("backend=ray", "backend.num_cpus=2"),
}


def report(trials: int = 2000) -> Iterator[str]:
    """Wall time of a run against the compute of its nodes."""
    yield f"{trials} trials that do next to nothing"
    for name, backend in BACKENDS.items():
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            grid, todo = prepare(words(folder, trials, *backend), CONF)
            planned = time.perf_counter() - started
            done = execute(grid, todo, CONF)
            wall = time.perf_counter() - started
            again = time.perf_counter()
            execute(*prepare(words(folder, trials, *backend), CONF), CONF)
            cached = time.perf_counter() - again
        assert done.outcome.count("done") == len(todo.trials)
        slots = 1 if name == "local" else 2
        compute = done.outcome.compute_s / slots
        yield (
            f"  {name:16} {wall:6.1f} s ({planned:.1f} s planning), "
            f"{1000 * done.wall_s / len(todo.trials):5.1f} ms a trial, "
            f"wall / (compute / {slots} slots) = {done.wall_s / compute:.2f}; "
            f"the same again {cached:.1f} s"
        )
    ray = connect(RayBackend(name="ray", num_cpus=2))
    first, next_ = bare(trials)
    leave(ray, [])
    yield (
        f"  bare Ray tasks   {first:.1f} s with the start of workers, {next_:.1f} s without: a "
        f"trial on Ray takes {done.wall_s / first:.1f} or {done.wall_s / next_:.1f} times as long"
    )


if __name__ == "__main__":
    for line in report(int((sys.argv[1:] or ["2000"])[0])):
        print(line, flush=True)
