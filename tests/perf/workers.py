"""What resident workers cost: small jobs in bundles against bare Ray tasks, in one run.

``python -m tests.perf.workers [jobs] [bundle]`` prints, for every back end, the wall time of a job,
the compute of its stage and the ratio to a bare Ray task that does nothing; medians of three.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.engine.backends.local import InProcess, Isolated
from bench.engine.backends.ray import Ray
from bench.engine.messages import Bundle
from bench.engine.settings import LocalBackend, RayBackend
from tests.engine.jobs import Folder, bundle, table

SLOTS = 2
ROUNDS = 3


def bare(jobs: int) -> tuple[float, float]:
    """Seconds of as many Ray tasks that do nothing, on the cluster that is open.

    Returns:
        Those of the first round, which starts workers, and the median of the next ones.
    """
    import ray

    def nothing() -> int:
        return 1

    task = ray.remote(num_cpus=1, max_retries=0)(nothing)
    seconds = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        ray.get([task.remote() for _ in range(jobs)])
        seconds.append(time.perf_counter() - started)
    return seconds[0], statistics.median(seconds[1:])


def bundled(backend: Any, bundles: list[Bundle]) -> tuple[float, float]:
    """Wall seconds of bundles, and those that their stages took; the first round warms up."""
    walls, computes = [], []
    for _ in range(ROUNDS + 1):
        waiting, ended, compute = list(bundles), 0, 0.0
        started = time.perf_counter()
        while ended < len(bundles):
            backend.watch()
            backend.want(Counter(b.resources for b in waiting))
            while waiting and backend.room(waiting[-1].resources):
                backend.submit(waiting.pop())
            for returned in backend.poll(0.5):
                ended += 1
                assert returned.lost is None
                assert {done.status for done in returned.results.values()} == {"done"}
                compute += sum(done.seconds for done in returned.results.values())
        walls.append(time.perf_counter() - started)
        computes.append(compute)
    return statistics.median(walls[1:]), statistics.median(computes[1:])


def report(jobs: int = 2000, size: int = 100) -> list[str]:
    """Lines for people."""
    bundles = [
        bundle(*(table(f"{i}", rows=9) for i in range(start, start + size)), id=start)
        for start in range(0, jobs, size)
    ]
    lines = []
    with tempfile.TemporaryDirectory() as place:
        folder = Folder(Path(place) / "blobs")
        isolated = LocalBackend(name="local", isolate=True, num_cpus=SLOTS)
        opened = {
            f"ray, {SLOTS} workers": (
                SLOTS,
                lambda: Ray(RayBackend(name="ray", num_cpus=SLOTS), folder, "", Path(place)),
            ),
            f"local, {SLOTS} isolated": (SLOTS, lambda: Isolated(isolated, folder)),
            "local, in process": (1, lambda: InProcess(folder)),
        }
        task = 0.0
        for name, (slots, make) in opened.items():
            backend: Any = make()
            wall, compute = bundled(backend, bundles)
            if isinstance(backend, Ray):
                for worker in list(backend._workers):
                    backend._let_go(worker)  # they hold the CPUs
                _, task = bare(jobs)
            backend.close()
            lines.append(
                f"  {name:18} {1000 * wall / jobs:5.2f} ms a job, {wall / task:.2f} times a bare "
                f"Ray task ({1000 * task / jobs:.2f} ms); its stages alone take "
                f"{1000 * compute / slots / jobs:.2f} ms, wall over stages "
                f"{wall * slots / compute:.2f}"
            )
    return [f"{jobs} small jobs in bundles of {size}", *lines]


if __name__ == "__main__":
    print("\n".join(report(*map(int, sys.argv[1:]))))
