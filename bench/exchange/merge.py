"""A submission joins the boards: a new defense as a row, a stronger attack in the rows it met.

A row that a joining attack was not run against gets trials that say so: they are ``skipped``, and
the board flags the row ``missing``. Without them a row would look good for what it never met.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.contract.errors import require
from bench.contract.identity import node_id
from bench.contract.likeness import TOLERANCE
from bench.contract.record import Data, Failure, TrialRecord
from bench.exchange import consistency, recheck
from bench.exchange.pack import Pack
from bench.report import comparable, controls, coverage
from bench.report.closure import spans
from bench.report.frame import BASELINE, UNDEFENDED
from bench.report.frame import build as build_frame

Scenario = tuple[str, str]
"""Data set and model."""

Level = tuple[Scenario, str, str]
"""Scenario, goal and access."""

_ENDED = ("done", "skipped")
_NOT_MET = Failure(type=coverage.NOT_RUN, message="It joined the board and did not meet this row.")


@dataclass(frozen=True)
class _Joined:
    """Every record of the base, then of each submission those that join it, then what is unmet."""

    packs: Sequence[Pack]
    joins: Sequence[Collection[str]]
    unmet: Sequence[TrialRecord]

    def __iter__(self) -> Iterator[TrialRecord]:
        yield from (r for r in self.packs[0].records if not coverage.not_run(r))
        for pack, joins in zip(self.packs[1:], self.joins, strict=True):
            yield from (record for record in pack.records if record.trial_id in joins)
        yield from self.unmet


@dataclass
class _Base:
    """What a submission must fit."""

    cells: dict[tuple[str, str], str] = field(default_factory=dict)
    """(cell, control) to trial identity."""
    seeds: dict[Scenario, set[int]] = field(default_factory=dict)
    attacks: dict[tuple[Scenario, str], set[str]] = field(default_factory=dict)
    """Attacks on the undefended target by scenario and goal."""
    rows: dict[Level, dict[str, TrialRecord]] = field(default_factory=dict)
    """Defenses that attacks met at a level, each with one of its trials."""
    met: set[tuple[Level, str, str]] = field(default_factory=set)
    """(level, defense, attack) that were run."""
    data: dict[tuple[str, int], Data] = field(default_factory=dict)
    scores: dict[str, float | None] = field(default_factory=dict)

    def add(self, record: TrialRecord) -> None:
        cell, place = record.cell, _scenario(record)
        self.cells[cell.key(), record.control] = record.trial_id
        self.scores[record.trial_id] = record.score.value if record.score else None
        if record.control:
            return
        self.seeds.setdefault(place, set()).add(cell.seed)
        if record.status == "done":
            self.data[cell.dataset, cell.seed] = record.data
        level = (place, record.goal, record.access)
        self.rows.setdefault(level, {}).setdefault(cell.defense, record)
        self.met.add((level, cell.defense, cell.attack))
        if cell.defense == UNDEFENDED and record.access != BASELINE:
            self.attacks.setdefault((place, record.goal), set()).add(cell.attack)

    def defenses(self, place: Scenario) -> set[str]:
        """Rows of a scenario."""
        return {name for (at, *_), rows in self.rows.items() if at == place for name in rows}


def merge(base: Pack, *more: Pack) -> Pack:
    """One pack in which submissions stand beside what they are compared with.

    A trial of both counts once, as the base has it, and so do baselines and controls. A new attack
    joins the rows it was run against and may raise their leakage; rows of the same board that it
    did not meet are flagged ``missing``. A new defense becomes a row.

    Args:
        base: the boards.
        more: submissions; each must hold in itself.

    Raises:
        UserError: a submission may not share a board with the base (says which fact differs), uses
            a name for something else, disagrees on a trial, lacks trials, seeds or attacks of the
            boards it joins, or one of its controls failed.
    """
    known, facts = _Base(), comparable.SharedFacts()
    expected: dict[tuple[Level, str], TrialRecord] = {}
    for record in base.records:
        if coverage.not_run(record):
            expected[_level(record), record.cell.attack] = record
            continue
        known.add(record)
        facts.add(record)
    # What others bring at the same time is nothing a submission could have run.
    wanted = {key: set(names) for key, names in known.attacks.items()}
    joins, brought = [], []
    for at, pack in enumerate(more, 1):
        name = str(pack.notes.get("submitter") or f"submission {at}")
        for record in pack.records:
            facts.add(record, f"{name}: ")
        facts.check(base.suite)
        joining = _joining(known, wanted, pack, name)
        joins.append({record.trial_id for record in joining})
        brought.append({(_level(r), r.cell.attack) for r in joining if _ordinary(r)})
        for record in joining:
            if _ordinary(record) and record.cell.attack not in wanted.get(
                (_scenario(record), record.goal), ()
            ):
                expected.setdefault((_level(record), record.cell.attack), record)
            known.add(record)
    packs = (base, *more)
    unmet = list(_unmet(known, expected, [p.manifest for p in packs]))
    submitted = [
        {**_told(pack), "joined": len(joined), "unmet": _summed(unmet, mine)}
        for pack, joined, mine in zip(more, joins, brought, strict=True)
    ]
    return Pack(
        suite=base.suite,
        records=_Joined(packs, joins, unmet),
        manifest={
            **base.manifest,
            "trials": _trials(packs, joins, unmet),
            "merged": [part for p in packs for part in _parts(p.manifest)],
        },
        pictures=dict(base.pictures)
        | {
            key: data
            for pack, joined in zip(more, joins, strict=True)
            for key, data in pack.pictures.items()
            if key in joined
        },
        notes={**base.notes, "submissions": [*base.notes.get("submissions", ()), *submitted]},
    )


def _joining(
    known: _Base, wanted: Mapping[tuple[Scenario, str], set[str]], pack: Pack, name: str
) -> list[TrialRecord]:
    """A submission's trials that join."""
    _sound(pack, name)
    joining: list[TrialRecord] = []
    brought = _Base()
    for record in pack.records:
        if coverage.not_run(record):
            continue
        brought.add(record)
        value = record.score.value if record.score else None
        if record.trial_id in known.scores:
            mine = known.scores[record.trial_id]
            require(
                mine is None or value is None or abs(mine - value) <= TOLERANCE,
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
    _complete(known, wanted, brought, joining, pack, name)
    return joining


def _sound(pack: Pack, name: str) -> None:
    consistency.require_sound(pack, name)
    wrong = recheck.listed(map(recheck.claim, pack.records), pack.manifest["trials"])
    require(not wrong, f"'{name}' cannot join: {'; '.join(wrong[:3])}.")
    failed = controls.voiding(controls.judge(build_frame(pack.records, pack.suite)))
    require(
        failed.empty,
        f"'{name}' cannot join: its control {' and '.join(failed['code'].unique())} failed "
        f"({'; '.join(failed['claim'].unique())}).",
    )


def _complete(
    known: _Base,
    wanted: Mapping[tuple[Scenario, str], set[str]],
    brought: _Base,
    joining: Sequence[TrialRecord],
    pack: Pack,
    name: str,
) -> None:
    """Refuse what would stand on a board on fewer seeds, or having met fewer attacks."""
    bad = [f"{r.cell.key()} ({r.status})" for r in joining if r.status not in _ENDED]
    require(
        not bad,
        f"'{name}' cannot join: {len(bad)} of its trials did not end well: {', '.join(bad[:3])}"
        f"{' ...' if len(bad) > 3 else ''}; run them again with '--rerun failed'.",
    )
    for place, seeds in known.seeds.items():
        lacks = sorted(seeds - brought.seeds.get(place, seeds))
        require(
            not lacks,
            f"'{name}' lacks seeds {spans(lacks)} of {'/'.join(place)}: its boards "
            f"rest on {len(seeds)} seeds; run the submission with seeds={max(seeds) + 1}.",
        )
    have: dict[tuple[Scenario, str, str], set[int]] = {}
    met: dict[tuple[Scenario, str, str], set[str]] = {}
    for record in joining:
        if not record.control:
            place, cell = _scenario(record), record.cell
            have.setdefault((place, cell.defense, cell.attack), set()).add(cell.seed)
    for (place, defense, attack), seeds in have.items():
        lacks = sorted(known.seeds.get(place, seeds) - seeds)
        require(
            not lacks,
            f"'{name}' lacks seeds {spans(lacks)} of {attack} against '{defense}' "
            f"({'/'.join(place)}): a mean over chosen seeds says nothing; submit all of them.",
        )
    for (place, goal, _), defense, attack in brought.met:
        met.setdefault((place, goal, defense), set()).add(attack)
    skipped = _ruled_out([pack.manifest])
    for (place, goal, defense), attacks in sorted(met.items()):
        if defense in known.defenses(place):
            continue
        stem = " x ".join((*place, defense))
        unmet = sorted(
            a for a in wanted.get((place, goal), set()) - attacks if f"{stem} x {a}" not in skipped
        )
        require(
            not unmet,
            f"'{name}' did not run {', '.join(unmet)} against '{defense}', and the boards of "
            f"{'/'.join(place)} ({goal}) have them: a row that met fewer attacks looks better than "
            "it is; run them too.",
        )


def _unmet(
    known: _Base,
    expected: Mapping[tuple[Level, str], TrialRecord],
    manifests: Iterable[Mapping[str, Any]],
) -> Iterator[TrialRecord]:
    """Trials that say of a row that it did not meet an attack that joined its board."""
    skipped = _ruled_out(manifests)
    for (level, attack), like in sorted(expected.items(), key=lambda item: item[0]):
        for defense, row in sorted(known.rows.get(level, {}).items()):
            stem = " x ".join((*level[0], defense, attack))
            if (level, defense, attack) not in known.met and stem not in skipped:
                for seed in sorted(known.seeds[level[0]]):
                    data = known.data.get((level[0][0], seed), row.data)
                    cell = like.cell.model_copy(update={"defense": defense, "seed": seed})
                    yield coverage.stand_in(
                        node_id({"not run": cell.key()}), cell, _NOT_MET, like, row, data
                    )


def _summed(unmet: Iterable[TrialRecord], mine: Collection[tuple[Level, str]]) -> list[str]:
    """Rows that the attacks of one submission did not meet, in words."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for record in unmet:
        if (_level(record), record.cell.attack) in mine and "no_effect" not in record.flags:
            key = (record.cell.attack, "/".join(_scenario(record)))
            found.setdefault(key, {})[record.cell.defense] = None
    return [
        f"{attack} was not run against {', '.join(rows)} of {place}"
        for (attack, place), rows in found.items()
    ]


def _trials(
    packs: Sequence[Pack], joins: Sequence[Collection[str]], unmet: Iterable[TrialRecord]
) -> dict[str, str]:
    """Identity to cell of all that stands on the joined boards."""
    base, *more = packs
    dropped = {r.trial_id for r in base.records if coverage.not_run(r)}
    out = {k: v for k, v in base.manifest["trials"].items() if k not in dropped}
    for pack, joined in zip(more, joins, strict=True):
        out |= {k: v for k, v in pack.manifest["trials"].items() if k in joined}
    return out | {record.trial_id: record.cell.key() for record in unmet}


def _ruled_out(manifests: Iterable[Mapping[str, Any]]) -> set[str]:
    """What the plans left out, because it cannot work together."""
    return {
        entry["what"] for m in manifests for part in _parts(m) for entry in part.get("skipped", ())
    }


def _ordinary(record: TrialRecord) -> bool:
    """Whether it is a trial that any row may meet: how queries hide concerns watched rows only."""
    return (
        not record.control and record.access != BASELINE and not record.attack.params.get("stream")
    )


def _scenario(record: TrialRecord) -> Scenario:
    return record.cell.dataset, record.cell.model


def _level(record: TrialRecord) -> Level:
    return _scenario(record), record.goal, record.access


def _parts(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(manifest.get("merged", ())) or [manifest]


def _told(pack: Pack) -> dict[str, Any]:
    return {"suite": pack.suite, "digest": pack.digest, **pack.notes}


def _said(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"
