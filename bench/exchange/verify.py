"""A pack is checked: without training what it states, and by a sample of trials run again."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.contract.errors import UserError, require
from bench.contract.likeness import TOLERANCE, beyond
from bench.contract.record import TrialRecord
from bench.engine.config import Grid
from bench.engine.graph import Plan, Trial
from bench.engine.provenance import git_state
from bench.engine.settings import Settings
from bench.exchange import consistency, pack, recheck, rerun, signatures
from bench.exchange.admission import RefusedError
from bench.exchange.code import Foreign
from bench.exchange.pack import Pack
from bench.exchange.parts import INDEX, is_pack
from bench.exchange.recheck import Ends
from bench.exchange.rerun import Likeness, Survey
from bench.exchange.submit import about
from bench.report import coverage, frame

GOOD = ("identical", "close", "within the interval")
"""Outcomes of a trial run again that speak for its record."""


@dataclass
class Again:
    """What running a sample of trials again gave.

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


@dataclass(frozen=True)
class Verification:
    """A pack that was checked.

    Attributes:
        path: where it is.
        pack: what was read; None where it could not be read.
        looked_at: what was checked without training, in words.
        wrong: a sentence for everything that does not hold.
        again: what running a sample again gave.
        failed: whether something does not hold.
        sentence: the verdict, without its full stop.
    """

    path: Path
    pack: Pack | None
    looked_at: str
    wrong: tuple[str, ...]
    again: Again
    failed: bool
    sentence: str


def verify(
    path: Path,
    settings: Settings,
    words: Sequence[str] = (),
    config_dir: Path | None = None,
    sample: int = 3,
    seed: int = 0,
    allow_code: Sequence[str] = (),
) -> Verification:
    """Check a pack, and run a sample of its trials again in a fresh store.

    Args:
        path: a folder or a ``.zip``.
        settings: say where real data is.
        words: further overrides of its suites.
        config_dir: a user's own options.
        sample: trials to run again; 0: only what needs no training.
        seed: which trials are drawn.
        allow_code: packages of others whose code it may run.

    Raises:
        UserError: it is no pack, or its grid cannot be composed here.
        RefusedError: it says what no pack may say, or needs code that is not allowed.
    """
    require(
        is_pack(path),
        f"'{path}' is no pack: a folder with {INDEX}, or the .zip that 'invbench submit' writes.",
    )
    try:
        boards_of = pack.read(path)
        stated = consistency.stated(boards_of)
    except RefusedError:
        raise
    except UserError as error:
        sentence = f"NOT verified: {str(error).rstrip('.')}"
        return Verification(path, None, "not looked at", (str(error),), Again(), True, sentence)
    again, looked_at = Again(), stated.looked_at
    if sample and not stated.wrong:
        try:
            foreign = Foreign(str(path), tuple(allow_code))
            again = _run_again(
                boards_of, stated.ends, sample, seed, settings, words, config_dir, foreign
            )
        except RefusedError:
            raise
        except UserError as error:
            raise UserError(f"What needs no training holds ({looked_at}), but {error}") from error
    wrong = (*stated.wrong, *again.wrong)
    failed, sentence = _outcome(wrong, again.ran)
    return Verification(path, boards_of, looked_at, wrong, again, failed, sentence)


