"""``invbench verify``."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.words import overrides

if TYPE_CHECKING:
    from bench.contract.record import TrialRecord
    from bench.engine.rerun import Likeness
    from bench.engine.settings import Settings
    from bench.report.pack import Pack

_SHOWN = 10
_LEADERBOARD = "leaderboard.csv"

GOOD = ("identical", "close", "within the interval")
"""Outcomes of a trial run again that speak for its record."""


@click.command("verify")
@click.argument("path", metavar="PACK", type=click.Path(path_type=Path))
@overrides
@click.option(
    "--sample", default=3, show_default=True,
    help="Trials to run again, spread over the boards; 0: only what needs no training.",
)  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Which trials are drawn.")
@click.option("--write", is_flag=True, help="Note the outcome in the pack, for boards to show.")
@click.option("--by", default="", help="Who verifies; needed with --write.")
def command(
    path: Path,
    words: tuple[str, ...],
    config_dir: Path | None,
    sample: int,
    seed: int,
    write: bool,
    by: str,
) -> None:
    """Check a pack, a folder or a .zip, and run a sample of its trials again.

    Without training: digests, record schema, L, M and the success without the model of every
    record from its parts, that its rows may share boards, and leaderboard.csv from the records.
    Then a sample of the trials whose data is here (data_root=) is run again in a fresh store, and
    each is held against its record and against the 95% interval of its row, widened to one seed.
    What is not drawn is not run: of figures that are wrong but fit each other, a sample of k among
    n trials finds one with probability k/n.

    Exit code: 0 verified, 1 something does not hold, 2 a mistake.
    """
    from bench.contract import UserError, require
    from bench.engine.config import compose_grid
    from bench.report import pack

    require(sample >= 0, f"--sample is {sample}; give 0 or more.")
    require(not write or bool(by), "--write notes who verified; give --by NAME.")
    settings = compose_grid(words, config_dir).settings
    require(
        pack.is_pack(path),
        f"'{path}' is no pack: a folder with {pack.INDEX}, or the .zip that 'invbench submit' "
        "writes.",
    )
    try:
        found = pack.read(path)
        wrong, checked, leakages = _checked(found, pack.files(path))
    except UserError as error:
        click.echo(f"NOT verified: {error}")
        sys.exit(1)
    click.echo(f"{path}: {checked}; digest {found.digest[:16]}")
    for line in wrong[:_SHOWN]:
        click.echo(f"  wrong: {line}.")
    if len(wrong) > _SHOWN:
        click.echo(f"  and {len(wrong) - _SHOWN} more.")
    ran: list[dict[str, Any]]
    ran, absent = ([], "") if wrong or not sample else again(
        found, leakages, sample, seed, settings, words, config_dir
    )  # fmt: skip
    for trial in ran:
        click.echo(f"  {trial['outcome']}: {trial['cell']}: {trial['said']}")
    if absent:
        click.echo(f"  not run: {absent}")
    bad = [trial for trial in ran if trial["outcome"] not in GOOD]
    failed = bool(wrong or bad)
    if failed:
        reason = wrong[0] if wrong else f"{bad[0]['cell']}: {bad[0]['said']}"
        said = f"NOT verified: {reason}"
    elif not ran:
        said = "Consistent: everything stated follows from the records; no trial was run again"
    else:
        said = (
            "Verified on a sample: everything stated follows from the records, and all of the "
            f"{len(ran)} trials run again agree with theirs"
        )
    if write:
        outcome: dict[str, Any] = {
            "by": by,
            "utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "pack": found.digest,
            "outcome": "failed" if failed else "verified" if ran else "consistent",
            "said": said,
            "sample": sample,
            "seed": seed,
            "environment": next((t["environment"] for t in ran), {}),
            "trials": ran,
            "not_run": absent,
        }
        _note(found, path, outcome)
    click.echo(f"{said}.")
    sys.exit(1 if failed else 0)


def _checked(
    found: Pack, parts: Mapping[str, bytes]
) -> tuple[list[str], str, Mapping[tuple[str, ...], tuple[float, float]]]:
    """What does not follow, what was looked at, and where one more seed of a row should fall."""
    from bench.report import boards, frame, recheck, tables

    sums = recheck.sums(found.records)
    table = frame.build(found.records, found.suite)
    made = boards.build(table)
    wrong = list(sums.wrong)
    looked = f"{len(table)} records"
    if sums.alone:
        looked += f" ({sums.alone} without the trial of their baseline)"
    if _LEADERBOARD in parts:
        built = tables.leaderboard_csv(made, found.suite)
        wrong += recheck.drift(parts[_LEADERBOARD], built)
        looked += f", {len(made.rows)} rows of {_LEADERBOARD}"
    return wrong, looked, recheck.predicted(made)


def again(
    found: Pack,
    leakages: Mapping[tuple[str, ...], tuple[float, float]],
    sample: int,
    seed: int,
    settings: Settings,
    words: tuple[str, ...],
    config_dir: Path | None,
) -> tuple[list[dict[str, Any]], str]:
    """Run a sample of trials again.

    Returns:
        Of each its identity, cell, outcome and environment; and how many could not be drawn, and
        why, in a sentence (empty: all could).
    """
    from bench.cli.reproduce import manifest_of
    from bench.contract import UserError
    from bench.engine import rerun
    from bench.report import frame, recheck

    manifests = list(found.manifest.get("merged", ())) or [found.manifest]
    more = [w for w in words if w.partition("=")[0] not in ("store", "data_root")]
    out: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        plans, absent = {}, 0
        for at, manifest in enumerate(manifests):
            try:
                plans[at] = rerun.plan_again(
                    manifest, Path(folder) / str(at), settings.data_root, more, config_dir
                )
            except UserError as error:
                if not str(error).startswith("Nothing to run"):
                    raise
                # All of its data is elsewhere: that leaves trials out, and is no mistake.
        cells = {
            at: {(t.cell.key(), t.control) for t in plan.trials} for at, (_, plan) in plans.items()
        }
        here: list[TrialRecord] = []
        for record in found.records:
            at = manifests.index(manifest_of(found.manifest, record))
            if (record.cell.key(), record.control) in cells.get(at, ()):
                here.append(record)
            elif not record.control and record.access != "none":
                absent += 1
        drawn = recheck.sample(frame.build(here, found.suite), sample, seed) if here else []
        by_id = {record.trial_id: record for record in here}
        for at, (grid, plan) in plans.items():
            old = [
                by_id[key]
                for key in drawn
                if manifests.index(manifest_of(found.manifest, by_id[key])) == at
            ]
            trials = [t for t in (rerun.match(plan, record) for record in old) if t is not None]
            new = rerun.rerun(grid, plan, trials) if trials else {}
            for record, trial in zip(old, trials, strict=True):
                like = rerun.compare(record, new[trial.id])
                ends = leakages.get(recheck.place(record))
                out.append(told(record, new[trial.id], like, ends))
    said = f"{absent} trials are not in the grid here: their data is missing (data_root=) or "\
           "their options are (--config-dir)" if absent else ""  # fmt: skip
    if sample and not here:
        said = f"nothing can be run here; {said}"
    return out, said


def told(
    old: TrialRecord, new: TrialRecord, like: Likeness, ends: tuple[float, float] | None
) -> dict[str, Any]:
    """What running a trial again says of its record.

    Args:
        old: the record.
        new: the same trial run again.
        like: how they compare.
        ends: the interval of its row for one more seed; None: it has none.
    """
    outcome, said = str(like.outcome), like.said
    excused = bool(like.environment) or old.trial_id != new.trial_id
    leak = new.score.L if new.score else None
    if outcome == "different" and excused and ends is not None and leak is not None:
        inside = ends[0] <= leak <= ends[1]
        outcome = "within the interval" if inside else outcome
        where = "within" if inside else "outside"
        said += (
            f"; L = {leak:.3f} is {where} its row's interval for one seed, {ends[0]:.3f} to "
            f"{ends[1]:.3f}"
        )
    return {
        "trial": old.trial_id,
        "cell": old.cell.key(),
        "outcome": outcome,
        "said": said,
        "L": leak,
        "changed": old.trial_id != new.trial_id,
        "environment": {k: v for k, v in new.env.items() if k != "peak_rss_mb"},
    }


def _note(found: Pack, path: Path, told: Mapping[str, Any]) -> None:
    """Write the outcome into the pack's notes and beside it."""
    from bench.report import pack

    kept = {
        name: data
        for name, data in pack.files(path).items()
        if name not in (pack.INDEX, pack.RECORDS) and not name.startswith(f"{pack.PICTURES}/")
    }
    pack.write(replace(found, notes={**found.notes, "verification": dict(told)}), path, kept)
    beside = path / "verification.json" if path.is_dir() else path.with_suffix(".verification.json")
    beside.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    click.echo(f"Noted in {path} and {beside}.")
