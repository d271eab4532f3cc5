"""Benchmarks of the harness: ratios within one run, on the machine at hand.

``python -m tests.perf`` prints, for a grid of trials that do next to nothing, the wall time of each
back end against the compute of its nodes; what planning and recording cost, and the driver alone;
then MIFace against a bare loop and a peer, what attacks that only ask add to the answers,
attribute attacks on tens of thousands of victims, their scores, and boards of 100,000 trials.
"""

from __future__ import annotations

import sys
import tempfile
import time

from bench.engine.execution import execute, prepare
from tests.perf import attributes, boards, driver, miface, plan, queries, scores
from tests.perf.plan import CONF, words

BACKENDS = {
    "local": ("backend=local",),
    "local, isolated": ("backend=local", "backend.isolate=true", "backend.num_cpus=2"),
    "ray": ("backend=ray", "backend.num_cpus=2"),
}


def harness(trials: int) -> None:
    """Wall time of a run against the compute of its nodes."""
    print(f"{trials} trials that do next to nothing")
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
        print(
            f"  {name:16} {wall:6.1f} s ({planned:.1f} s planning), "
            f"{1000 * done.wall_s / len(todo.trials):5.1f} ms a trial, "
            f"wall / (compute / {slots} slots) = {done.wall_s / compute:.2f}; "
            f"the same again {cached:.1f} s"
        )


if __name__ == "__main__":
    quick = "--quick" in sys.argv
    harness(50 if quick else 500)
    print(
        "\n".join(
            [*plan.report(quick), *driver.report((1_000, 2_000) if quick else (1_000, 10_000))]
        )
    )
    lines = [*miface.report(1 if quick else 9), *queries.report(), *attributes.report()]
    print("\n".join([*lines, *scores.report(), *boards.report()]))
