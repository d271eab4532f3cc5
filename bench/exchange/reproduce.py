"""One recorded trial, run again from nothing and compared with its record."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contract.errors import UserError, require
from bench.contract.record import TrialRecord
from bench.engine.settings import Settings
from bench.engine.store import Store
from bench.exchange import rerun, sources
from bench.exchange.code import Foreign
from bench.exchange.rerun import Likeness


@dataclass(frozen=True)
class Reproduction:
    """A trial that was run again.

    Attributes:
        old: its record.
        new: the record of the new run.
        likeness: how the two compare.
        changes: what changed of its identity since, a line each; empty: nothing.
        by_hand: commands that do the same without this program's help.
    """

    old: TrialRecord
    new: TrialRecord
    likeness: Likeness
    changes: tuple[str, ...]
    by_hand: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether the new run speaks for the record."""
        return self.likeness.outcome != "different"

    @property
    def figures(self) -> list[tuple[str, float | None, float | None]]:
        """Name, recorded value and new value of every figure that one of the two has."""
        pairs = (
            ("leakage L", "score", "L"),
            ("member gap M", "score", "M"),
            ("score", "score", "value"),
            ("utility", "utility", "value"),
        )
        rows = [
            (
                label,
                getattr(getattr(self.old, part), name, None),
                getattr(getattr(self.new, part), name, None),
            )
            for label, part, name in pairs
        ]
        return [row for row in rows if row[1:] != (None, None)]


def reproduce(
    name: str,
    settings: Settings,
    words: Sequence[str] = (),
    config_dir: Path | None = None,
    source: str | None = None,
    keep: Path | None = None,
    allow_code: Sequence[str] = (),
) -> Reproduction:
    """Run a trial again.

    What the store has is this user's own and runs as its run did; what is in a pack is a
    stranger's, and may say only what :mod:`bench.exchange.admission` lets pass.

    Args:
        name: the beginning of its identity, or its cell.
        settings: say where the store and real data are.
        words: further overrides of its suite.
        config_dir: a user's own options.
        source: pack, suite or execution that it is in; None: the store is searched.
        keep: empty folder for the store of the new run; None: a temporary one.
        allow_code: packages of others whose code a pack may run.

    Raises:
        UserError: there is no such trial, or its suite cannot be composed here.
    """
    foreign: Foreign | None = None
    if source is None:
        require(
            settings.store.is_dir(),
            f"There is no store '{settings.store}' to look for trial '{name}' in; name one with "
            "store=, or a pack with --from.",
        )
        old, manifest = sources.in_store(Store(settings.store), name)
    else:
        boards = sources.load(source, settings)
        old, manifest = sources.in_pack(boards, name)
        foreign = Foreign(source, tuple(allow_code)) if boards.digest else None
    data_root = settings.data_root
    if foreign is None:
        data_root = data_root or rerun.data_of(manifest["overrides"])
    require(
        keep is None or not keep.exists() or not any(keep.iterdir()),
        f"--keep: '{keep}' is not empty, and what is recorded there would not be run again; name "
        "an empty folder.",
    )
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        grid, plan = rerun.plan_again(
            manifest, folder, data_root, rerun.of_suite(words), config_dir, foreign
        )
        trial = rerun.match(plan, old)
        if trial is None:
            raise UserError(_not_here(old, manifest, plan.skipped))
        changes: tuple[str, ...] = ()
        if trial.id != old.trial_id:
            store = Store(settings.store) if settings.store.is_dir() else None
            changes = (
                f"its identity is now {trial.id[:12]}",
                *rerun.changes(store, plan, old.nodes, trial.nodes),
            )
        new = rerun.rerun(grid, plan, [trial])[trial.id]
    commands = tuple(by_hand(old, manifest, data_root))
    return Reproduction(old, new, rerun.compare(old, new), changes, commands)


def by_hand(
    record: TrialRecord, manifest: Mapping[str, Any], data_root: Path | None = None
) -> list[str]:
    """Commands that run one trial, and little else, without ``reproduce``."""
    cell = record.cell
    own: dict[str, str] = {}
    if record.control != "canary":  # it brings a data set and a model of its own
        own |= {"dataset": f"[{record.data.option or cell.dataset}]", "model": f"[{cell.model}]"}
    if not record.control:
        # The family is the option; all its settings run, for the suite sets them together.
        own["defense"] = f"[{record.defense.family or cell.defense}]"
        if record.access != "none":
            own["attack"] = f"[{record.attack.family or cell.attack}]"
    own |= {"controls": f"[{record.control}]", "seeds": str(cell.seed + 1)}
    words = [w for w in rerun.identity_words(manifest) if rerun.key_of(w) not in own]
    words += [f"{key}={value}" for key, value in own.items()]
    words += ["store=again", "backend=local", "tracking=none"]
    if data_root is not None:
        words.append(f"data_root={rerun.value_of(data_root)}")
    if manifest.get("config_dir"):
        words.append("--config-dir DIR_OF_YOUR_OPTIONS")
    commit = record.env.get("git", {}).get("commit") or manifest.get("git", {}).get("commit")
    run = " ".join(w if w.startswith("--") else shlex.quote(w) for w in words)
    return [
        *([f"git checkout {shlex.quote(str(commit))}"] if commit else []),
        f"invbench run {run}",
        f"invbench show {shlex.quote(cell.key())} --json store=again",
    ]


def _not_here(
    old: TrialRecord, manifest: Mapping[str, Any], skipped: Mapping[tuple[str, str], int]
) -> str:
    reasons = [reason for _, reason in skipped if "missing" in reason or "data_root" in reason]
    why = f": {reasons[0]}" if reasons else ""
    return (
        f"{old.cell.key()} is not in the grid of '{manifest['suite']}' here{why}; its suite, its "
        "data (data_root=) or its options (--config-dir) differ."
    )
