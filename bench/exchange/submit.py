"""``invbench submit``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.words import overrides, submissions

if TYPE_CHECKING:
    from bench.contract.record import Cell, TrialRecord
    from bench.exchange.pack import Pack

_SHOWN = 3


@click.command("submit")
@click.argument("source", metavar="SOURCE")
@overrides
@click.option(
    "--to",
    "out",
    required=True,
    type=click.Path(path_type=Path),
    help="File to write, ending in .zip, or a folder.",
)
@submissions
@click.option("--by", default="", help="Who submits; boards show it.")
@click.option("--note", default="", help="What it is, in a sentence.")
@click.option("--attack", metavar="NAME", help="Only what this attack and its baselines did.")
@click.option("--defense", metavar="NAME", help="Only this defense and what it is compared with.")
@click.option("--allow-dirty", is_flag=True, help="Even if it ran from a modified working copy.")
def command(
    source: str,
    words: tuple[str, ...],
    config_dir: Path | None,
    out: Path,
    joining: tuple[str, ...],
    by: str,
    note: str,
    attack: str | None,
    defense: str | None,
    allow_dirty: bool,
) -> None:
    """Pack the results of SOURCE, a suite, an execution or a pack, for others to verify.

    A pack holds records, environment and digests, of a whole suite its tables and figures too; no
    data, no weights, and pictures only of data that may be shown. 'invbench verify FILE' checks
    it, 'invbench report BOARDS --with FILE' puts it on the boards: a new defense as a row, a
    stronger attack in every row it was run against. 'invbench submit BOARDS --with FILE --to NEW'
    packs the boards with it, to publish them.

    Refused: a modified working copy, failed controls, trials that did not end well or have no
    record, and a --defense that no attack adapted to.
    """
    from dataclasses import replace

    from bench.contract import require
    from bench.engine.config import compose_grid
    from bench.exchange import pack, rerun, sources

    require(
        not (attack and defense), "--attack and --defense exclude each other; submit two files."
    )
    require(
        not (joining and (attack or defense)),
        "--with packs whole boards; leave out --attack and --defense.",
    )
    require(
        not out.exists() or pack.is_pack(out) or (out.is_dir() and not any(out.iterdir())),
        f"--to: '{out}' is there and is no pack; name another place.",
    )
    settings = compose_grid(words, config_dir).settings
    found = sources.joined(sources.load(source, settings), joining, settings)
    kept = _Kept(found, attack, defense)
    trials, environments = check(found, kept, defense, allow_dirty)
    submission = replace(
        found,
        records=kept,
        manifest=rerun.portable({**found.manifest, "trials": trials}),
        pictures={key: data for key, data in found.pictures.items() if key in trials},
        notes={
            **({"submissions": found.notes["submissions"]} if "submissions" in found.notes else {}),
            "submitter": _whose(str(found.notes.get("submitter", "")), by),
            "note": note or found.notes.get("note", ""),
            "attack": attack or "",
            "defense": defense or "",
            "environments": environments,
        },
    )
    # What one attack or defense did is no board: its worst case is that of the boards it joins.
    files = {} if attack or defense else _boards(submission)
    digest = pack.write(submission, out, files)
    click.echo(f"{out}: {len(trials)} trials of {found.suite}; digest {digest[:16]}")
    click.echo(f"Verify it: invbench verify {out}")
    if attack or defense:
        click.echo(f"On the boards it is for: invbench report BOARDS --with {out} --to DIR")


def _whose(first: str, by: str) -> str:
    """Who submitted; of a pack that is packed again, also who did that."""
    return f"{first}, packed again by {by}" if first and by and by != first else by or first


def _boards(found: Pack) -> dict[str, bytes]:
    """The tables and figures of a pack, for who reads it without this program."""
    from bench.report import boards, families, figures, frame, tables

    table = frame.build(found.records, found.suite)
    made = boards.build(table)
    markdown = tables.leaderboard_md(made, families.tuned(table), found.suite)
    drawn = figures.files(made, table, ["svg"])
    return {
        "leaderboard.csv": tables.leaderboard_csv(made, found.suite).encode(),
        "leaderboard.md": markdown.encode(),
        **{f"figures/{name}": data for name, data in drawn.items()},
    }


@dataclass(frozen=True)
class _Kept:
    """Records of a pack that are about one attack or one defense, and what they rest on."""

    pack: Pack
    attack: str | None
    defense: str | None

    def __iter__(self) -> Iterator[TrialRecord]:
        return (record for record in self.pack.records if self.keeps(record))

    def keeps(self, record: TrialRecord) -> bool:
        """Whether a record is part of it: baselines and the undefended always are."""
        families = record.attack.family, record.defense.family
        return about(
            record.cell, record.access, record.control, *families, self.attack, self.defense
        )


def about(
    cell: Cell, access: str, control: str, attacks: str, defenses: str, attack: str | None,
    defense: str | None,
) -> bool:  # fmt: skip
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
        return attack in (cell.attack, attacks, _of_control(cell.attack))
    return not defense or bool(control) or defense in (cell.defense, defenses, "none")


def _of_control(attack: str) -> str:
    """What a control such as ``doubled[miface]`` is a control of."""
    return attack.partition("[")[2].removesuffix("]")


def check(
    found: Pack, kept: _Kept, defense: str | None, allow_dirty: bool
) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Refuse what cannot be submitted.

    Returns:
        The trials (identity to cell), and the environments they ran in.

    Raises:
        UserError: says what is wrong and what to do.
    """
    from bench.contract import nearest, require
    from bench.report import boards, controls, frame

    names: set[str] = set()
    for record in found.records:
        names |= (
            {record.attack.family or record.cell.attack, record.cell.attack}
            if kept.attack
            else {record.defense.family or record.cell.defense, record.cell.defense}
        )
    wanted = kept.attack or kept.defense
    if wanted:
        kind = "attack" if kept.attack else "defense"
        require(
            wanted in names, f"'{found.suite}' has no {kind} '{wanted}'.{nearest(wanted, names)}"
        )
    trials: dict[str, str] = {}
    bad: list[str] = []
    dirty = bool(found.manifest.get("git", {}).get("dirty"))
    environments: dict[str, dict[str, Any]] = {}
    everything = set()
    for record in found.records:
        everything.add(record.trial_id)
        if not kept.keeps(record):
            continue
        trials[record.trial_id] = record.cell.key()
        dirty |= "dirty" in record.flags
        if record.status not in ("done", "skipped"):
            bad.append(f"{record.cell.key()} ({record.status})")
        if record.env:
            told = {**record.env, "benchmark": record.benchmark_version}
            environments[repr(sorted(told.items(), key=str))] = told
    absent = [c for k, c in found.manifest["trials"].items() if k not in everything]
    require(
        not absent,
        f"'{found.suite}' cannot be submitted: it lacks {len(absent)} of its planned trials, "
        f"not run yet or lost: {_listed(absent)}; run it again, which runs these alone.",
    )
    require(
        not bad,
        f"'{found.suite}' cannot be submitted: {len(bad)} of its trials did not end well: "
        f"{_listed(bad)}; run it again with '--rerun failed'.",
    )
    require(
        allow_dirty or not dirty,
        f"'{found.suite}' cannot be submitted: it ran from a modified working copy, which no "
        "commit reproduces; commit and run it again, or give --allow-dirty and say why in --note.",
    )
    table = frame.build(kept, found.suite)
    failed = _failed(controls.judge(table))
    require(
        not failed,
        f"'{found.suite}' cannot be submitted: a control failed that its boards rest on: "
        f"{'; '.join(failed)}.",
    )
    if defense:
        rows = boards.build(table).rows
        mine = rows[(rows["defense"] == defense) | rows["defense"].str.startswith(f"{defense}[")]
        alone = mine[mine["flags"].str.contains("non_adaptive", regex=False)]
        keys = ["dataset", "model", "goal", "access", "defense"]
        places = ["/".join(key) for key in alone[keys].itertuples(index=False, name=None)]
        require(
            not places,
            f"'{defense}' cannot be submitted: no attack that adapts to it ran on "
            f"{_listed(places)}; run one (its "
            "adaptive_attacks, or an attack with adaptive_to), for without it the row is only a "
            "lower bound of what leaks.",
        )
    return trials, [environments[key] for key in sorted(environments)]


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_SHOWN])}{' ...' if len(names) > _SHOWN else ''}"


def _failed(checks: Any) -> list[str]:
    from bench.report import controls

    wrong = checks[(checks["state"] == controls.FAIL) & checks["check"].isin(controls.VOIDING)]
    rows: list[Mapping[Any, Any]] = wrong.to_dict("records")
    return [
        f"{row['code']} of {row['dataset']}/{row['model']} ({row['claim']}: {row['value']:.3g} by "
        f"{row['of']}, {row['bar']} asked)"
        for row in rows
    ]
