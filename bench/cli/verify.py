"""``invbench verify``."""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.words import overrides

if TYPE_CHECKING:
    from bench.contract.record import TrialRecord
    from bench.engine.config import Grid
    from bench.engine.graph import Plan, Trial
    from bench.engine.settings import Settings
    from bench.exchange.pack import Pack
    from bench.exchange.recheck import Ends
    from bench.exchange.rerun import Likeness, Survey

_SHOWN = 10
LEADERBOARD, MARKDOWN = "leaderboard.csv", "leaderboard.md"

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

    Without training: digests, record schema, that every listed trial is there once, L, M and the
    success without the model of every record from its parts, that its rows may share boards, and
    leaderboard.csv and .md from the records. Then its grid is planned here, and must be what it
    holds; a sample of the trials whose data is here (data_root=) is run again in a fresh store.
    Each is held against its record, bit for bit, and where machine or source differ against the
    95% interval of its row, widened to one seed. What is not drawn is not run: of figures that are
    wrong but fit each other, a sample of k among n trials finds one with probability k/n.

    Exit code: 0 verified, 1 something does not hold, 2 a mistake.
    """
    from bench.contract import UserError, require
    from bench.engine.config import compose_grid
    from bench.exchange import pack

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
    _tell(wrong)
    done = Again() if wrong or not sample else again(
        found, leakages, sample, seed, settings, words, config_dir
    )  # fmt: skip
    _tell(done.wrong)
    for trial in done.ran:
        click.echo(f"  {trial['outcome']}: {trial['cell']}: {trial['said']}")
    if done.changed:
        click.echo(f"  changed: {done.changed}.")
    if done.absent:
        click.echo(f"  not run: {done.absent}.")
    wrong += done.wrong
    failed, said = _outcome(wrong, done)
    if write:
        outcome: dict[str, Any] = {
            "by": by,
            "utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "pack": found.digest,
            "outcome": "failed" if failed else "verified" if done.ran else "consistent",
            "said": said,
            "sample": sample,
            "seed": seed,
            "environment": next((t["environment"] for t in done.ran), {}),
            "trials": done.ran,
            "not_run": done.absent,
            "changed": done.changed,
        }
        _note(found, path, outcome)
    click.echo(f"{said}.")
    sys.exit(1 if failed else 0)


def _tell(wrong: list[str]) -> None:
    for line in wrong[:_SHOWN]:
        click.echo(f"  wrong: {line}.")
    if len(wrong) > _SHOWN:
        click.echo(f"  and {len(wrong) - _SHOWN} more.")


def _outcome(wrong: list[str], done: Again) -> tuple[bool, str]:
    """Whether the pack fails, and the verdict in a sentence without its full stop."""
    bad = [trial for trial in done.ran if trial["outcome"] not in GOOD]
    if wrong:
        return True, f"NOT verified: {wrong[0]}"
    if bad:
        said = f"NOT verified: {bad[0]['cell']}: {bad[0]['said']}"
        if bad[0]["changed"]:
            said += (
                ". Its source has changed since: check out its commit and verify there; if it "
                "holds there, the change moved the result: run the suite and publish it anew"
            )
        return True, said
    if not done.ran:
        return False, (
            "Consistent: everything stated follows from the records; no trial was run again"
        )
    kinds = Counter(trial["outcome"] for trial in done.ran)
    counted = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    return False, (
        "Verified on a sample: everything stated follows from the records, and all of the "
        f"{len(done.ran)} trials run again agree with theirs ({counted})"
    )


def _checked(
    found: Pack, parts: Mapping[str, bytes]
) -> tuple[list[str], str, Mapping[tuple[str, ...], Ends]]:
    """What does not follow, what was looked at, and where one more seed of a row should fall."""
    from bench.contract.identity import PROTOCOL_VERSION
    from bench.exchange import recheck
    from bench.report import boards, families, frame, tables

    protocols = {record.protocol_version for record in found.records}
    if protocols != {PROTOCOL_VERSION}:
        told = f"its records are of protocol version {', '.join(sorted(protocols))}, this program "\
               f"is of {PROTOCOL_VERSION}: verify it with the program of its commit"  # fmt: skip
        return [told], "not looked at", {}
    sums = recheck.sums(found.records)
    table = frame.build(found.records, found.suite)
    made = boards.build(table)
    wrong = [*recheck.listed(found.records, found.manifest["trials"]), *sums.wrong]
    looked = f"{len(table)} records"
    if sums.alone:
        looked += f" ({sums.alone} measured from a baseline that is no trial of it)"
    if LEADERBOARD in parts:
        built = tables.leaderboard_csv(made, found.suite)
        wrong += recheck.drift(parts[LEADERBOARD], built)
        looked += f", {len(made.rows)} rows of {LEADERBOARD}"
    if MARKDOWN in parts:
        built = tables.leaderboard_md(made, families.tuned(table), found.suite)
        wrong += recheck.prose(parts[MARKDOWN], built)
        looked += f", {MARKDOWN}"
    return wrong, looked, recheck.predicted(made)


@dataclass
class Again:
    """What running a sample again gave.

    Attributes:
        ran: of each trial its identity, cell, outcome and environment.
        absent: why trials could not be drawn, in a sentence; empty: all could.
        changed: that the source has changed since, in a sentence; empty: it has not.
        wrong: what does not fit the grid that the pack says it is.
    """

    ran: list[dict[str, Any]] = field(default_factory=list)
    absent: str = ""
    changed: str = ""
    wrong: list[str] = field(default_factory=list)


def again(
    found: Pack,
    leakages: Mapping[tuple[str, ...], Ends],
    sample: int,
    seed: int,
    settings: Settings,
    words: tuple[str, ...],
    config_dir: Path | None,
) -> Again:
    """Run a sample of trials again."""
    from bench.exchange import recheck, rerun
    from bench.report import frame

    out = Again()
    with tempfile.TemporaryDirectory() as folder:
        parts = _planned(found, Path(folder), settings, words, config_dir)
        here = {r.trial_id: r for part in parts for r in part.records if part.has(r)}
        changed = [r for part in parts for r in part.records if r.trial_id in part.seen.changed]
        # Settings of one's own make another grid than the one the pack speaks of.
        if not rerun.identity_words({"overrides": words}):
            out.wrong = [line for part in parts for line in _misfits(found, part)]
        out.changed = _since(changed, len(here)) if changed else ""
        out.absent = _absent(parts)
        if out.wrong or not here:
            return out
        drawn = recheck.sample(frame.build(here.values(), found.suite), sample, seed)
        for part in parts:
            if part.planned is None:
                continue
            grid, plan = part.planned
            mine = {r.trial_id for r in part.records}
            old = [here[key] for key in drawn if key in mine]
            trials = [t for t in (rerun.match(plan, record) for record in old) if t is not None]
            new = rerun.rerun(grid, plan, trials) if trials else {}
            for record, trial in zip(old, trials, strict=True):
                like = rerun.compare(record, new[trial.id])
                ends = leakages.get(recheck.place(record))
                out.ran.append(told(record, new[trial.id], like, ends))
    return out


@dataclass(frozen=True)
class _Part:
    """A pack, or of a joined one what came from one suite: its records and its grid here."""

    manifest: Mapping[str, Any]
    records: list[TrialRecord]
    planned: tuple[Grid, Plan] | None
    seen: Survey

    def has(self, record: TrialRecord) -> bool:
        """Whether the grid here has the trial."""
        return record.trial_id in self.seen.here


def _planned(
    found: Pack, folder: Path, settings: Settings, words: tuple[str, ...], config_dir: Path | None
) -> list[_Part]:
    from bench.cli.reproduce import manifest_of
    from bench.contract import UserError
    from bench.exchange import rerun
    from bench.report import coverage

    manifests = list(found.manifest.get("merged", ())) or [found.manifest]
    more = [w for w in words if w.partition("=")[0] not in ("store", "data_root")]
    records: list[list[TrialRecord]] = [[] for _ in manifests]
    for record in found.records:
        if not coverage.not_run(record):
            records[manifests.index(manifest_of(found.manifest, record))].append(record)
    parts = []
    for at, (manifest, mine) in enumerate(zip(manifests, records, strict=True)):
        try:
            grid, plan = rerun.plan_again(
                manifest, folder / str(at), settings.data_root, more, config_dir
            )
        except UserError as error:
            # All of its data is elsewhere: that leaves trials out, and is no mistake.
            if str(error).startswith("Nothing to run"):
                nothing = rerun.Survey(frozenset(), frozenset(), (), ())
                parts.append(_Part(manifest, mine, None, nothing))
                continue
            raise UserError(
                f"The grid of '{found.suite}' cannot be composed here: {error} Options it ran "
                "with may be missing (--config-dir); '--sample 0' checks what needs no grid."
            ) from error
        seen = rerun.survey(plan, mine, manifest.get("skipped", ()), _about(found))
        parts.append(_Part(manifest, mine, (grid, plan), seen))
    return parts


def _absent(parts: list[_Part]) -> str:
    absent = sum(
        not part.has(record) and not record.control and record.access != "none"
        for part in parts
        for record in part.records
    )
    said = (
        f"{absent} trials are not in the grid here: their data is missing (data_root=) or their "
        "options are (--config-dir)"
    )
    if not any(part.has(record) for part in parts for record in part.records):
        return f"nothing can be run here; {said}"
    return said if absent else ""


def _about(found: Pack) -> Callable[[Trial], bool]:
    """Which trials of its grid a pack must have: of an attack or a defense, those about it."""
    from bench.cli.submit import about

    attack, defense = found.notes.get("attack") or None, found.notes.get("defense") or None

    def has(trial: Trial) -> bool:
        attacks, defenses = (str(trial.info[kind]["family"]) for kind in ("attack", "defense"))
        return about(
            trial.cell, trial.access, trial.control, attacks, defenses, attack, defense
        )  # fmt: skip

    return has


def _misfits(found: Pack, part: _Part) -> list[str]:
    """What a pack from this very source says otherwise than its own grid."""
    from bench.engine.provenance import git_state

    if part.seen.changed:
        here = git_state()
        ours = here.get("commit") if not here.get("dirty", True) else None
        moved = [
            r.cell.key()
            for r in part.records
            if r.trial_id in part.seen.changed and ours and not part.manifest.get("config_dir")
            and r.env.get("git", {}).get("commit") == ours and "dirty" not in r.flags
        ]  # fmt: skip
        return [
            f"{cell} is another trial than the one of that name in its grid, though its commit is "
            "the one here: its seed or settings are not what it says"
            for cell in moved
        ]
    # Of a joined pack only a part of each grid is there, and joining has looked at it.
    lacking = () if "merged" in found.manifest else part.seen.lacking
    said = [f"{cell} is in its grid and has no record" for cell in lacking]
    return said + [
        f"it says that {what} was ruled out, which it is not in its grid"
        for what in part.seen.claimed
    ]


def _since(changed: list[TrialRecord], of: int) -> str:
    """That trials have another identity here, and between which commits that came."""
    from bench.engine.provenance import git_state

    commits = {str(r.env.get("git", {}).get("commit", ""))[:12] for r in changed if r.env} - {""}
    here = str(git_state().get("commit", ""))[:12] or "an installed package"
    return (
        f"{len(changed)} of {of} trials have another identity here: source or settings have "
        f"changed since they were recorded (commit {', '.join(sorted(commits)) or 'unknown'}, here "
        f"{here}); they are held against the interval of their row"
    )


def told(
    old: TrialRecord, new: TrialRecord, like: Likeness, ends: Ends | None
) -> dict[str, Any]:  # fmt: skip
    """What running a trial again says of its record.

    Args:
        old: the record.
        new: the same trial run again.
        like: how they compare.
        ends: the intervals of its row for one more seed; None: it has none.
    """
    from bench.contract.likeness import TOLERANCE, beyond
    from bench.exchange.rerun import figures

    outcome, said, now = str(like.outcome), like.said, figures(new)
    far = beyond(like.gaps)
    if outcome == "different" and not like.exact and far and ends and {*far} <= {*ends}:
        # Rows whose seeds all gave the same have no width: what any device may differ by has.
        inside = {
            name: ends[name][0] - TOLERANCE <= value <= ends[name][1] + TOLERANCE
            for name in far
            if (value := now[name]) is not None
        }
        outcome = (
            "within the interval" if len(inside) == len(far) and all(inside.values()) else outcome
        )
        said += "".join(
            f"; {name} = {now[name]:.3f} is {'within' if fits else 'outside'} its row's interval "
            f"for one seed, {ends[name][0]:.3f} to {ends[name][1]:.3f}"
            for name, fits in inside.items()
        )
    return {
        "trial": old.trial_id,
        "cell": old.cell.key(),
        "outcome": outcome,
        "said": said,
        "L": now["L"],
        "changed": old.trial_id != new.trial_id,
        "environment": {k: v for k, v in new.env.items() if k != "peak_rss_mb"},
    }


def _note(found: Pack, path: Path, told: Mapping[str, Any]) -> None:
    """Write the outcome into the pack's notes and beside it."""
    from bench.exchange import pack

    kept = {
        name: data
        for name, data in pack.files(path).items()
        if name not in (pack.INDEX, pack.RECORDS) and not name.startswith(f"{pack.PICTURES}/")
    }
    pack.write(replace(found, notes={**found.notes, "verification": dict(told)}), path, kept)
    beside = path / "verification.json" if path.is_dir() else path.with_suffix(".verification.json")
    beside.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    click.echo(f"Noted in {path} and {beside}.")
