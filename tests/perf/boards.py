"""From trial records to boards and tables: seconds against reading the same rows from a CSV file.

Seconds are the process's own, so that a busy machine counts little. Beside them the memory that
the process came to hold. Two shapes of 100,000 trials: two boards of 250 defenses, and 250 boards.
"""

from __future__ import annotations

import io
import resource
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd

from bench.contract.record import (
    AttackInfo,
    Budget,
    Cell,
    Data,
    DefenseInfo,
    Scored,
    Target,
    Times,
    TrialRecord,
    Utility,
)
from bench.report import boards, families, frame, latex, tables

SHAPES = {
    "2 boards, 250 defenses, 20 attacks, 10 seeds": (2, 250, 20, 10),
    "250 boards, 10 defenses, 4 attacks, 10 seeds": (250, 10, 4, 10),
}


def records(datasets: int, defenses: int, attacks: int, seeds: int) -> Iterator[TrialRecord]:
    """Trials of settings of 10 defenses and as many attacks, all at one access."""
    rng = np.random.default_rng(0)
    data = Data(sector="s", modality="table", source="", terms="", privacy_unit="person",
                publishable=False, class_names=["a", "b"], facts={})  # fmt: skip
    names = ["none", *(f"d{i % 10}[strength={i // 10}]" for i in range(defenses - 1))]
    cells = ((d, n, a, s) for d in range(datasets) for n in names for a in range(attacks)
             for s in range(seeds))  # fmt: skip
    for number, (place, defense, attack, seed) in enumerate(cells):
        strength = 0.3 + 0.05 * (hash_of(defense) % 10)
        leak = float(strength + 0.02 * attack + rng.normal(0, 0.1))
        yield TrialRecord.model_construct(
            protocol_version="1.0", benchmark_version="1", trial_id=f"t{number:07}",
            cell=Cell.model_construct(dataset=f"w{place:03}", model="m", defense=defense,
                                      attack=f"a{attack}[access=scores]", seed=seed),
            goal="attribute", access="scores", status="done", data=data,
            target=Target.model_construct(), control="", flags=[], nodes={}, evaluator={},
            defense=DefenseInfo.model_construct(
                layers=[], covers=[], adaptive_attacks=["a0"], stages=["training"], family="",
                settings=1, paper=""),
            attack=AttackInfo.model_construct(
                params={}, paper="", adaptive_to=[], sha256="", family="", settings=1, info={}),
            budget=Budget(queries=100), times=Times(train_s=1, attack_s=1), privacy=None,
            privacy_audit=None, audit=None, error=None, env={}, created_utc="2026-01-01T00:00:00Z",
            score=Scored(metric="auc", value=0.5 + leak / 2, s_base=0.5, s_base_attack="a",
                         s_ceil=1.0, L=leak, M=0.1 * leak, members=0.5, nonmembers=0.5),
            utility=Utility(metric="accuracy", value=0.8 + 0.1 * strength, reference=0.8),
        )  # fmt: skip


def hash_of(name: str) -> int:
    """A number that stays the same between processes."""
    return sum(map(ord, name))


def measure(shape: tuple[int, int, int, int]) -> dict[str, float]:
    """Seconds of every step, and of reading the trials as CSV, the measure of the machine."""
    seconds: dict[str, float] = {}

    def timed(name: str, call):  # type: ignore[no-untyped-def]
        started = time.process_time()
        out = call()
        seconds[name] = time.process_time() - started
        return out

    timed("making", lambda: sum(1 for _ in records(*shape)))
    table = timed("frame", lambda: frame.build(records(*shape), "perf"))
    seconds["frame"] -= seconds.pop("making")  # the records come one by one, as from a file
    found = timed("boards", lambda: boards.build(table))
    tuned = timed("tuned", lambda: families.tuned(table))
    timed("summaries", lambda: families.summaries(found, table, tuned))
    text = timed("trials.csv", lambda: tables.trials_csv(table))
    timed("trials.parquet", lambda: tables.trials_parquet(table))
    timed("leaderboards", lambda: (
        tables.leaderboard_csv(found, "perf"), tables.leaderboard_md(found, tuned, "perf"),
        latex.leaderboard_tex(found, "perf"),
    ))  # fmt: skip
    timed("unit", lambda: pd.read_csv(io.StringIO(text)))
    return seconds


def report() -> list[str]:
    """One line a shape."""
    lines = []
    for name, shape in SHAPES.items():
        seconds = measure(shape)
        unit = seconds.pop("unit")
        total = sum(seconds.values())
        steps = ", ".join(f"{step} {value:.1f}" for step, value in seconds.items())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        lines.append(
            f"{np.prod(shape)} trials, {name}: {total:.1f} s of CPU ({steps}), "
            f"{total / unit:.0f} times reading them as CSV; "
            f"the process held {peak:.1f} GiB at most"
        )
    return lines


if __name__ == "__main__":
    print("\n".join(report()), flush=True)
