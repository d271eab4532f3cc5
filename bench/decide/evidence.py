"""What packs say of one scenario: boards, usefulness and facts, ready for a rule to judge."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from bench.contract.access import ACCESS_ORDER, Access, at_least
from bench.contract.errors import nearest, require
from bench.contract.record import TrialRecord
from bench.decide.figures import Estimate, Measured, Met, Weaker, highest
from bench.decide.persons import person
from bench.exchange import consistency, recheck
from bench.exchange.pack import Pack
from bench.exchange.recheck import Claim
from bench.exchange.signatures import attestations
from bench.goals import goal_named
from bench.goals import goals as goals_known
from bench.report import frame, worst_of
from bench.report.boards import Boards
from bench.report.boards import build as build_boards
from bench.report.closure import ROW
from bench.report.coverage import LOST
from bench.report.facts import Facts
from bench.report.frame import SINGLE, UNDEFENDED, bare_name, flags_of

NO_EVIDENCE = ("void", "weak_attack", "no_headroom")
"""Flags that leave a board without evidence."""


@dataclass(frozen=True)
class Scenario:
    """What is deployed, in the evidence's words."""

    dataset: str
    model: str
    sector: str
    modality: str


@dataclass(frozen=True)
class Source:
    """The evidence of one pack.

    Attributes:
        suite: name of it.
        table: as :func:`bench.report.frame.read` gives it.
        facts: what the records say besides.
        boards: built from the table.
        digest: sha256 of all records, whatever their order.
        notes: what was said of the pack; anybody can have typed it.
        pack_digest: of the pack that was read; empty where the store was.
        parts: manifests of the runs that it was made from.
        faults: what it states and what does not follow from its records, in sentences.
        reruns: who ran trials of this very pack again, found the same, and signed that with a key
            that is trusted and not its maker's; when, by the name.
        makers: who signed with a trusted key to have made it; when, by the name.
        denied: who signed with a trusted key to have found otherwise.
        untrusted: signatures that count for nothing, and why.
    """

    suite: str
    table: pd.DataFrame
    facts: Facts
    boards: Boards
    digest: str
    notes: Mapping[str, Any] = field(default_factory=dict)
    pack_digest: str = ""
    parts: tuple[Mapping[str, Any], ...] = ()
    faults: tuple[str, ...] = ()
    reruns: Mapping[str, str] = field(default_factory=dict)
    makers: Mapping[str, str] = field(default_factory=dict)
    denied: tuple[str, ...] = ()
    untrusted: tuple[str, ...] = ()

    @property
    def verification(self) -> Mapping[str, Any]:
        """What 'invbench verify --write' noted, as anybody could have; empty: nothing."""
        return self.notes.get("verification") or {}

    @property
    def refuted(self) -> bool:
        """Whether whoever re-ran it is noted, or signed, to have found something else."""
        return bool(self.denied) or self.verification.get("outcome") == "failed"

    @property
    def submitter(self) -> str:
        """Who made the pack, as they say."""
        return str(self.notes.get("submitter") or "")

    @property
    def verified_by(self) -> str:
        """Who else ran it again and signed that they found the same; empty: nobody."""
        others = [name for name in self.reruns if person(name) != person(self.submitter)]
        return ", ".join(sorted(others))

    @cached_property
    def finished(self) -> dict[Any, pd.DataFrame]:
        """The finished trials of each row of a board, cut once: a search for each row is slow."""
        return dict(list(self.boards.seeds.groupby(ROW, sort=False)))

    def trials(self, scenario: Scenario) -> pd.DataFrame:
        """The scenario's rows of the table, controls left out."""
        here = (self.table["dataset"] == scenario.dataset) & (self.table["model"] == scenario.model)
        return self.table[here & (self.table["control"] == "")]


