"""From trial records to boards, tables and the site, and how fast a browser sorts a board.

Tables are measured against reading the same rows from a CSV file. Seconds are the process's own,
so that a busy machine counts little; beside them the memory that the process came to hold. Two
shapes of 100,000 trials: two boards of 250 defenses, and 250 boards.
"""

from __future__ import annotations

import io
import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

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
from bench.report import boards, families, frame, latex, site, tables
from tests.report import chromium

SHAPES = {
    "2 boards, 250 defenses, 20 attacks, 10 seeds": (2, 250, 20, 10),
    "250 boards, 10 defenses, 4 attacks, 10 seeds": (250, 10, 4, 10),
}
CLICKS = """(async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const took = [];
  for (const button of document.querySelectorAll("[data-col]")) {
    for (const turn of [1, 2]) {
      await frame();
      const started = performance.now();
      button.click();
      await frame();
      took.push(performance.now() - started);
    }
  }
  return took;
})()"""
"""Milliseconds of a click on every column, twice; a frame is over when the next task runs."""


def records(datasets: int, defenses: int, attacks: int, seeds: int) -> Iterator[TrialRecord]:
    """Trials of settings of 10 defenses and as many attacks, all at one access."""
    rng = np.random.default_rng(0)
    data = Data(
        sector="s",
        modality="table",
        source="",
        terms="",
        privacy_unit="person",
        publishable=False,
        class_names=["a", "b"],
        facts={},
    )
    names = ["none", *(f"d{i % 10}[strength={i // 10}]" for i in range(defenses - 1))]
    cells = (
        (d, n, a, s)
        for d in range(datasets)
        for n in names
        for a in range(attacks)
        for s in range(seeds)
    )
    for number, (place, defense, attack, seed) in enumerate(cells):
        strength = 0.3 + 0.05 * (hash_of(defense) % 10)
        leak = float(strength + 0.02 * attack + rng.normal(0, 0.1))
        yield TrialRecord.model_construct(
            protocol_version="1.0",
            benchmark_version="1",
            trial_id=f"t{number:07}",
            cell=Cell.model_construct(
                dataset=f"w{place:03}",
                model="m",
                defense=defense,
                attack=f"a{attack}[access=scores]",
                seed=seed,
            ),
            goal="attribute",
            access="scores",
            status="done",
            data=data,
            target=Target.model_construct(),
            control="",
            flags=[],
            nodes={},
            evaluator={},
            defense=DefenseInfo.model_construct(
                layers=[],
                covers=[],
                stages=["training"],
                family="",
                settings=1,
                paper="",
            ),
            attack=AttackInfo.model_construct(
                params={},
                paper="",
                adaptive_to=[f"d{i}" for i in range(10)] if attack == 0 else [],
                sha256="",
                family="",
                settings=1,
                info={},
            ),
            budget=Budget(queries=100),
            times=Times(train_s=1, attack_s=1, answer_ms=1),
            privacy=None,
            privacy_audit=None,
            audit=None,
            error=None,
            env={},
            created_utc="2026-01-01T00:00:00Z",
            score=Scored(
                metric="auc",
                value=0.5 + leak / 2,
                s_base=0.5,
                s_base_attack="a",
                s_ceil=1.0,
                L=leak,
                M=0.1 * leak,
                members=0.5,
                nonmembers=0.5,
            ),
            utility=Utility(metric="accuracy", value=0.8 + 0.1 * strength, reference=0.8),
        )


def hash_of(name: str) -> int:
    """A number that stays the same between processes."""
    return sum(map(ord, name))


def measure(shape: tuple[int, int, int, int]) -> dict[str, float]:
    """Seconds of every step, of reading the trials as CSV (``unit``), and the ``peak`` in GiB."""
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
    timed(
        "leaderboards",
        lambda: (
            tables.leaderboard_csv(found, "perf"),
            tables.leaderboard_md(found, tuned, "perf"),
            latex.leaderboard_tex(found, "perf"),
        ),
    )
    timed("unit", lambda: pd.read_csv(io.StringIO(text)))
    return seconds | {"peak": peak()}


def whole(shape: tuple[int, int, int, int], out: Path) -> dict[str, float]:
    """What the whole site takes, its tables included, and how much of it there is."""
    before = time.process_time(), time.perf_counter()
    sum(1 for _ in records(*shape))
    made = time.process_time(), time.perf_counter()
    site.write(records(*shape), {}, "perf", out, {"command": "invbench run suite=perf"})
    done = time.process_time(), time.perf_counter()
    # The records come one by one, as from a file: making them is no part of it.
    cpu, wall = (d - 2 * m + b for b, m, d in zip(before, made, done, strict=True))
    sizes = {path: path.stat().st_size for path in out.rglob("*") if path.is_file()}
    return {
        "cpu": cpu,
        "wall": wall,
        "peak": peak(),
        "files": len(sizes),
        "pages": sum(path.suffix == ".html" for path in sizes),
        "size": sum(sizes.values()) / 2**20,
    }


def peak() -> float:
    """GiB that this process came to hold; ``ru_maxrss`` would count what its parent held too."""
    told = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s*(\d+) kB", told)[1]) / 2**20  # type: ignore[index]


def sorting(page: Path, profile: Path) -> tuple[int, list[float], list[float]]:
    """Rows of a board, and milliseconds from each click on a column to the frame after it.

    First as the page opens, then with every row laid out.
    """
    browser = chromium.Browser(profile)
    try:
        browser.visit(page.as_uri())
        count = browser.eval("document.querySelectorAll('#rows tbody tr').length")
        short = browser.eval(CLICKS)
        browser.eval("document.querySelector('.more').click()")
        return count, short, browser.eval(CLICKS)
    finally:
        browser.close()


def fresh(task: Callable[..., dict[str, float]], *given: object) -> dict[str, float]:
    """Run in a process of its own, whose memory nothing else has used."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(task, *given).result()


def report() -> list[str]:
    """Lines on the tables and the site of each shape, and on sorting the longest board."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, shape) in enumerate(SHAPES.items()):
            seconds = fresh(measure, shape)
            unit, held = seconds.pop("unit"), seconds.pop("peak")
            total = sum(seconds.values())
            steps = ", ".join(f"{step} {value:.1f}" for step, value in seconds.items())
            lines.append(
                f"{np.prod(shape)} trials, {name}: {total:.1f} s of CPU ({steps}), "
                f"{total / unit:.0f} times reading them as CSV; at most {held:.1f} GiB"
            )
            took = fresh(whole, shape, Path(folder) / str(number))
            lines.append(
                f"  the whole site: {took['cpu']:.1f} s of CPU, {took['wall']:.1f} s on the "
                f"clock; at most {took['peak']:.1f} GiB; {took['pages']:.0f} pages, "
                f"{took['files']:.0f} files, {took['size']:.0f} MiB"
            )
        if chromium.PATH is None:
            return [*lines, "  no Chromium: sorting was not timed"]
        pages = Path(folder).glob("*/boards/*.html")
        longest = max(pages, key=lambda path: path.stat().st_size)
        count, short, long = sorting(longest, Path(folder) / "profile")
        lines.append(
            f"  a click sorts a board of {count} rows and shows it in {np.median(short):.0f} ms "
            f"(at most {max(short):.0f}); with every row laid out {np.median(long):.0f} ms "
            f"(at most {max(long):.0f})"
        )
    return lines


if __name__ == "__main__":
    print("\n".join(report()), flush=True)
