"""Results packed for others to verify, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bench.contract.errors import nearest, require
from bench.contract.record import Cell, TrialRecord
from bench.exchange import pack, rerun, signatures
from bench.exchange.pack import Pack
from bench.exchange.parts import is_pack
from bench.exchange.records import Records
from bench.report import boards, controls, families, figures, frame, tables

_SHOWN = 3


@dataclass(frozen=True)
class Submission:
    """What was packed.

    Attributes:
        path: file or folder.
        suite: whose results they are.
        trials: how many.
        digest: of the pack.
        dropped: signatures of the pack that it was made from, which are not of this one.
    """

    path: Path
    suite: str
    trials: int
    digest: str
    dropped: int = 0


def submit(
    results: Pack,
    out: Path,
    by: str = "",
    remark: str = "",
    attack: str | None = None,
    defense: str | None = None,
    allow_dirty: bool = False,
    key: Path | None = None,
) -> Submission:
    """Pack results.

    Args:
        results: of a suite, an execution or a pack.
        out: file to write, ending in ``.zip``, or a folder.
        by: who submits.
        remark: what it is, in a sentence.
        attack: only what this attack and its baselines did.
        defense: only this defense and what it is compared with.
        allow_dirty: even if it ran from a modified working copy.
        key: SSH key to sign it with; None: it is not signed.

    Raises:
        UserError: it cannot be submitted, not written there, or not signed.
    """
    signatures.require_key(key, by)
    require(
        not (attack and defense), "--attack and --defense exclude each other; submit two files."
    )
    require(
        not out.exists() or is_pack(out) or (out.is_dir() and not any(out.iterdir())),
        f"--to: '{out}' is there and is no pack; name another place.",
    )

    def keeps(record: TrialRecord) -> bool:
        families_of = record.attack.family, record.defense.family
        return about(record.cell, record.access, record.control, *families_of, attack, defense)

    kept = Records(lambda: results.records).where(keeps)
    trials, environments = check(results, kept, attack, defense, allow_dirty)
    before = results.notes
    submission = replace(
        results,
        records=kept,
        manifest=rerun.portable({**results.manifest, "trials": trials}),
        pictures={key: data for key, data in results.pictures.items() if key in trials},
        notes={
            **({"submissions": before["submissions"]} if "submissions" in before else {}),
            "submitter": _whose(str(before.get("submitter", "")), by),
            "note": remark or before.get("note", ""),
            "attack": attack or "",
            "defense": defense or "",
            "environments": environments,
        },
    )
    # What one attack or defense did is no board: its worst case is that of the boards it joins.
    files = {} if attack or defense else _boards(submission)
    digest = pack.write(replace(submission, signatures={}), out, files)
    written = replace(submission, digest=digest, signatures=signatures.holding(results, digest))
    signed: Mapping[str, bytes] = written.signatures
    if key is not None:
        signed = signatures.signed(written, key, by, "made", f"{len(trials)} trials")
    if signed:
        pack.annotate(out, signatures=signed)
    dropped = len(results.signatures) - len(written.signatures)
    return Submission(out, results.suite, len(trials), digest, dropped // 2)


def _whose(first: str, by: str) -> str:
    """Who submitted; of a pack that is packed again, also who did that."""
    return f"{first}, packed again by {by}" if first and by and by != first else by or first


def _boards(results: Pack) -> dict[str, bytes]:
    """The tables and figures of a pack, for who reads it without this program."""
    table = frame.build(results.records, results.suite)
    made = boards.build(table)
    markdown = tables.leaderboard_md(made, families.tuned(table), results.suite)
    return {
        "leaderboard.csv": tables.leaderboard_csv(made, results.suite).encode(),
        "leaderboard.md": markdown.encode(),
        **{f"figures/{name}": data for name, data in figures.files(made, table, ["svg"]).items()},
    }


def about(
    cell: Cell,
    access: str,
    control: str,
    attacks: str,
    defenses: str,
    attack: str | None,
    defense: str | None,
) -> bool:
    """Whether a trial is part of what is submitted of one attack or defense.

    Args:
        cell: the trial.
        access: of its attack.
        control: what it is a control of.
        attacks: family of its attack.
        defenses: family of its defense.
        attack: the attack that is submitted; None: any.
        defense: the defense that is submitted; None: any.
    """
    if access == "none":
        return True
    if attack:
        # A control such as ``doubled[miface]`` is about what it controls.
        inner = cell.attack.partition("[")[2].removesuffix("]")
        return attack in (cell.attack, attacks, inner)
    return not defense or bool(control) or defense in (cell.defense, defenses, "none")


def check(
    results: Pack, kept: Records, attack: str | None, defense: str | None, allow_dirty: bool
) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Refuse what cannot be submitted.

    Args:
        results: all there is.
        kept: what is submitted of it.
        attack: the attack that is submitted; None: any.
        defense: the defense that is submitted; None: any.
        allow_dirty: whether a modified working copy is no reason to refuse.

    Returns:
        The trials (identity to cell), and the environments they ran in.

    Raises:
        UserError: says what is wrong and what to do.
    """
    _named(results, "attack", attack)
    _named(results, "defense", defense)
    refused = f"'{results.suite}' cannot be submitted"
    there = {record.trial_id for record in results.records}
    absent = [cell for key, cell in results.manifest["trials"].items() if key not in there]
    require(
        not absent,
        f"{refused}: it lacks {len(absent)} of its planned trials, not run yet or lost: "
        f"{_listed(absent)}; run it again, which runs these alone.",
    )
    trials: dict[str, str] = {}
    bad: list[str] = []
    dirty = bool(results.manifest.get("git", {}).get("dirty"))
    environments: dict[str, dict[str, Any]] = {}
    for record in kept:
        trials[record.trial_id] = record.cell.key()
        dirty |= "dirty" in record.flags
        if record.status not in ("done", "skipped"):
            bad.append(f"{record.cell.key()} ({record.status})")
        if record.env:
            environment = {**record.env, "benchmark": record.benchmark_version}
            environments[repr(sorted(environment.items(), key=str))] = environment
    require(
        not bad,
        f"{refused}: {len(bad)} of its trials did not end well: {_listed(bad)}; run it again with "
        "'--rerun failed'.",
    )
    require(
        allow_dirty or not dirty,
        f"{refused}: it ran from a modified working copy, which no commit reproduces; commit and "
        "run it again, or give --allow-dirty and say why in --note.",
    )
    table = frame.build(kept, results.suite)
    failed = _failed(controls.judge(table))
    require(
        not failed, f"{refused}: a control failed that its boards rest on: {'; '.join(failed)}."
    )
    if defense:
        alone = _without_adaptive(table, defense)
        require(
            not alone,
            f"'{defense}' cannot be submitted: no attack that adapts to it ran on "
            f"{_listed(alone)}; run one whose adaptive_to names it, for "
            "without it the row is only a lower bound of what leaks.",
        )
    return trials, [environments[key] for key in sorted(environments)]


