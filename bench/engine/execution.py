"""One run from beginning to end: what it set out to do, what it did, and where that is written."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.contract.record import TrialRecord
from bench.contract.secrets import clean
from bench.engine.backends import open_backend
from bench.engine.config import Grid, compose_grid
from bench.engine.driver import Driver, Listener
from bench.engine.graph import KINDS, Node, Plan
from bench.engine.logs import log_file
from bench.engine.plan import make_plan
from bench.engine.progress import Display
from bench.engine.provenance import git_state
from bench.engine.store import Store
from bench.engine.tracking import BackgroundSink
from bench.engine.work import RunOutcome, remaining

_LOG = logging.getLogger(__name__)
_HEARTBEAT_S = 5.0
_HISTORY = 2000


@dataclass
class Execution:
    """A run that has ended.

    Attributes:
        grid: what was asked.
        plan: what that meant.
        outcome: what was done.
        manifest: the account of it that the store keeps.
        sink: tracking still to be closed, if it is on.
        wall_s: seconds from the first node to the last.
        log: its log file.
    """

    grid: Grid
    plan: Plan
    outcome: RunOutcome
    manifest: dict[str, Any]
    sink: BackgroundSink | None
    wall_s: float
    log: Path


def prepare(
    overrides: Sequence[str],
    config_dir: Path | None,
    admit: Callable[[Grid], None] = lambda grid: None,
) -> tuple[Grid, Plan]:
    """Compose and plan.

    Args:
        overrides: of the suite.
        config_dir: a user's own options.
        admit: looks at the grid before its components are imported, and may refuse it.

    Raises:
        UserError: as :func:`compose_grid` and :func:`make_plan`, or by ``admit``.
    """
    for folder in importable(config_dir):
        if folder not in sys.path:
            sys.path.append(folder)
    grid = compose_grid(overrides, config_dir)
    admit(grid)
    return grid, make_plan(grid)


def importable(config_dir: Path | None) -> tuple[str, ...]:
    """Folders in which a user's own packages are looked for: here, and beside his options."""
    return (str(Path.cwd()), *([] if config_dir is None else [str(config_dir.resolve())]))


def history(store: Store) -> dict[str, float]:
    """Mean seconds of a node from earlier records: by kind, by component, and by label."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for kind in KINDS:
        for label, took in store.seconds(kind, _HISTORY):
            for name in (kind, *_likenesses(kind, label)):
                seconds[name].append(took)
    return {name: sum(values) / len(values) for name, values in seconds.items()}


def _likenesses(kind: str, label: str) -> list[str]:
    """What nodes of one duration share, the closest first: all but the seed; the component."""
    head = label.rpartition("/")[0]
    return [f"{kind} {head}", f"{kind} {head.rpartition('/')[2]}"]


def expected(nodes: Sequence[Node], known: Mapping[str, float]) -> tuple[float, int]:
    """Seconds that nodes should take by earlier records, and of how many nothing is known.

    Only nodes of the same component or of the same cell but for the seed are like each other: what
    another attack took says nothing of this one.
    """
    total, unknown = 0.0, 0
    for node in nodes:
        names = _likenesses(node.kind, node.label)
        seconds = next((known[name] for name in names if name in known), None)
        unknown += seconds is None
        total += seconds or 0.0
    return total, unknown


class _Heartbeat:
    """Keeps the manifest in the store up to date; a driver's listener."""

    def __init__(self, store: Store, manifest: dict[str, Any], display: Display) -> None:
        self._store, self._manifest, self._display = store, manifest, display
        self._ended: Counter[str] = Counter()
        self._nodes = 0
        self._beat = 0.0
        self._asked = frozenset(manifest) - {"state"}
        store.put_execution(manifest["name"], manifest)
        self.save()

    def node(self, node: Node, status: str, seconds: float) -> None:
        self._nodes += 1

    def trial(self, record: TrialRecord, fresh: bool) -> None:
        self._ended[record.status] += 1

    def tick(self, running: int) -> None:
        if time.monotonic() - self._beat > _HEARTBEAT_S:
            self.save()

    def save(self) -> None:
        self._beat = time.monotonic()
        left = self._display.left.estimate(self._display.slots)
        self._manifest |= {
            "ended": dict(self._ended),
            "nodes_run": self._nodes,
            "left_s": left,
            "updated_utc": _now(),
        }
        changed = {k: v for k, v in self._manifest.items() if k not in self._asked}
        self._store.beat(self._manifest["name"], changed)