def read(packs: Iterable[Pack], signers: Path | None = None) -> tuple[Source, ...]:
    """The evidence of some packs, each held against its own records; the same counts once.

    Args:
        packs: each is read once.
        signers: file of the keys that are trusted; None: none is.

    Raises:
        UserError: records cannot stand on one board, have no time, or signatures cannot be checked.
    """
    out = []
    for pack in packs:
        digests: list[bytes] = []
        claims: list[Claim] = []
        records = _noted(pack.records, digests, claims)
        table, facts = frame.read(records, pack.suite, pack.manifest.get("trials"))
        _dated(table, pack.suite)
        boards = build_boards(table)
        out.append(
            Source(
                pack.suite,
                table,
                facts,
                boards,
                hashlib.sha256(b"".join(sorted(digests))).hexdigest(),
                pack.notes,
                pack.digest,
                tuple(pack.parts),
                consistency.faults(pack, claims, table, boards),
                **_signed(pack, signers),
            )
        )
    return tuple({source.digest: source for source in out}.values())


def _signed(pack: Pack, signers: Path | None) -> dict[str, Any]:
    """What is signed about a pack, as fields of a source."""
    found = attestations(pack, signers)
    trusted = [a for a in found if a.trusted]
    made = [a for a in trusted if a.role == "made"]
    keys = {a.fingerprint for a in found if a.role == "made"}
    again = [a for a in trusted if a.role == "ran again" and a.fingerprint not in keys]
    return {
        "reruns": {a.signer: a.utc for a in again if 0 < a.ran == a.agreed},
        "makers": {a.signer: a.utc for a in made},
        "denied": tuple(a.signer for a in again if a.agreed < a.ran),
        "untrusted": tuple(f"{a.signer} {a.reason}" for a in found if not a.trusted),
    }


def _dated(table: pd.DataFrame, suite: str) -> None:
    """Refuse trials without a time in UTC that can be meant."""
    for text in table.loc[table["status"] != LOST, "created"].unique():
        try:
            when = datetime.fromisoformat(text)
            good = when.utcoffset() == timedelta(0) and 2020 <= when.year < 2200
        except ValueError:
            good = False
        require(
            good,
            f"A trial of '{suite}' is of '{text[:40]}', which is no time in UTC as records have it "
            "(2026-01-31T12:00:00+00:00); get the evidence again.",
        )


def about(sources: Sequence[Source], of: Scenario) -> list[Source]:
    """Those that have a board of the scenario; what others say is no evidence here."""
    place = (of.dataset, of.model)
    return [
        s
        for s in sources
        if place in set(s.boards.rows[["dataset", "model"]].itertuples(index=False, name=None))
    ]


def _noted(
    records: Iterable[TrialRecord], digests: list[bytes], claims: list[Claim]
) -> Iterator[TrialRecord]:
    """The records, of which digests and claims are noted as they pass: reading them takes long."""
    for record in records:
        digests.append(hashlib.sha256(record.model_dump_json().encode()).digest())
        claims.append(recheck.claim(record))
        yield record


def scenario(sources: Sequence[Source], dataset: str = "", model: str = "") -> Scenario:
    """The scenario that is named, or the only one there is.

    Raises:
        UserError: there is none, or several.
    """
    pairs = [(known.dataset, known.model) for known in scenarios(sources)]
    require(
        bool(pairs), "The evidence has no board, since nothing in it was attacked; name another."
    )
    for axis, name in (("dataset", dataset), ("model", model)):
        known = {pair[axis == "model"] for pair in pairs}
        require(
            not name or name in known, f"The evidence has no {axis} '{name}'.{nearest(name, known)}"
        )
    fitting = [pair for pair in pairs if dataset in ("", pair[0]) and model in ("", pair[1])]
    require(
        len(fitting) == 1,
        "The evidence holds several scenarios; name one with --dataset and --model: "
        f"{', '.join('/'.join(pair) for pair in fitting or pairs)}.",
    )
    return next(known for known in scenarios(sources) if (known.dataset, known.model) in fitting)


def scenarios(sources: Sequence[Source]) -> list[Scenario]:
    """Every scenario that has a board."""
    cards = {name: card for source in sources for name, card in source.facts.cards.items()}
    pairs = {
        (str(dataset), str(model))
        for source in sources
        for dataset, model in zip(
            *(source.boards.rows[c] for c in ("dataset", "model")), strict=True
        )
    }
    return [
        Scenario(dataset, model, cards[dataset].sector, cards[dataset].modality)
        for dataset, model in sorted(pairs)
    ]


