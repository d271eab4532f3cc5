"""Break everything, at random times, and see whether the store is what it should be.

``python -m tests.chaos --minutes 60 --seed 1`` plays rounds until the time is up. In each, a suite
of slow attacks runs on a Ray cluster of machines of their own (network, process and mount
namespaces; Linux, as root or where users may make namespaces) while faults hit: first one round of
each kind, in an order drawn from the seed, then rounds in which several kinds hit. The same command
is given again until it says that everything is done; then the store is held against that of an
undisturbed run, record for record.
Exit code 0: nothing was lost, doubled, wrong or hung; 1: something was; 2: it cannot be played.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos import services
from tests.chaos.components import MARKS
from tests.chaos.faults import FAULTS, MIXED, Fault
from tests.chaos.lab import Lab, becoming_root, call, lacking
from tests.chaos.round import SMALL_DISK, Round, suite, undisturbed
from tests.chaos.table import Table
from tests.services import missing

SEVERAL = "several at once"
"""What a round is called in which faults of several kinds hit."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Play; the exit code."""
    given = _parser().parse_args(arguments)
    if reason := lacking():
        print(f"Chaos cannot be played here: {reason}.")
        return 2
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    draw = random.Random(given.seed)
    folder = Path(given.work or tempfile.mkdtemp(prefix="ivchaos"))
    folder.mkdir(parents=True, exist_ok=True)
    for log in folder.glob("*.log"):
        log.unlink()
    skipped = _skipped()
    asked = [name.strip() for name in given.faults.split(";")] if given.faults else list(FAULTS)
    if unknown := [name for name in asked if name not in (*FAULTS, SEVERAL)]:
        print(f"There is no fault '{unknown[0]}'. Faults: {'; '.join((*FAULTS, SEVERAL))}.")
        return 2
    names = [name for name in asked if name == SEVERAL or FAULTS[name].special not in skipped]
    draw.shuffle(names)
    words = suite(given.attacks, given.sleep)
    table = Table(given.seed, given.machines)
    for special, reason in skipped.items():
        lacking_it = [name for name, fault in FAULTS.items() if fault.special == special]
        table.skip([name for name in asked if name in lacking_it], reason)
    started = None
    disk = folder / SMALL_DISK
    disk.mkdir(exist_ok=True)
    call("mount", "-t", "tmpfs", "-o", "size=24m", "chaos", str(disk))
    lab = Lab(folder, given.machines, {MARKS: str(folder / "marks")})
    try:
        (folder / "marks").write_text("")
        expected = undisturbed(folder, words)
        lab.up()
        ends = time.monotonic() + 60 * given.minutes
        while time.monotonic() < ends:
            # Once each alone, so that the table says what it did; then several at once.
            if not names and given.faults:
                break
            name = names.pop() if names else SEVERAL
            faults = _mixed(draw) if name == SEVERAL else [FAULTS[name]]
            if faults[0].special == "mlflow" and started is None:
                started = services.Services(lab.outside)
            one = Round(lab, folder, words, expected, started, given.limit)
            began = time.monotonic()
            one.play(faults, draw)
            verdict = one.judge(faults)
            table.add(name, one.hits, verdict, time.monotonic() - began, one.driver.starts)
            print(table.last(), flush=True)
            if one.driver.slowest_stop_s:
                print(f"    the slowest stop took {one.driver.slowest_stop_s:.1f} s", flush=True)
            if verdict.sentences() and given.keep:
                kept = folder / "kept" / f"round{table.rounds}"
                shutil.copytree(one.store, kept / "store", dirs_exist_ok=True)
                for log in folder.glob("*.log"):
                    shutil.copy(log, kept)
            for log in folder.glob("driver*.log"):
                log.unlink()
    finally:
        if started is not None:
            started.close()
        lab.down()
        _clean(folder, given.work is not None)
    print(f"\n{table.markdown()}")
    if given.json:
        Path(given.json).write_text(json.dumps(table.plain(), indent=1) + "\n", encoding="utf-8")
    if given.markdown:
        Path(given.markdown).write_text(table.markdown(), encoding="utf-8")
    return 0 if table.clean() else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="no round begins after that")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--machines", type=int, choices=(2, 3), default=2)
    parser.add_argument("--attacks", type=int, default=6, help="slow attacks on each target")
    parser.add_argument("--sleep", type=float, default=1.0, help="seconds each of them sleeps")
    parser.add_argument("--limit", type=float, default=150, help="seconds after which it hangs")
    parser.add_argument(
        "--faults",
        default="",
        help="names, with ';' between, also 'several at once'; by default all",
    )
    parser.add_argument("--json", help="file for the table")
    parser.add_argument("--markdown", help="file for the table")
    parser.add_argument("--work", help="folder for everything; kept")
    parser.add_argument("--keep", action="store_true", help="keep stores of rounds that went wrong")
    return parser


def _skipped() -> dict[str, str]:
    """What a round may need and is not there: the reason."""
    reason = missing()
    return {"mlflow": reason} if reason else {}


def _mixed(draw: random.Random) -> list[Fault]:
    return [FAULTS[name] for name in draw.sample(MIXED, 3)]


def _clean(folder: Path, keep: bool) -> None:
    subprocess.run(["umount", "-l", str(folder / SMALL_DISK)], capture_output=True, check=False)
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if before := becoming_root():
        os.execvp(before[0], [*before, sys.executable, "-m", "tests.chaos", *sys.argv[1:]])
    sys.exit(main())
