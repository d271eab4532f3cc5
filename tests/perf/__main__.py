"""Benchmarks of the harness: ratios within one run, on the machine at hand.

``python -m tests.perf`` prints, for a grid of trials that do next to nothing, the wall time of each
back end against the compute of its nodes, and the time to plan a large grid against hashing it;
then MIFace against a bare loop and a peer, what attacks that only ask add to the answers,
attribute attacks on tens of thousands of victims, their scores, boards of 100,000 trials, and ten
attacks on a target against ten runs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from bench.contract.identity import node_id
from bench.engine.config import compose_grid
from bench.engine.execution import execute, prepare
from bench.engine.plan import make_plan
from tests.perf import attributes, boards, miface, queries, scores, sharing

CONF = Path(__file__).parents[1] / "conf"
BACKENDS = {
    "local": ("backend=local",),
    "local, isolated": ("backend=local", "backend.isolate=true", "backend.num_cpus=2"),
    "ray": ("backend=ray", "backend.num_cpus=2"),
}


def words(folder: str, trials: int, *more: str) -> list[str]:
    """Overrides of a toy grid of ``trials`` trials besides its baseline."""
    numbers = ",".join(map(str, range(trials)))
    return [
        "suite=toy",
        "seeds=1",
        "attack=[toy]",
        "defense=[none]",
        f"attack.toy.sweep={{number:[{numbers}]}}",
        f"store={folder}/store",
        "tracking=none",
        "progress=none",
        *more,
    ]


def harness(trials: int) -> None:
    """Wall time of a run against the compute of its nodes."""
    print(f"{trials} trials that do next to nothing")
    for name, backend in BACKENDS.items():
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            grid, plan = prepare(words(folder, trials, *backend), CONF)
            planned = time.perf_counter() - started
            done = execute(grid, plan, CONF)
            wall = time.perf_counter() - started
            again = time.perf_counter()
            execute(*prepare(words(folder, trials, *backend), CONF), CONF)
            cached = time.perf_counter() - again
        assert done.outcome.count("done") == len(plan.trials)
        slots = 1 if name == "local" else 2
        compute = done.outcome.compute_s / slots
        print(
            f"  {name:16} {wall:6.1f} s ({planned:.1f} s planning), "
            f"{1000 * done.wall_s / len(plan.trials):5.1f} ms a trial, "
            f"wall / (compute / {slots} slots) = {done.wall_s / compute:.2f}; "
            f"the same again {cached:.1f} s"
        )


def planning(attacks: int, seeds: int) -> None:
    """Time to plan against hashing as many small documents."""
    grid = compose_grid([*words("unused", attacks), f"seeds={seeds}"], CONF)
    started = time.perf_counter()
    plan = make_plan(grid)
    planned = time.perf_counter() - started
    started = time.perf_counter()
    for i in range(len(plan.trials)):
        node_id({"i": i})
    hashed = time.perf_counter() - started
    print(
        f"{len(plan.trials)} trials planned in {planned:.1f} s, "
        f"{planned / hashed:.0f} times hashing as many small documents"
    )


if __name__ == "__main__":
    quick = "--quick" in sys.argv
    harness(50 if quick else 500)
    planning(100 if quick else 1000, 10 if quick else 100)
    lines = [*miface.report(1 if quick else 9), *queries.report(), *attributes.report()]
    print("\n".join([*lines, *scores.report(), *boards.report(), *sharing.report()]))
