"""``invbench reproduce``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.words import overrides

if TYPE_CHECKING:
    from bench.contract.record import TrialRecord
    from bench.engine.settings import Settings


@click.command("reproduce")
@click.argument("name", metavar="TRIAL")
@overrides
@click.option(
    "--from",
    "source",
    metavar="PACK",
    help="Pack, suite or execution the trial is in; without it the store is searched.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    help="Empty folder for the store of the new run; without it a temporary one is used.",
)
def command(
    name: str,
    words: tuple[str, ...],
    config_dir: Path | None,
    source: str | None,
    keep: Path | None,
) -> None:
    """Run one recorded trial again, from nothing, and compare it with its record.

    The trial is named by the beginning of its identity or by its cell, dataset/model/defense/
    attack/seed. Its suite is composed again as its run was, here: data_root= says where real data
    is, store= where the record is; other words are added to the suite's own.

    Exit code: 0 reproduced (bit for bit; in another environment, from another version or on a GPU
    leakage, member gap and utility within 0.01), 1 not reproduced, 2 a mistake.
    """
    from bench.contract import UserError, require
    from bench.engine.config import compose_grid
    from bench.engine.store import Store
    from bench.exchange import rerun

    settings = compose_grid(words, config_dir).settings
    old, manifest = _find(name, source, settings)
    data_root = settings.data_root or rerun.data_of(manifest["overrides"])
    require(
        keep is None or not keep.exists() or not any(keep.iterdir()),
        f"--keep: '{keep}' is not empty, and what is recorded there would not be run again; name "
        "an empty folder.",
    )
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        more = [w for w in words if w.partition("=")[0] not in ("store", "data_root")]
        grid, plan = rerun.plan_again(manifest, folder, data_root, more, config_dir)
        trial = rerun.match(plan, old)
        if trial is None:
            why = next((r for (_, r) in plan.skipped if "missing" in r or "data_root" in r), "")
            raise UserError(
                f"{old.cell.key()} is not in the grid of '{manifest['suite']}' here"
                f"{f': {why}' if why else ''}; its suite, its data (data_root=) or its options "
                "(--config-dir) differ."
            )
        click.echo(f"{old.cell.key()}: trial {old.trial_id[:12]}, recorded {old.created_utc}.")
        if trial.id != old.trial_id:
            click.echo(f"Its identity has changed since: now {trial.id[:12]}.")
            store = Store(settings.store) if settings.store.is_dir() else None
            for line in rerun.changes(store, plan, old.nodes, trial.nodes):
                click.echo(f"  {line}")
        new = rerun.rerun(grid, plan, [trial])[trial.id]
    like = rerun.compare(old, new)
    for label, before, after in _figures(old, new):
        click.echo(f"  {label:22} {before:>12}  {after:>12}")
    for fact, same in like.facts.items():
        click.echo(f"  {fact:22} {'the same bit for bit' if same else 'not the same bits'}")
    for line in like.environment:
        click.echo(f"  environment            {line}")
    if new.error is not None and like.outcome != "identical":
        click.echo(f"  error                  {new.error.type}: {new.error.message}")
    click.echo("By hand:")
    for line in rerun.by_hand(old, manifest, data_root):
        click.echo(f"  {line}")
    good = like.outcome != "different"
    click.echo(f"{'Reproduced' if good else 'NOT reproduced'}: {like.said}.")
    sys.exit(0 if good else 1)


def _find(
    name: str, source: str | None, settings: Settings
) -> tuple[TrialRecord, Mapping[str, Any]]:
    from bench.cli import find
    from bench.contract import UserError
    from bench.engine.store import Store
    from bench.exchange import sources

    if source is None:
        if not settings.store.is_dir():
            raise UserError(
                f"There is no store '{settings.store}' to look for trial '{name}' in; name one "
                "with store=, or a pack with --from."
            )
        record, manifest = find.trial(Store(settings.store), name)
        assert manifest is not None
        return record, manifest
    pack = sources.load(source, settings)
    found = [
        r
        for r in pack.records
        if r.cell.key() == name or ("/" not in name and r.trial_id.startswith(name))
    ]
    found = [r for r in found if not r.control] or found
    if not found:
        raise UserError(
            f"There is no trial '{name}' in '{source}'; name one by the beginning of its identity "
            "or by its cell, dataset/model/defense/attack/seed."
        )
    if len(found) > 1:
        raise UserError(f"'{name}' names {len(found)} trials of '{source}'; give more of it.")
    return found[0], manifest_of(pack.manifest, found[0])


def manifest_of(manifest: Mapping[str, Any], record: TrialRecord) -> Mapping[str, Any]:
    """The manifest that planned a record: of a merged pack, the part it came from."""
    for part in manifest.get("merged", ()):
        if record.trial_id in part["trials"]:
            return dict(part)
    return manifest


def _figures(old: TrialRecord, new: TrialRecord) -> list[tuple[str, str, str]]:
    rows = [("", "recorded", "now")]
    for label, part, name in (
        ("leakage L", "score", "L"), ("member gap M", "score", "M"), ("score", "score", "value"),
        ("utility", "utility", "value"),
    ):  # fmt: skip
        pair = [getattr(getattr(r, part), name, None) for r in (old, new)]
        if any(v is not None for v in pair):
            rows.append((label, *("-" if v is None else f"{v:.6f}" for v in pair)))  # type: ignore[arg-type]
    return rows
