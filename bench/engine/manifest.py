"""The account of a run that the store keeps: what it set out to do, and how far it is."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.contract.secrets import clean
from bench.engine.config import Grid
from bench.engine.driving.recording import now
from bench.engine.driving.work import RunOutcome
from bench.engine.graph import Node, Plan
from bench.engine.provenance import git_state
from bench.engine.store import Store
from bench.engine.store.process import here

_BEAT_S = 5.0


def manifest_of(grid: Grid, plan: Plan, todo: int, config_dir: Path | None) -> dict[str, Any]:
    """What a run sets out to do.

    Args:
        grid: what was asked.
        plan: what that means.
        todo: nodes to run.
        config_dir: a user's own options.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]
    label, words = grid.settings.label, list(grid.overrides)
    if config_dir is not None:
        words = ["--config-dir", str(config_dir.resolve()), *words]
    settings = ("suite", "seeds", "base_seed", "victims", "face_network", "controls", "budgets")
    manifest = {
        "name": f"{stamp}-{label.replace('/', '_')}",
        "suite": label,
        "overrides": clean(list(grid.overrides)),
        "config_dir": None if config_dir is None else str(config_dir.resolve()),
        "command": clean(shlex.join(["invbench", "run", *words])),
        "state": "running",
        "driver": here(),
        "started_utc": now(),
        "trials": {t.id: t.cell.key() for t in plan.trials},
        "nodes_todo": todo,
        "skipped": [
            {"what": what, "reason": reason, "count": count}
            for (what, reason), count in sorted(plan.skipped.items())
        ],
        "reported": clean([r.model_dump() for r in grid.settings.reported]),
        "git": git_state(),
        "grid": clean(
            {group: [row.name for row in rows] for group, rows in grid.options.items()}
            | {name: getattr(grid.settings, name) for name in settings}
        ),
    }
    return manifest


class Heartbeat:
    """Keeps the account of a run up to date in the store; a driver's listener.

    Args:
        store: where it is kept.
        manifest: what the run set out to do; it is written once, and what changes beside it.
        left_s: gives the seconds that remain, if known.
    """

    def __init__(
        self, store: Store, manifest: dict[str, Any], left_s: Callable[[], float | None]
    ) -> None:
        self._store, self.manifest, self._left_s = store, manifest, left_s
        self._ended: Counter[str] = Counter()
        self._nodes = 0
        self._beaten = time.monotonic()
        manifest |= self._progress()
        store.put_execution(manifest["name"], manifest)

    def node(self, node: Node, status: str, seconds: float) -> None:
        """A node has ended."""
        self._nodes += 1

    def trial(self, key: str, status: str, fresh: bool) -> None:
        """A trial has ended."""
        self._ended[status] += 1

    def tick(self, running: int) -> None:
        """Time has passed."""
        if time.monotonic() - self._beaten > _BEAT_S:
            self._beat({})

    def close(self, outcome: RunOutcome, wall_s: float) -> None:
        """The run has ended."""
        self._beat(
            {
                "state": outcome.state,
                "reason": outcome.reason,
                "wall_s": round(wall_s, 3),
                "compute_s": round(outcome.compute_s, 3),
                "computed": dict(outcome.computed),
                "cached": outcome.cached,
                "elsewhere": outcome.elsewhere,
                "losses": dict(outcome.losses),
                "machines": outcome.machines,
                "left_open": len(outcome.left_open),
            }
        )

    def _progress(self) -> Mapping[str, Any]:
        return {
            "ended": dict(self._ended),
            "nodes_run": self._nodes,
            "left_s": self._left_s(),
            "updated_utc": now(),
        }

    def _beat(self, more: Mapping[str, Any]) -> None:
        self._beaten = time.monotonic()
        changed = {**self._progress(), **more}
        self.manifest |= changed
        self._store.beat(self.manifest["name"], clean(changed))
