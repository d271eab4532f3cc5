"""What planning and recording cost.

``report()`` gives, for grids of about 100,000 trials, the CPU seconds of planning against hashing
as many small documents and the peak memory of the process that composes and plans; then what it
costs to join a trial and to write the two records that go with it, against encoding them with
:mod:`json` alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.contract.identity import canonical, node_id
from bench.engine.config import compose_grid
from bench.engine.plan import make_plan

CONF = Path(__file__).parents[1] / "conf"
ROOT = Path(__file__).parents[2]
_CHILD = (
    "import json, sys; from tests.perf import plan; print(json.dumps(plan.measured(sys.argv[1:])))"
)


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


def measured(overrides: Sequence[str]) -> dict[str, float]:
    """CPU seconds and peak memory of this process, which has done nothing else."""
    imported = time.process_time()
    grid = compose_grid(overrides, CONF)
    composed = time.process_time()
    plan = make_plan(grid)
    planned = time.process_time()
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
    started = time.process_time()
    for i in range(len(plan.trials)):
        node_id({"i": i})
    return {
        "trials": len(plan.trials),
        "imports_s": imported,
        "compose_s": composed - imported,
        "plan_s": planned - composed,
        "hash_s": time.process_time() - started,
        "peak_mb": peak,
    }


def planning(quick: bool) -> Iterator[str]:
    """Grids by what is many in them, each planned in a process of its own."""
    attacks, seeds, repeats = (100, 10, 10) if quick else (1000, 100, 400)
    shapes = {
        f"{attacks} attacks x {seeds} seeds": words("unused", attacks, f"seeds={seeds}"),
        f"suite=smoke seeds={repeats}": ["suite=smoke", f"seeds={repeats}"],
    }
    for name, overrides in shapes.items():
        ran = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _CHILD, *overrides],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        m = json.loads(ran.stdout)
        yield (
            f"{name}: {m['trials']} trials planned in {m['plan_s']:.1f} CPU-s (imports of options "
            f"included), {m['plan_s'] / m['hash_s']:.1f} times hashing as many small documents; "
            f"peak {m['peak_mb']:.0f} MB; before it {m['imports_s']:.1f} s of imports and "
            f"{m['compose_s']:.1f} s of composing"
        )


def recording() -> Iterator[str]:
    """Joining trials of a toy grid, and writing their records as text."""
    from bench.engine.records import Joiner, node_text
    from tests.engine.test_texts import outcomes

    plan = make_plan(compose_grid(words("unused", 500), CONF))
    nodes, joiner = outcomes(plan), Joiner()
    attacks = [plan.nodes[trial.nodes["attack"]] for trial in plan.trials]
    facts = {"status": "done", "attempt": 1, "seconds": 0.1}
    records = [json.loads(joiner.join(trial, nodes)) for trial in plan.trials]
    whole = [json.loads(node_text(node, {**facts, **nodes[node.id]})) for node in attacks]
    trial_us = _each(lambda trial: joiner.join(trial, nodes), plan.trials)
    node_us = _each(lambda node: node_text(node, {**facts, **nodes[node.id]}), attacks)
    alone = _each(canonical, records) + _each(canonical, whole)
    yield (
        f"a trial joined and written in {trial_us:.0f} us, its attack's record in {node_us:.0f} "
        f"us: {(trial_us + node_us) / alone:.1f} times encoding the two as JSON"
    )


def _each(work: Callable[[Any], object], items: Sequence[Any]) -> float:
    """Microseconds of CPU an item, the best of five rounds."""
    rounds = []
    for _ in range(5):
        started = time.process_time()
        for item in items:
            work(item)
        rounds.append(time.process_time() - started)
    return 1e6 * min(rounds) / len(items)


def report(quick: bool) -> list[str]:
    """Lines for ``python -m tests.perf``."""
    return [*planning(quick), *recording()]
