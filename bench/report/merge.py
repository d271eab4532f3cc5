"""A submission joins the boards: a new defense as a row, a stronger attack in the rows it met."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.contract.errors import require
from bench.contract.record import TrialRecord
from bench.report import comparable, controls
from bench.report.frame import BASELINE, UNDEFENDED
from bench.report.frame import build as build_frame
from bench.report.pack import Pack

Scenario = tuple[str, str]
"""Data set and model."""


@dataclass(frozen=True)
class _Joined:
    """Every record of the base, then of each submission those that join it."""

    packs: Sequence[Pack]
    joins: Sequence[Collection[str]]

    def __iter__(self) -> Iterator[TrialRecord]:
        yield from self.packs[0].records
        for pack, joins in zip(self.packs[1:], self.joins, strict=True):
            yield from (record for record in pack.records if record.trial_id in joins)


@dataclass
class _Base:
    """What a submission must fit."""

    cells: dict[tuple[str, str], str] = field(default_factory=dict)
    """(cell, control) to trial identity."""
    seeds: dict[Scenario, set[int]] = field(default_factory=dict)
    attacks: dict[tuple[Scenario, str], set[str]] = field(default_factory=dict)
    """Attacks on the undefended target by scenario and goal."""
    rows: set[tuple[Scenario, str]] = field(default_factory=set)
    scores: dict[str, float | None] = field(default_factory=dict)

    def add(self, record: TrialRecord) -> None:
        cell, place = record.cell, _scenario(record)
        self.cells[cell.key(), record.control] = record.trial_id
        self.scores[record.trial_id] = record.score.value if record.score else None
        if record.control:
            return
        self.seeds.setdefault(place, set()).add(cell.seed)
        self.rows.add((place, cell.defense))
        if cell.defense == UNDEFENDED and record.access != BASELINE:
            self.attacks.setdefault((place, record.goal), set()).add(cell.attack)


def merge(base: Pack, *more: Pack) -> Pack:
    """One pack in which submissions stand beside what they are compared with.

    A trial of both counts once, as the base has it, and so do baselines and controls. A new attack
    joins the rows it was run against and may raise their leakage; a new defense becomes a row.

    Args:
        base: the boards.
        more: submissions; each must hold in itself.

    Raises:
        UserError: a submission may not share a board with the base (says which fact differs), uses
            a name for something else, disagrees on a trial, lacks seeds or attacks of the boards it
            joins, or one of its controls failed.
    """
    known, facts = _Base(), comparable.Facts()
    for record in base.records:
        known.add(record)
        facts.add(record)
    joins = []
    for at, pack in enumerate(more, 1):
        name = str(pack.notes.get("submitter") or f"submission {at}")
        for record in pack.records:
            facts.add(record, f"{name}: ")
        facts.check(base.suite)
        joins.append(_joining(known, pack, name))
    packs = (base, *more)
    submitted = [
        {**_told(pack), "joined": len(joined)} for pack, joined in zip(more, joins, strict=True)
    ]
    return Pack(
        suite=base.suite,
        records=_Joined(packs, joins),
        manifest={
            **base.manifest,
            "trials": {k: v for p in reversed(packs) for k, v in p.manifest["trials"].items()},
            "merged": [part for p in packs for part in _parts(p.manifest)],
        },
        pictures={k: v for p in reversed(packs) for k, v in p.pictures.items()},
        notes={
            **base.notes,
            "submissions": [*base.notes.get("submissions", ()), *submitted],
        },
    )


def _joining(known: _Base, pack: Pack, name: str) -> set[str]:
    """Identities of a submission's trials that join; they then count as the base's."""
    _sound(pack, name)
    joining: list[TrialRecord] = []
    brought = _Base()
    for record in pack.records:
        brought.add(record)
        value = record.score.value if record.score else None
        if record.trial_id in known.scores:
            mine = known.scores[record.trial_id]
            require(
                mine is None or value is None or abs(mine - value) <= comparable.SAME,
                f"The trial {record.cell.key()} ({record.trial_id[:12]}) scores {_said(mine)} here "
                f"and {_said(value)} in '{name}': one of the two is wrong; 'invbench verify' both.",
            )
            continue
        other = known.cells.get((record.cell.key(), record.control))
        require(
            other is None or bool(record.control),
            f"'{name}' has another trial under the name {record.cell.key()} "
            f"({record.trial_id[:12]}, here {str(other)[:12]}): its source or settings differ; "
            "give the new attack or defense a name of its own, or run the submission with the same "
            "version of the benchmark.",
        )
        seeds = known.seeds.get(_scenario(record))
        if other is None and (seeds is None or record.cell.seed in seeds):
            joining.append(record)
    _complete(known, brought, pack, name)
    for record in joining:
        known.add(record)
    return {record.trial_id for record in joining}


def _sound(pack: Pack, name: str) -> None:
    checks = controls.judge(build_frame(pack.records, pack.suite))
    failed = checks[(checks["state"] == controls.FAIL) & checks["check"].isin(controls.VOIDING)]
    require(
        failed.empty,
        f"'{name}' cannot join: its control {' and '.join(failed['code'].unique())} failed "
        f"({'; '.join(failed['claim'].unique())}).",
    )


def _complete(known: _Base, brought: _Base, pack: Pack, name: str) -> None:
    """Refuse what would stand on a board on fewer seeds, or having met fewer attacks."""
    for place, seeds in known.seeds.items():
        lacks = sorted(seeds - brought.seeds.get(place, seeds))
        require(
            not lacks,
            f"'{name}' lacks seeds {', '.join(map(str, lacks))} of {'/'.join(place)}: its boards "
            f"rest on {len(seeds)} seeds; run the submission with seeds={max(seeds) + 1}.",
        )
    skipped = {entry["what"] for entry in pack.manifest.get("skipped", ())}
    met: dict[tuple[Scenario, str, str], set[str]] = {}
    for record in pack.records:
        if not record.control:
            key = (_scenario(record), record.goal, record.cell.defense)
            met.setdefault(key, set()).add(record.cell.attack)
    for (place, goal, defense), attacks in sorted(met.items()):
        if (place, defense) in known.rows:
            continue
        stem = " x ".join((*place, defense))
        wanted = known.attacks.get((place, goal), set())
        unmet = sorted(a for a in wanted - attacks if f"{stem} x {a}" not in skipped)
        require(
            not unmet,
            f"'{name}' did not run {', '.join(unmet)} against '{defense}', and the boards of "
            f"{'/'.join(place)} ({goal}) have them: a row that met fewer attacks looks better than "
            "it is; run them too.",
        )


def _scenario(record: TrialRecord) -> Scenario:
    return record.cell.dataset, record.cell.model


def _parts(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(manifest.get("merged", ())) or [manifest]


def _told(pack: Pack) -> dict[str, Any]:
    return {"suite": pack.suite, "digest": pack.digest, **pack.notes}


def _said(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"