def level(
    sources: Sequence[Source], of: Scenario, goal: str, access: Access, cap: int | None = None
) -> tuple[str, float]:
    """The least access, ``access`` or stronger, and least budget whose board is evidence.

    A budget covers the cap if it is no smaller; only that without limit covers none. All sources
    with the access must have it. Where no board is evidence, the least one there is; no access
    where there is none at all.
    """
    if at_least(access, "gradients") and goal_named(goal).victims != "clients":
        access = "weights"  # who sees updates holds the weights; no more is known of the answers
    flags: dict[tuple[str, float], list[set[str]]] = {}
    have: Counter[tuple[str, float]] = Counter()
    for source in sources:
        rows = _rows(source, of, goal)
        keys = list(zip(rows["access"], rows["budget"], strict=True))
        have.update(set(keys))
        for key, row in zip(keys, rows.to_dict("records"), strict=True):
            flags.setdefault(key, []).append(set(flags_of(row)))
    boards = sorted(
        (
            (at, budget)
            for at, budget in have
            if at_least(cast(Access, at), access)
            and budget >= (math.inf if cap is None else cap)
            and have[at, budget] == have[at, math.inf]
        ),
        key=lambda board: (ACCESS_ORDER.index(cast(Access, board[0])), board[1]),
    )
    sound = [key for key in boards if not set.intersection(*flags[key]) & {*NO_EVIDENCE}]
    return next(iter([*sound, *boards]), ("", math.inf))


def measured(
    sources: Sequence[Source], of: Scenario, goal: str, access: Access, cap: int | None = None
) -> dict[str, list[Measured]]:
    """Every defense's rows for a goal at :func:`level`."""
    at, budget = level(sources, of, goal, access, cap)
    ran = [_on(s.boards.attacks, of, goal, at, budget) for s in sources]
    bare = [_names(table, UNDEFENDED) for table in ran]
    below = weaker(sources, of, goal, at, budget)
    found: dict[str, list[Measured]] = {}
    for source, attacks in zip(sources, ran, strict=True):
        for row in _on(source.boards.rows, of, goal, at, budget).to_dict("records"):
            defense = row["defense"]
            mine = attacks[(attacks["defense"] == defense) & (attacks["n_done"] > 0)]
            plain = attacks[(attacks["defense"] == UNDEFENDED) & (attacks["n_done"] > 0)]
            planned = attacks.loc[attacks["defense"] == defense, "attack_access"]
            own = at in set(plain["attack_access"]) and at not in set(planned)
            flags = frozenset(flags_of(row))
            # What gives labels alone never meets what asks for scores; another pack's attack may.
            here = [
                b for b, table in zip(bare, ran, strict=True) if defense in set(table["defense"])
            ]
            expected = set().union(*bare) - (set().union(*here) if own else set())
            met = {name for table in ran for name in _names(table[table["n_done"] > 0], defense)}
            found.setdefault(defense, []).append(
                Measured(
                    goal,
                    at,
                    budget,
                    source.suite,
                    estimate(row, "L"),
                    estimate(row, "M"),
                    str(row["worst_attack"]),
                    tuple(sorted(mine.loc[mine["adaptive"].eq(True), "attack"])),
                    int(row["n_seeds"]),
                    flags,
                    int(row["trials_planned"]),
                    int(row["trials_lost"]),
                    row["verdict"] == "less",
                    own,
                    () if "no_effect" in flags else tuple(sorted(expected - met)),
                    _members(source, row),
                    tuple(
                        Met(a["attack"], estimate(a, "L"), estimate(a, "M"))
                        for a in mine.to_dict("records")
                    ),
                    tuple(below.get(defense, ())),
                    of.model,
                    defense,
                    **_alone(source, row),
                )
            )
    return found


