"""What packs say of one scenario: boards, usefulness and facts, ready for a rule to judge."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pandas as pd

from bench.contract.access import ACCESS_ORDER, Access, at_least
from bench.contract.errors import nearest, require
from bench.contract.record import TrialRecord
from bench.exchange.pack import Pack
from bench.goals import goal_named
from bench.goals import goals as goals_known
from bench.report import frame, worst_of
from bench.report.boards import Boards
from bench.report.boards import build as build_boards
from bench.report.closure import ROW
from bench.report.facts import Facts
from bench.report.frame import BASELINE, UNDEFENDED, bare_name, flagged, flags_of
from bench.report.text import allowed, words

NO_EVIDENCE = ("void", "weak_attack", "no_headroom")
"""Flags that leave a board without evidence."""


@dataclass(frozen=True)
class Estimate:
    """A mean with the ends of its 95 % interval; NaN where it is not known."""

    value: float = math.nan
    lo: float = math.nan
    hi: float = math.nan

    @property
    def known(self) -> bool:
        """Whether there is a figure with an interval."""
        return math.isfinite(self.value) and math.isfinite(self.lo) and math.isfinite(self.hi)


UNKNOWN = Estimate()


@dataclass(frozen=True)
class Met:
    """One attack that the defense met; L is not clipped."""

    attack: str
    L: Estimate
    M: Estimate


@dataclass(frozen=True)
class Measured:
    """A defense on one board.

    Attributes:
        goal: of the adversary.
        access: of the board: what was asked, or the next stronger one.
        budget: of the board: most queries of an attack, infinite without limit.
        source: suite the board is of.
        L: worst-case leakage. M: of members, by the same attack.
        attack: the strongest one.
        adaptive: attacks that adapt to the defense and ran.
        n_seeds: independently trained targets that were attacked.
        flags: of the row.
        planned: trials that were planned for the row.
        lost: how many of them have no record.
        lessens: whether it is clear of chance that it leaks less than the undefended target.
        withheld: no attack of the board's own access could run: the defense gives less away.
        unmet: attacks that ran against the undefended target there, but not against this.
        members: the attack that tells members apart best, and the largest M of all attacks.
        met: every attack.
    """

    goal: str
    access: str
    budget: float
    source: str
    L: Estimate
    M: Estimate
    attack: str
    adaptive: tuple[str, ...]
    n_seeds: int
    flags: frozenset[str]
    planned: int
    lost: int
    lessens: bool
    withheld: bool
    unmet: tuple[str, ...]
    members: tuple[str, Estimate]
    met: tuple[Met, ...]

    @property
    def where(self) -> str:
        """The board in words: ``attribute with scores, at most 1,000 queries``."""
        return f"{words(self.goal)} with {allowed(self.access, self.budget)}"

    @property
    def raw(self) -> Estimate:
        """L of the strongest attack before clipping: below 0 it did worse than without a model."""
        return next((m.L for m in self.met if m.attack == self.attack), self.L)

    @property
    def judged_M(self) -> tuple[str, Estimate]:
        """The strongest attack's M or that of ``members``, whichever reaches higher."""
        pairs = [pair for pair in ((self.attack, self.M), self.members) if pair[1].known]
        return max(pairs, key=lambda pair: pair[1].hi, default=(self.attack, self.M))


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
        verification: what 'invbench verify --write' noted; empty: nobody did.
        pack_digest: of the pack that was read; empty where the store was.
        submitter: who made the pack.
    """

    suite: str
    table: pd.DataFrame
    facts: Facts
    boards: Boards
    digest: str
    verification: Mapping[str, Any] = field(default_factory=dict)
    pack_digest: str = ""
    submitter: str = ""

    @property
    def refuted(self) -> bool:
        """Whether whoever re-ran it found something else."""
        return self.verification.get("outcome") == "failed"

    @property
    def verified_by(self) -> str:
        """Who else re-ran trials of this very pack and found the same; empty: nobody."""
        told = self.verification
        same = not self.pack_digest or told.get("pack") == self.pack_digest
        by = str(told.get("by", ""))
        good = same and told.get("outcome") == "verified" and by != self.submitter
        return by if good else ""

    def trials(self, scenario: Scenario) -> pd.DataFrame:
        """The scenario's rows of the table, controls left out."""
        here = (self.table["dataset"] == scenario.dataset) & (self.table["model"] == scenario.model)
        return self.table[here & (self.table["control"] == "")]