def execute(grid: Grid, plan: Plan, config_dir: Path | None = None) -> Execution:
    """Run what remains of a plan.

    Raises:
        UserError: no back end, no store, or a request that can never be met.
    """
    settings = grid.settings
    store = Store(settings.store)
    work = remaining(plan, store, settings.rerun)
    manifest = _manifest(grid, plan, len(work.todo), config_dir)
    log = settings.store / "logs" / f"{manifest['name']}.log"
    # Nothing to compute needs no cluster: the second run of a command takes seconds.
    backend = open_backend(settings) if work.todo else _nothing()
    started = time.monotonic()
    sink: BackgroundSink | None = None
    known = history(store) if work.todo else {}
    display = Display(plan, work.todo, len(plan.trials), settings.progress, known)
    try:
        beat = _Heartbeat(store, manifest, display)
        listeners: list[Listener] = [display, beat]
        if settings.tracking.name == "mlflow":
            sink = BackgroundSink(settings.tracking.uri, settings.label, manifest, store)
            listeners.append(sink)
        driver = Driver(
            plan, store, backend, settings, listeners, manifest["git"], path=importable(config_dir)
        )
        with _stoppable(), log_file(log):
            _LOG.info("%s", manifest["command"])
            outcome = driver.run(work)
    finally:
        display.close()
        backend.close()
    wall = time.monotonic() - started
    manifest |= {
        "state": "interrupted" if outcome.interrupted else "ended",
        "wall_s": round(wall, 3),
        "compute_s": round(outcome.compute_s, 3),
        "computed": dict(outcome.computed),
        "cached": outcome.cached,
    }
    beat.save()
    return Execution(grid, plan, outcome, manifest, sink, wall, log)


def _nothing() -> Any:
    from bench.engine.backends.local import InProcess

    return InProcess()


@contextmanager
def _stoppable() -> Iterator[None]:
    """A polite kill stops a run as Ctrl-C does.

    Only the main thread may say so: a run that a notebook or a server starts in another one is
    stopped by who started it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _manifest(grid: Grid, plan: Plan, todo: int, config_dir: Path | None) -> dict[str, Any]:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]
    label, words = grid.settings.label, list(grid.overrides)
    if config_dir is not None:
        words = ["--config-dir", str(config_dir.resolve()), *words]
    manifest: dict[str, Any] = {
        "name": f"{stamp}-{label.replace('/', '_')}",
        "suite": label,
        "overrides": list(grid.overrides),
        "config_dir": None if config_dir is None else str(config_dir.resolve()),
        "command": shlex.join(["invbench", "run", *words]),
        "state": "running",
        "pid": os.getpid(),
        "started_utc": _now(),
        "trials": {t.id: t.cell.key() for t in plan.trials},
        "nodes_todo": todo,
        "skipped": [
            {"what": what, "reason": reason, "count": count}
            for (what, reason), count in sorted(plan.skipped.items())
        ],
        "reported": [r.model_dump() for r in grid.settings.reported],
        "git": git_state(),
        "grid": {
            **{group: [row.name for row in rows] for group, rows in grid.options.items()},
            **{
                name: getattr(grid.settings, name)
                for name in (
                    "suite",
                    "seeds",
                    "base_seed",
                    "victims",
                    "face_network",
                    "controls",
                    "budgets",
                )
            },
        },
    }
    return {
        **manifest,
        **{name: clean(manifest[name]) for name in ("overrides", "command", "grid", "reported")},
    }
