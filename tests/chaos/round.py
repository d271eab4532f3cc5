"""One round: a fresh store, a driver, and one kind of fault until everything is done."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.chaos.components import MARKS
from tests.chaos.drivers import Driver
from tests.chaos.faults import FAULTS, Fault, changed
from tests.chaos.judge import Snapshot, Verdict, compare, set_aside, snapshot
from tests.chaos.lab import INVBENCH, ROOT, Lab, Machine
from tests.chaos.services import Services

CONF = ROOT / "tests" / "conf"
_COMPONENT = ROOT / "tests" / "chaos" / "components.py"
SMALL_DISK = "disk"
"""Folder on a file system of its own, mounted before the machines are switched on."""
_TICK_S = 0.25
_MENDS_AFTER_S = 4.0
_FIRST_S = (0.5, 6.0)
"""Seconds after the first attack has ended in which the first fault hits."""


def suite(numbers: int, sleep_s: float) -> list[str]:
    """Words of the suite that is run."""
    listed = ",".join(map(str, range(numbers)))
    return [
        "run",
        "suite=chaos",
        "--config-dir",
        str(CONF),
        f"attack.toy_slow.sweep={{number:[{listed}]}}",
        f"+attack.toy_slow.sleep_s={sleep_s}",
        "progress=none",
    ]


class Round:
    """What a fault may touch, and how it ends.

    Args:
        lab: machines; the cluster runs.
        folder: scratch of all rounds.
        words: of the suite.
        expected: what an undisturbed run has left, and the marks that its attacks have left.
        services: MLflow and PostgreSQL, where there are any.
        limit_s: seconds without an end after which it hangs, once the last fault is undone.
    """

    def __init__(
        self,
        lab: Lab,
        folder: Path,
        words: Sequence[str],
        expected: tuple[Snapshot, Sequence[str]],
        services: Services | None,
        limit_s: float,
    ) -> None:
        self.lab, self.folder, self.words = lab, folder, words
        self.expected, self.expected_marks = expected
        self.services, self.limit_s = services, limit_s
        self.label = f"chaos-{uuid.uuid4().hex[:8]}"
        self.store = folder / "store"
        self.clock = folder / "clock"
        self.marks = folder / "marks"
        self.hits: Counter[str] = Counter()
        self.verdict = Verdict()
        self.drivers: list[Driver] = []
        self._undo: list[tuple[float, Callable[[], None]]] = []
        self._broken: float | None = None

    @property
    def driver(self) -> Driver:
        """The driver that a fault hits."""
        return self.drivers[0]

    # ------------------------------------------------------------ before
    def prepare(self, special: str) -> None:
        """A fresh store, and machines as the fault needs them."""
        if special == "small_disk":
            self.store = self.folder / SMALL_DISK
        for old in self.store.iterdir() if self.store.is_dir() else ():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        self.store.mkdir(exist_ok=True)
        self.marks.write_text("")
        self.clock.write_text("0")
        head, last = self.lab.head, self.lab.machines[-1]
        wanted: dict[Machine, tuple[int, Path | None, Mapping[Path, Path], Mapping[str, str]]] = {}
        for machine in self.lab.machines:
            wanted[machine] = (2, None, {}, {})
        if special == "empty_head":
            wanted[head] = (0, None, {}, {})
        elif special == "blind":
            wanted[last] = (2, self.store, {}, {})
        elif special == "skew":
            other = changed(_COMPONENT, self.folder / "skewed.py")
            wanted[last] = (2, None, {_COMPONENT: other}, {})
        elif special == "clock":
            wanted[last] = (2, None, {}, self._faked())
        changed_machines = []
        for machine, state in wanted.items():
            if state != (machine.cpus, machine.hidden, machine.replaced, machine.variables):
                machine.cpus, machine.hidden, machine.replaced, machine.variables = state
                changed_machines.append(machine)
        for machine in changed_machines:
            if machine is head:
                head.start(["cluster", "stop"], self.folder / "cluster.log").wait(timeout=60)
            else:
                machine.switch_off()
        self.lab.mend()

    def _faked(self) -> dict[str, str]:
        folder = ROOT / "tests" / "chaos" / "clock"
        return {"INVBENCH_CHAOS_CLOCK": str(self.clock), "PYTHONPATH": f"{folder}:{ROOT}"}

    def _driver(self, machine: Machine, number: int, fault: Fault) -> Driver:
        tracking = ["tracking=none"]
        if fault.special == "mlflow" and self.services is not None:
            tracking = ["tracking=mlflow", f"tracking.uri={self.services.uri}"]
        places = [f"store={self.store}", f"report_dir={self.folder / f'report{number}'}"]
        words = [
            *self.words,
            f"label={self.label}",
            *places,
            *tracking,
            f"backend.address={self.lab.address}",
        ]
        variables = self._faked() if fault.special == "clock" else {}
        variables["RAY_AUTH_TOKEN_PATH"] = str(self.lab.token)
        log = self.folder / f"driver{number}.log"
        return Driver(machine, words, log, variables, self.complete)

    # ------------------------------------------------------------ the round
    def play(self, faults: Sequence[Fault], draw: random.Random) -> None:
        """Run the suite while faults hit, until the driver says that everything is done."""
        special = faults[0].special
        self.prepare(special)
        self.drivers = [self._driver(self.lab.head, 0, faults[0])]
        if special == "two":
            self.drivers.append(self._driver(self.lab.machines[-1], 1, faults[0]))
        left = {fault.name: fault.hits for fault in faults}
        hit_at: float | None = None
        last = time.monotonic()
        seen = 0
        while not all(driver.ended for driver in self.drivers):
            now = time.monotonic()
            for driver in self.drivers:
                driver.look()
            self._undo_what_is_due(now)
            if self._undo or self._broken is not None or len(self._marked()) != seen:
                seen, last = len(self._marked()), now
            self._mend(now)
            if hit_at is None and seen:
                hit_at = now + draw.uniform(*_FIRST_S)
            if hit_at is not None and now >= hit_at and any(left.values()):
                fault = FAULTS[draw.choice([name for name, count in left.items() if count])]
                if self._hit(fault, draw):
                    left[fault.name] -= 1
                    hit_at = now + fault.pause_s + draw.uniform(0, 4)
                    last = now
            if now - last > self.limit_s:
                self.verdict.hung.append(f"nothing has come to an end for {self.limit_s:.0f} s")
                self._give_up()
                break
            time.sleep(_TICK_S)
        for _, undo in self._undo:
            undo()
        self._undo = []

    def _hit(self, fault: Fault, draw: random.Random) -> bool:
        if self.driver.pid is None:
            return False
        undo = fault.hit(self, draw)
        if undo is False:
            return False
        self.hits[fault.name] += 1
        if isinstance(undo, tuple):
            self._undo.append((time.monotonic() + undo[0], undo[1]))
        return True

    def _undo_what_is_due(self, now: float) -> None:
        for entry in [entry for entry in self._undo if entry[0] <= now]:
            entry[1]()
            self._undo.remove(entry)

    def _mend(self, now: float) -> None:
        """Start again what is gone, a little later, as a queue would."""
        gone = [m for m in self.lab.machines if not m.raylets()] or not self.lab.head.gcs()
        if not gone:
            self._broken = None
        elif self._broken is None:
            self._broken = now
        elif now - self._broken > _MENDS_AFTER_S:
            self.lab.mend()
            self._broken = None

    def _give_up(self) -> None:
        for driver in self.drivers:
            driver.kill()

    # ------------------------------------------------------------ after
    def _marked(self) -> list[str]:
        return self.marks.read_text().split("\n")[:-1]

    def complete(self) -> bool:
        """Whether the store holds the end of every trial."""
        actual = {place.removeprefix("failed/") for place in snapshot(self.store)}
        wanted = {place.removeprefix("failed/") for place in self.expected}
        return {p for p in wanted if p.startswith("trial/")} <= actual

    def judge(self, faults: Sequence[Fault]) -> Verdict:
        """What went wrong."""
        for driver in self.drivers:
            self.verdict.add(driver.verdict)
        names = {fault.name for fault in faults}
        expected = self.expected
        if "bits flipped in the store" in names:
            self._repair()
            excused, actual = set_aside(self.store), snapshot(self.store)
            expected = {p: r for p, r in expected.items() if p in actual or p not in excused}
        self.verdict.add(compare(expected, snapshot(self.store)))
        if names == {"two drivers"}:
            again = Counter(self._marked()) - Counter(self.expected_marks)
            self.verdict.doubled.extend(f"attack {mark} was run by both drivers" for mark in again)
        if faults[0].special == "mlflow" and self.services is not None:
            self._uploaded()
        return self.verdict

    def _repair(self) -> None:
        """What a user does about a damaged store: look, set aside, run again."""
        log, store = self.folder / "doctor.log", f"store={self.store}"
        self.lab.head.start(["doctor", "--repair", store], log).wait(timeout=120)
        again = self._driver(self.lab.head, 2, FAULTS["bits flipped in the store"])
        until = time.monotonic() + self.limit_s
        while not again.ended and time.monotonic() < until:
            again.look()
            time.sleep(_TICK_S)
        again.kill()
        if not again.ended:
            self.verdict.hung.append("the run after doctor --repair does not end")
        self.verdict.add(again.verdict)

    def _uploaded(self) -> None:
        """Every trial must stand once in MLflow after the next sync."""
        assert self.services is not None
        words = [
            "sync",
            f"label={self.label}",
            f"store={self.store}",
            f"tracking.uri={self.services.uri}",
        ]
        words += ["tracking=mlflow", "--config-dir", str(CONF)]
        self.lab.head.start(words, self.folder / "sync.log").wait(timeout=180)
        counts = self.services.trials(self.label)
        wanted = {p.rpartition("/")[2] for p in self.expected if "trial/" in p}
        self.verdict.lost.extend(f"trial {t} is not in MLflow" for t in wanted - counts.keys())
        self.verdict.doubled.extend(
            f"trial {t} stands {counts[t]} times in MLflow" for t in wanted if counts.get(t, 0) > 1
        )


def undisturbed(folder: Path, words: Sequence[str]) -> tuple[Snapshot, Sequence[str]]:
    """What the suite leaves where nothing goes wrong, on this machine without Ray."""
    marks = folder / "marks"
    store = folder / "undisturbed"
    places = [f"store={store}", f"report_dir={folder / 'report'}", "tracking=none"]
    backend = ["backend=local", "backend.isolate=true", "backend.num_cpus=4"]
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", INVBENCH, *words, *places, *backend],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", MARKS: str(marks)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode not in (0, 1):
        raise RuntimeError(f"the undisturbed run failed: {ended.stderr[-2000:]}")
    return snapshot(store), marks.read_text().split("\n")[:-1]