def read(packs: Iterable[Pack]) -> tuple[Source, ...]:
    """The evidence of some packs; each is read once, and the same evidence counts once."""
    found = []
    for pack in packs:
        digests: list[bytes] = []
        records = _digested(pack.records, digests)
        table, facts = frame.read(records, pack.suite, pack.manifest.get("trials"))
        found.append(
            Source(
                pack.suite,
                table,
                facts,
                build_boards(table),
                hashlib.sha256(b"".join(sorted(digests))).hexdigest(),
                pack.notes.get("verification") or {},
                pack.digest,
                str(pack.notes.get("submitter") or ""),
            )
        )
    return tuple({source.digest: source for source in found}.values())


def about(sources: Sequence[Source], of: Scenario) -> list[Source]:
    """Those that have a board of the scenario; what others say is no evidence here."""
    place = (of.dataset, of.model)
    return [
        s
        for s in sources
        if place in set(s.boards.rows[["dataset", "model"]].itertuples(index=False, name=None))
    ]


def _digested(records: Iterable[TrialRecord], digests: list[bytes]) -> Iterator[TrialRecord]:
    for record in records:
        digests.append(hashlib.sha256(record.model_dump_json().encode()).digest())
        yield record


def scenario(sources: Sequence[Source], dataset: str = "", model: str = "") -> Scenario:
    """The scenario that is named, or the only one there is.

    Raises:
        UserError: there is none, or several.
    """
    pairs = sorted(
        {
            (str(row.dataset), str(row.model))
            for source in sources
            for row in source.boards.rows.itertuples()
        }
    )
    require(bool(pairs), "The evidence has no board: nothing in it was attacked.")
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
    name, net = fitting[0]
    card = next(s.facts.cards[name] for s in sources if name in s.facts.cards)
    return Scenario(name, net, card.sector, card.modality)


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
                )
            )
    return found


def _on(table: pd.DataFrame, of: Scenario, goal: str, at: str, budget: float) -> pd.DataFrame:
    """What a table says of one board."""
    here = _of(table, of, goal)
    return here[(here["access"] == at) & (here["budget"] == budget)]


def _names(attacks: pd.DataFrame, defense: str) -> set[str]:
    """Attacks on a defense, however they send their queries."""
    return {bare_name(name) for name in attacks.loc[attacks["defense"] == defense, "attack"]}


def _members(source: Source, row: Mapping[Any, Any]) -> tuple[str, Estimate]:
    """The attack with the largest M, and the interval of the largest M of all attacks."""
    table = source.boards.seeds
    here = table.dropna(subset="M")
    for name in ROW:
        here = here[here[name] == row[name]]
    if here.empty:
        return "", Estimate()
    by_seed = here.pivot(index="attack", columns="seed", values="M")
    means = by_seed.mean(axis=1)
    ends = worst_of.ends(by_seed.to_numpy(dtype=float))
    return str(means.idxmax()), Estimate(float(means.max()), *ends)


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


def not_tested(sources: Sequence[Source], of: Scenario, access: Access) -> list[str]:
    """What the evidence says nothing about, in sentences."""
    have, out = goals(sources, of), []
    out += [f"{s.suite}: {s.facts.coverage.sentence}." for s in sources if s.facts.coverage.lost]
    never = [
        f"{goal.words.code} ({goal.words.event})"
        for name, goal in goals_known().items()
        if name not in have
    ]
    if never:
        out.append(f"Not attacked at all: {'; '.join(never)}.")
    less = [goal_named(g).words.code for g in have if not level(sources, of, g, access)[0]]
    if less:
        out.append(f"Attacked only with less access than {access}: {', '.join(less)}.")
    weak = sorted(
        {
            f"{row.goal} with {row.access}".replace("_", " ")
            for rows in (s.boards.rows for s in sources)
            for row in rows[flagged(rows, "weak_attack")].itertuples()
            if (row.dataset, row.model) == (of.dataset, of.model)
        }
    )
    if weak:
        out.append(f"Attacks were too weak to tell anything on: {', '.join(weak)}.")
    seen = {a for s in sources for a in _ran(s, of)}
    out.append(
        f"{len(seen)} attacks ran; one that is published tomorrow may find more. Other data than "
        f"'{of.dataset}', other models than '{of.model}', and drift since were not measured."
    )
    out.append(
        "Not looked at: extraction of the model, poisoning and the security of the serving system."
    )
    return out


def _ran(source: Source, of: Scenario) -> set[str]:
    table = source.trials(of)
    return set(table.loc[table["access"] != BASELINE, "attack"])