def _named(results: Pack, kind: str, name: str | None) -> None:
    """Refuse an attack or a defense that the results do not have."""
    if name:
        pairs = ((getattr(r, kind).family, getattr(r.cell, kind)) for r in results.records)
        names = {either for pair in pairs for either in pair if either}
        require(name in names, f"'{results.suite}' has no {kind} '{name}'.{nearest(name, names)}")


def _without_adaptive(table: pd.DataFrame, defense: str) -> list[str]:
    """Boards on which no attack adapted to a defense."""
    rows = boards.build(table).rows
    mine = rows[(rows["defense"] == defense) | rows["defense"].str.startswith(f"{defense}[")]
    alone = mine[mine["flags"].map(lambda flags: "non_adaptive" in flags)]
    keys = ["dataset", "model", "goal", "access", "defense"]
    return ["/".join(key) for key in alone[keys].itertuples(index=False, name=None)]


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_SHOWN])}{' ...' if len(names) > _SHOWN else ''}"


def _failed(checks: pd.DataFrame) -> list[str]:
    wrong = checks[(checks["state"] == controls.FAIL) & checks["check"].isin(controls.VOIDING)]
    rows: Sequence[Mapping[Any, Any]] = wrong.to_dict("records")
    return [
        f"{row['code']} of {row['dataset']}/{row['model']} ({row['claim']}: {row['value']:.3g} by "
        f"{row['of']}, {row['bar']} asked)"
        for row in rows
    ]
