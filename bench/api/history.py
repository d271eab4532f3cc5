"""What runs have done and how far they are, and whether a trial would run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from bench.api.results import require_store, settings

Words = Sequence[str]
_SILENT_S = 60.0


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        name: of the execution.
        suite: what the run is called.
        state: ``running``; ``dead``: its process is gone; ``silent``: nothing was heard of it for a
            minute; or how it ended: ``ended``, ``interrupted``, ``stalled``, ``broken``.
        planned: trials.
        done: trials that ended well.
        failed: trials that ended neither well nor because of another failure.
        skipped: trials that another failure left out.
        nodes_run: nodes that have ended.
        nodes_to_run: nodes that the run set out to compute.
        started_utc: when it began.
        updated_utc: when it was last heard of.
        silent_s: seconds since then, while it is not known to have ended.
        left_s: seconds that it expects to need; None: not known, or it runs no more.
        wall_s: seconds it took; None: it has not ended.
        reason: why it is ``stalled`` or ``broken``.
        command: what runs it again, or goes on with it.
    """

    name: str
    suite: str
    state: str
    planned: int
    done: int
    failed: int
    skipped: int
    nodes_run: int
    nodes_to_run: int
    started_utc: str
    updated_utc: str
    silent_s: float | None
    left_s: float | None
    wall_s: float | None
    reason: str
    command: str

    @property
    def unfinished(self) -> bool:
        """Whether its command would go on with it, and nobody is at it now."""
        return self.state not in ("running", "ended")


def progress(manifest: Mapping[str, Any]) -> Progress:
    """How far a run is, by its manifest from :func:`bench.api.executions`."""
    from bench.contract.secrets import redacted
    from bench.engine.store.process import gone

    ended, state, silent = manifest["ended"], manifest["state"], None
    if state == "running":
        heard = datetime.fromisoformat(manifest["updated_utc"])
        silent = (datetime.now(UTC) - heard).total_seconds()
        if gone(manifest.get("driver", {})):
            state = "dead"
        elif silent > _SILENT_S:
            state = "silent"
    return Progress(
        name=manifest["name"],
        suite=manifest["suite"],
        state=state,
        planned=len(manifest["trials"]),
        done=ended.get("done", 0),
        failed=sum(n for status, n in ended.items() if status not in ("done", "skipped")),
        skipped=ended.get("skipped", 0),
        nodes_run=manifest["nodes_run"],
        nodes_to_run=manifest["nodes_todo"],
        started_utc=manifest["started_utc"],
        updated_utc=manifest["updated_utc"],
        silent_s=silent,
        left_s=manifest["left_s"] if state == "running" else None,
        wall_s=manifest.get("wall_s"),
        reason=redacted(manifest.get("reason") or ""),
        command=redacted(manifest["command"]),
    )


@dataclass(frozen=True)
class Again:
    """Whether a recorded trial would run again.

    Attributes:
        cell: the trial.
        state: ``up to date``; ``damaged``: its record or a result it rests on is; ``changed``: its
            identity is another now; ``gone``: it is not in the grid any more.
        sentence: the answer.
        changes: what changed of its identity, a line each.
    """

    cell: str
    state: Literal["up to date", "damaged", "changed", "gone"]
    sentence: str
    changes: tuple[str, ...] = ()


def why(name: str, words: Words = (), config_dir: Path | None = None) -> Again:
    """Whether a recorded trial would run again, and which part of its identity changed.

    The trial is planned again with the overrides of its run.

    Args:
        name: the beginning of its identity, or ``dataset/model/defense/attack/seed``.
        words: further overrides; they win.
        config_dir: a folder with a user's own options; None: the one of the run.

    Raises:
        UserError: none or several have that name, or its suite cannot be composed here.
    """
    from bench.engine.execution import prepare
    from bench.engine.store import Store
    from bench.exchange import sources
    from bench.exchange.rerun import changes, difference

    chosen = settings(words, config_dir)
    require_store(chosen, name)
    store = Store(chosen.store)
    record, manifest = sources.in_store(store, name)
    again = [*manifest["overrides"], *words]
    own = manifest["config_dir"]
    _, planned = prepare(again, config_dir or (Path(own) if own else None))
    cell = record.cell.key()
    now = next((trial for trial in planned.trials if trial.cell.key() == cell), None)
    if now is None:
        grid = " ".join(again) or "default suite"
        return Again(cell, "gone", f"{cell} is not in the grid any more: {grid}.")
    if now.id == record.trial_id:
        parts = [*record.nodes.items(), ("trial", now.id)]  # what failed has no result to look at
        if all([store.intact(kind, key) for kind, key in parts if store.has(kind, key)]):
            sentence = f"{cell} is up to date: trial {now.id[:12]}, status {record.status}."
            return Again(cell, "up to date", sentence)
        sentence = f"{cell} is recorded as trial {now.id[:12]}, but it is damaged."
        return Again(cell, "damaged", sentence)
    lines = list(changes(store, planned, record.nodes, now.nodes)) or [
        f"{part}: {line}"
        for part, was in (("defense", record.defense), ("attack", record.attack))
        for line in difference(was.model_dump(include=set(now.info[part])), now.info[part])
    ]
    sentence = f"{cell} would be a new trial: {record.trial_id[:12]} -> {now.id[:12]}."
    other = "a baseline of its goal changed, or the code that makes its record"
    return Again(cell, "changed", sentence, tuple(lines or [other]))