def _alone(source: Source, row: Mapping[Any, Any]) -> dict[str, Any]:
    """What is known of a row of one target that was given, as fields of :class:`Measured`."""
    if SINGLE not in flags_of(row):
        return {}
    trials = source.trials(Scenario(row["dataset"], row["model"], row["sector"], ""))
    trials = trials[(trials["defense"] == row["defense"]) & (trials["status"] == "done")]
    told = _seeds(source, row)
    people = told.groupby("attack")["victims"].mean().fillna(0.0)
    names = {name for both in trials["known_as"] for name in both} | {*trials["target_sha"]}
    return {
        "single": True,
        "victims": int(people.min()) if len(people) else 0,
        "members_known": bool(told["M"].notna().any()),
        "known_as": frozenset(names - {""}),
    }


def weaker(
    sources: Sequence[Source], of: Scenario, goal: str, at: str, budget: float
) -> dict[str, list[Weaker]]:
    """By defense, its rows on boards of less access and no larger budget in any of the sources."""
    less = {a for a in ACCESS_ORDER if at and a != at and at_least(cast(Access, at), a)}
    below: dict[str, list[Weaker]] = {}
    for source in sources:
        rows = _rows(source, of, goal)
        rows = rows[rows["access"].isin(less) & (rows["budget"] <= budget)]
        rows = rows.sort_values("budget").drop_duplicates(["access", "defense"], keep="last")
        for row in rows.to_dict("records"):
            if not {"void", "no_headroom"} & {*flags_of(row)}:
                mine = (str(row["worst_attack"]), estimate(row, "M"))
                below.setdefault(row["defense"], []).append(
                    Weaker(
                        str(row["access"]),
                        str(row["worst_attack"]),
                        estimate(row, "L"),
                        highest([mine, _members(source, row)]),
                    )
                )
    return below


def _on(table: pd.DataFrame, of: Scenario, goal: str, at: str, budget: float) -> pd.DataFrame:
    """What a table says of one board."""
    here = _of(table, of, goal)
    return here[(here["access"] == at) & (here["budget"] == budget)]


def _names(attacks: pd.DataFrame, defense: str) -> set[str]:
    """Attacks on a defense, however they send their queries."""
    return {bare_name(name) for name in attacks.loc[attacks["defense"] == defense, "attack"]}


def _members(source: Source, row: Mapping[Any, Any]) -> tuple[str, Estimate]:
    """The attack with the largest M, and the interval of the largest M of all attacks."""
    here = _seeds(source, row).dropna(subset="M")
    if here.empty:
        return "", Estimate()
    by_seed = here.pivot(index="attack", columns="seed", values="M")
    means, values = by_seed.mean(axis=1), by_seed.to_numpy(dtype=float)
    if SINGLE in flags_of(row):
        people = here.assign(square=here["M_error"] ** 2).groupby("attack")[["square", "victims"]]
        squares, victims = people.mean().loc[by_seed.index].to_numpy(dtype=float).T
        ends = worst_of.ends_of_one_target(values, np.sqrt(squares), victims)
    else:
        ends = worst_of.ends(values)
    return str(means.idxmax()), Estimate(float(means.max()), *ends)


def _seeds(source: Source, row: Mapping[Any, Any]) -> pd.DataFrame:
    """The finished trials of a row of a board."""
    return source.finished.get(tuple(row[name] for name in ROW), source.boards.seeds.iloc[:0])


def _rows(source: Source, of: Scenario, goal: str) -> pd.DataFrame:
    return _of(source.boards.rows, of, goal)


def _of(table: pd.DataFrame, of: Scenario, goal: str) -> pd.DataFrame:
    return table[
        (table["dataset"] == of.dataset) & (table["model"] == of.model) & (table["goal"] == goal)
    ]


def goals(sources: Sequence[Source], of: Scenario) -> list[str]:
    """Goals with a board in this scenario."""
    return [goal for goal in goals_known() if any(len(_rows(s, of, goal)) for s in sources)]


def estimate(row: Mapping[Any, Any], name: str) -> Estimate:
    """The columns ``name``, ``name_lo`` and ``name_hi`` of a row."""
    return Estimate(*(float(row.get(f"{name}{end}", math.nan)) for end in ("", "_lo", "_hi")))