def note(
    verification: Verification, by: str, sample: int, seed: int, key: Path | None = None
) -> Path:
    """Write the outcome into the pack's notes and beside it; with a key, sign it.

    Args:
        verification: of :func:`verify`.
        by: who verifies.
        sample: trials that were asked for.
        seed: which were drawn.
        key: SSH key to sign the outcome with; None: it is only noted.

    Returns:
        The file beside it.

    Raises:
        UserError: the pack could not be read, so that nothing can be noted in it, or not signed.
    """
    path, checked, again = verification.path, verification.pack, verification.again
    if checked is None:
        raise UserError(f"'{path}' cannot be read, so that nothing can be noted in it.")
    outcome: dict[str, Any] = {
        "by": by,
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "pack": checked.digest,
        "outcome": "failed" if verification.failed else "verified" if again.ran else "consistent",
        "said": verification.sentence,
        "sample": sample,
        "seed": seed,
        "environment": next((trial["environment"] for trial in again.ran), {}),
        "trials": again.ran,
        "not_run": again.absent,
        "changed": again.changed,
    }
    signed = None
    if key is not None:
        agreed = sum(trial["outcome"] in GOOD for trial in again.ran)
        words = verification.sentence
        signed = signatures.signed(checked, key, by, "ran again", words, len(again.ran), agreed)
    pack.annotate(path, {**checked.notes, "verification": outcome}, signed)
    beside = path / "verification.json" if path.is_dir() else path.with_suffix(".verification.json")
    beside.write_text(json.dumps(outcome, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return beside


def _outcome(wrong: Sequence[str], ran: Sequence[Mapping[str, Any]]) -> tuple[bool, str]:
    """Whether the pack fails, and the verdict in a sentence without its full stop."""
    bad = next((trial for trial in ran if trial["outcome"] not in GOOD), None)
    if wrong:
        return True, f"NOT verified: {wrong[0]}"
    if bad is not None:
        sentence = f"NOT verified: {bad['cell']}: {bad['said']}"
        if bad["changed"]:
            sentence += (
                ". Its source has changed since: check out its commit and verify there; if it "
                "holds there, the change moved the result: run the suite and publish it anew"
            )
        return True, sentence
    if not ran:
        return False, (
            "Consistent: everything stated follows from the records; no trial was run again"
        )
    counted = ", ".join(f"{n} {kind}" for kind, n in Counter(t["outcome"] for t in ran).items())
    return False, (
        "Verified on a sample: everything stated follows from the records, and all of the "
        f"{len(ran)} trials run again agree with theirs ({counted})"
    )


# ---------------------------------------------------------------- run again
@dataclass(frozen=True)
class _Part:
    """A pack, or of a joined one what came from one suite: its records and its grid here."""

    manifest: Mapping[str, Any]
    records: list[TrialRecord]
    planned: tuple[Grid, Plan] | None
    survey: Survey

    def has(self, record: TrialRecord) -> bool:
        """Whether the grid here has the trial."""
        return record.trial_id in self.survey.here


def _run_again(
    checked: Pack,
    ends: Mapping[tuple[str, ...], Ends],
    sample: int,
    seed: int,
    settings: Settings,
    words: Sequence[str],
    config_dir: Path | None,
    foreign: Foreign,
) -> Again:
    """Run a sample of trials again."""
    again = Again()
    with tempfile.TemporaryDirectory() as folder:
        parts = _planned(checked, Path(folder), settings, words, config_dir, foreign)
        here = {r.trial_id: r for part in parts for r in part.records if part.has(r)}
        changed = [r for part in parts for r in part.records if r.trial_id in part.survey.changed]
        # Settings of one's own make another grid than the one the pack speaks of.
        if not rerun.identity_words({"overrides": words}):
            again.wrong = [line for part in parts for line in _misfits(part, checked)]
        again.changed = _since(changed, len(here)) if changed else ""
        again.absent = _absent(parts)
        if again.wrong or not here:
            return again
        drawn = recheck.sample(frame.build(here.values(), checked.suite), sample, seed)
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
                interval = ends.get(recheck.place(record))
                again.ran.append(judged(record, new[trial.id], like, interval))
    return again


def _planned(
    checked: Pack,
    folder: Path,
    settings: Settings,
    words: Sequence[str],
    config_dir: Path | None,
    foreign: Foreign,
) -> list[_Part]:
    manifests = checked.parts
    records: list[list[TrialRecord]] = [[] for _ in manifests]
    for record in checked.records:
        if not coverage.not_run(record):
            records[manifests.index(checked.manifest_of(record))].append(record)
    parts = []
    for at, (manifest, mine) in enumerate(zip(manifests, records, strict=True)):
        try:
            grid, plan = rerun.plan_again(
                manifest,
                folder / str(at),
                settings.data_root,
                rerun.of_suite(words),
                config_dir,
                foreign,
            )
        except RefusedError:
            raise
        except UserError as error:
            # All of its data is elsewhere: that leaves trials out, and is no mistake.
            if str(error).startswith("Nothing to run"):
                nothing = Survey(frozenset(), frozenset(), (), ())
                parts.append(_Part(manifest, mine, None, nothing))
                continue
            raise UserError(
                f"the grid of '{checked.suite}' cannot be composed here: {error} Options it ran "
                "with may be missing (--config-dir); '--sample 0' checks what needs no grid."
            ) from error
        survey = rerun.survey(plan, mine, manifest.get("skipped", ()), _must_have(checked))
        parts.append(_Part(manifest, mine, (grid, plan), survey))
    return parts


def _absent(parts: list[_Part]) -> str:
    absent = sum(
        not part.has(record) and not record.control and record.access != "none"
        for part in parts
        for record in part.records
    )
    sentence = (
        f"{absent} trials are not in the grid here: their data is missing (data_root=) or their "
        "options are (--config-dir)"
    )
    if not any(part.has(record) for part in parts for record in part.records):
        return f"nothing can be run here; {sentence}"
    return sentence if absent else ""


def _must_have(checked: Pack) -> Callable[[Trial], bool]:
    """Which trials of its grid a pack must have: of an attack or a defense, those about it."""
    attack, defense = (checked.notes.get(name) or None for name in ("attack", "defense"))

    def has(trial: Trial) -> bool:
        attacks, defenses = (str(trial.info[kind]["family"]) for kind in ("attack", "defense"))
        return about(trial.cell, trial.access, trial.control, attacks, defenses, attack, defense)

    return has


def _misfits(part: _Part, checked: Pack) -> list[str]:
    """What a pack from this very source says otherwise than its own grid."""
    if part.survey.changed:
        here = git_state()
        ours = here.get("commit") if not here.get("dirty", True) else None
        moved = [
            record.cell.key()
            for record in part.records
            if record.trial_id in part.survey.changed
            and ours
            and not part.manifest.get("config_dir")
            and record.env.get("git", {}).get("commit") == ours
            and "dirty" not in record.flags
        ]
        return [
            f"{cell} is another trial than the one of that name in its grid, though its commit is "
            "the one here: its seed or settings are not what it says"
            for cell in moved
        ]
    # Of a joined pack only a part of each grid is there, and joining has looked at it.
    lacking = () if "merged" in checked.manifest else part.survey.lacking
    return [
        *(f"{cell} is in its grid and has no record" for cell in lacking),
        *(
            f"it says that {what} was ruled out, which it is not in its grid"
            for what in part.survey.claimed
        ),
    ]


def _since(changed: Sequence[TrialRecord], count: int) -> str:
    """That trials have another identity here, and between which commits that came."""
    commits = {str(r.env.get("git", {}).get("commit", ""))[:12] for r in changed if r.env} - {""}
    here = str(git_state().get("commit", ""))[:12] or "an installed package"
    return (
        f"{len(changed)} of {count} trials have another identity here: source or settings have "
        f"changed since they were recorded (commit {', '.join(sorted(commits)) or 'unknown'}, here "
        f"{here}); they are held against the interval of their row"
    )


def judged(old: TrialRecord, new: TrialRecord, like: Likeness, ends: Ends | None) -> dict[str, Any]:
    """What running a trial again says of its record.

    Args:
        old: the record.
        new: the same trial run again.
        like: how they compare.
        ends: the intervals of its row for one more seed; None: it has none.
    """
    outcome, sentence, figures = str(like.outcome), like.said, rerun.figures(new)
    far = beyond(like.gaps)
    if outcome == "different" and not like.exact and far and ends and {*far} <= {*ends}:
        # Rows whose seeds all gave the same have no width: what any device may differ by has.
        inside = {
            name: ends[name][0] - TOLERANCE <= value <= ends[name][1] + TOLERANCE
            for name in far
            if (value := figures[name]) is not None
        }
        if len(inside) == len(far) and all(inside.values()):
            outcome = "within the interval"
        sentence += "".join(
            f"; {name} = {figures[name]:.3f} is {'within' if fits else 'outside'} its row's "
            f"interval for one seed, {ends[name][0]:.3f} to {ends[name][1]:.3f}"
            for name, fits in inside.items()
        )
    return {
        "trial": old.trial_id,
        "cell": old.cell.key(),
        "outcome": outcome,
        "said": sentence,
        "L": figures["L"],
        "changed": old.trial_id != new.trial_id,
        "environment": {k: v for k, v in new.env.items() if k != "peak_rss_mb"},
    }
