"""One run from beginning to end: what it set out to do, what it did, and where that is written."""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contract import UserError
from bench.engine.backends import open_backend
from bench.engine.conf import importable
from bench.engine.config import Grid, compose_grid
from bench.engine.driving.driver import Driver, Listener
from bench.engine.driving.pace import Pace, history
from bench.engine.driving.stopping import Stop
from bench.engine.driving.work import RunOutcome, remaining
from bench.engine.graph import Plan
from bench.engine.logs import log_file
from bench.engine.manifest import Heartbeat, manifest_of
from bench.engine.messages import Backend
from bench.engine.plan import make_plan
from bench.engine.progress import Display
from bench.engine.settings import LocalBackend, Settings
from bench.engine.store import Store
from bench.engine.tracking.sink import BackgroundSink

_LOG = logging.getLogger(__name__)
_NO_DEADLINES = (
    "Deadlines (timeout_s) are not enforced in the run's own process; backend.isolate=true or "
    "backend=ray enforce them."
)


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
    grid = compose_grid(overrides, config_dir)
    admit(grid)
    return grid, make_plan(grid)


def execute(grid: Grid, plan: Plan, config_dir: Path | None = None) -> Execution:
    """Run what remains of a plan.

    Raises:
        UserError: no back end, no store, or a request that can never be met.
    """
    settings = grid.settings
    store = Store(settings.store)
    work = remaining(plan, store, settings.rerun)
    manifest = manifest_of(grid, plan, len(work.todo), config_dir)
    log = settings.store / "logs" / f"{manifest['name']}.log"
    started = time.monotonic()
    kinds: Counter[str] = Counter(plan.nodes[key].kind for key in work.todo)
    pace = Pace(kinds, history(store) if work.todo else {})
    stop = Stop()
    with ExitStack() as open_now:
        backend = _opened(settings, store, anything=bool(work.todo))
        # After it has been opened: Ray has handlers of its own, which end the process at once.
        open_now.enter_context(stop.listening())
        open_now.callback(backend.close)
        display = Display(len(work.todo), len(plan.trials), pace, settings.progress)
        open_now.callback(display.close)
        claims = store.claims(f"{manifest['name']} {uuid.uuid4().hex[:8]}")
        open_now.enter_context(claims.beating())
        beat = Heartbeat(store, manifest, display.left_s)
        listeners: list[Listener] = [display, beat]
        sink: BackgroundSink | None = None
        if settings.tracking.name == "mlflow":
            sink = BackgroundSink(settings.tracking.uri, settings.label, manifest, store)
            listeners.append(sink)
        driver = Driver(
            plan,
            store,
            backend,
            settings,
            claims,
            pace,
            listeners,
            manifest["git"],
            importable(config_dir),
            stop,
        )
        with log_file(log):
            _LOG.info("%s", manifest["command"])
            if work.todo and not backend.enforces_deadlines:
                display.say(_NO_DEADLINES)
            try:
                driver.run(work)
            except Exception as error:
                driver.outcome.state, driver.outcome.reason = "broken", str(error)
                with suppress(UserError):  # it may be the store that cannot be written
                    beat.close(driver.outcome, time.monotonic() - started)
                if sink is not None:
                    sink.close(manifest, None)
                raise
            wall = time.monotonic() - started
            beat.close(driver.outcome, wall)
    store.close()
    return Execution(grid, plan, driver.outcome, manifest, sink, wall, log)


def _opened(settings: Settings, store: Store, anything: bool) -> Backend:
    if not anything:
        # Nothing to compute needs no cluster: the second run of a command takes seconds.
        settings = settings.model_copy(update={"backend": LocalBackend(name="local")})
    return open_backend(settings, store.blobs, store.uuid, store.root)
