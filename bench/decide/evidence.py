"""What packs say of one scenario: boards, usefulness and facts, ready for a rule to judge."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pandas as pd

from bench.contract.errors import nearest, require
from bench.contract.exposure import ACCESS_ORDER, Access, at_least
from bench.contract.record import TrialRecord
from bench.report import frame, stats
from bench.report.boards import Boards
from bench.report.boards import build as build_boards
from bench.report.facts import Facts
from bench.report.frame import BASELINE, UNDEFENDED
from bench.report.pack import Pack

GOALS: Mapping[str, tuple[str, str]] = {
    "class_representative": ("G1", "the picture of a person is made from their class"),
    "output_reconstruction": ("G2", "a user's input is rebuilt from what the model answers"),
    "attribute": ("G3", "a secret attribute of a known person is inferred"),
    "training_instance": ("G4", "records the model was trained on are rebuilt"),
    "gradient_reconstruction": ("G5", "a client's records are rebuilt from shared updates"),
    "attribute_observed": ("G3_observed", "the same, having seen answers for complete records"),
}  # fmt: skip
"""Goals of an adversary: the protocol's code and what happens (PROTOCOL 1.1)."""
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


@dataclass(frozen=True)
class Measured:
    """A defense on one board.

    Attributes:
        goal: of the adversary.
        access: of the board: what was asked, or the next stronger one.
        source: suite the board is of.
        L: worst-case leakage. M: of members, by the same attack.
        attack: the strongest one.
        adaptive: attacks that adapt to the defense and ran.
        n_seeds: independently trained targets behind the figures.
        flags: of the row.
        withheld: no attack of the board's own access could run: the defense gives less away.
        most_M: the attack that says most of members by the upper end of its M, and that M.
    """

    goal: str
    access: str
    source: str
    L: Estimate
    M: Estimate
    attack: str
    adaptive: tuple[str, ...]
    n_seeds: int
    flags: frozenset[str]
    withheld: bool
    most_M: tuple[str, Estimate] = ("", Estimate())


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
    """

    suite: str
    table: pd.DataFrame
    facts: Facts
    boards: Boards
    digest: str
    verification: Mapping[str, Any] = field(default_factory=dict)
    pack_digest: str = ""

    @property
    def refuted(self) -> bool:
        """Whether whoever re-ran it found something else."""
        return self.verification.get("outcome") == "failed"

    @property
    def verified_by(self) -> str:
        """Who re-ran trials of this very pack and found the same; empty: nobody."""
        told = self.verification
        same = not self.pack_digest or told.get("pack") == self.pack_digest
        return str(told.get("by", "")) if same and told.get("outcome") == "verified" else ""

    def capped(self, queries: int) -> Source:
        """Without the attacks that asked more, of each defense; they were not run with less."""
        by = ["dataset", "model", "defense", "attack"]
        most = self.table.groupby(by)["queries"].transform("max").fillna(0)
        kept = self.table[(most <= queries) | (self.table["control"] != "")]
        return replace(self, table=kept, boards=build_boards(kept))

    def trials(self, scenario: Scenario) -> pd.DataFrame:
        """The scenario's rows of the table, controls left out."""
        here = (self.table["dataset"] == scenario.dataset) & (self.table["model"] == scenario.model)
        return self.table[here & (self.table["control"] == "")]


def read(packs: Iterable[Pack]) -> tuple[Source, ...]:
    """The evidence of some packs; each is read once."""
    found = []
    for pack in packs:
        digests: list[bytes] = []
        table, facts = frame.read(_digested(pack.records, digests), pack.suite)
        found.append(Source(
            pack.suite, table, facts, build_boards(table),
            hashlib.sha256(b"".join(sorted(digests))).hexdigest(),
            pack.notes.get("verification") or {},
            pack.digest,
        ))  # fmt: skip
    return tuple(found)


def _digested(records: Iterable[TrialRecord], digests: list[bytes]) -> Iterator[TrialRecord]:
    for record in records:
        digests.append(hashlib.sha256(record.model_dump_json().encode()).digest())
        yield record


def scenario(sources: Sequence[Source], dataset: str = "", model: str = "") -> Scenario:
    """The scenario that is named, or the only one there is.

    Raises:
        UserError: there is none, or several.
    """
    pairs = sorted({
        (str(row.dataset), str(row.model))
        for source in sources for row in source.boards.rows.itertuples()
    })  # fmt: skip
    require(bool(pairs), "The evidence has no board: nothing in it was attacked.")
    for axis, name in (("dataset", dataset), ("model", model)):
        known = {pair[axis == "model"] for pair in pairs}
        require(not name or name in known, f"The evidence has no {axis} '{name}'."
                f"{nearest(name, known)}")  # fmt: skip
    fitting = [pair for pair in pairs if dataset in ("", pair[0]) and model in ("", pair[1])]
    require(
        len(fitting) == 1,
        "The evidence holds several scenarios; name one with --dataset and --model: "
        f"{', '.join('/'.join(pair) for pair in fitting or pairs)}.",
    )
    name, net = fitting[0]
    card = next(s.facts.cards[name] for s in sources if name in s.facts.cards)
    return Scenario(name, net, card.sector, card.modality)


def level(sources: Sequence[Source], of: Scenario, goal: str, access: Access) -> str:
    """The least access, ``access`` or stronger, with a board; empty where there is none."""
    if access == "gradients" and goal != "gradient_reconstruction":
        access = "weights"  # who sees updates holds the weights; no more is known of the answers
    found = {
        str(row.access) for s in sources for row in _rows(s, of, goal).itertuples()
        if at_least(cast(Access, row.access), access)
    }  # fmt: skip
    return next((name for name in ACCESS_ORDER if name in found), "")


def measured(
    sources: Sequence[Source], of: Scenario, goal: str, access: Access
) -> dict[str, list[Measured]]:
    """Every defense's rows for a goal at the exposed access, or the next stronger that has any."""
    at = level(sources, of, goal, access)
    found: dict[str, list[Measured]] = {}
    for source in sources:
        rows = _rows(source, of, goal)
        for row in rows[rows["access"] == at].to_dict("records"):
            attacks = source.boards.attacks
            here = attacks[
                (attacks["dataset"] == of.dataset) & (attacks["model"] == of.model)
                & (attacks["goal"] == goal) & (attacks["access"] == at)
                & (attacks["n_done"] > 0)
            ]  # fmt: skip
            mine = here[here["defense"] == row["defense"]]
            bare = here[here["defense"] == UNDEFENDED]
            own = at in set(bare["attack_access"]) and at not in set(mine["attack_access"])
            found.setdefault(row["defense"], []).append(Measured(
                goal, at, source.suite, estimate(row, "L"), estimate(row, "M"),
                str(row["worst_attack"]),
                tuple(sorted(mine.loc[mine["adaptive"].eq(True), "attack"])),
                int(row["n_seeds"]), frozenset(f for f in row["flags"].split(";") if f), own,
                _most(mine),
            ))  # fmt: skip
    return found


def _most(attacks: pd.DataFrame) -> tuple[str, Estimate]:
    known = attacks[attacks["M_hi"].notna()].sort_values(["M_hi", "attack"])
    if known.empty:
        return "", Estimate()
    row = known.iloc[-1]
    return str(row["attack"]), estimate(row.to_dict(), "M")


def _rows(source: Source, of: Scenario, goal: str) -> pd.DataFrame:
    rows = source.boards.rows
    return rows[
        (rows["dataset"] == of.dataset) & (rows["model"] == of.model) & (rows["goal"] == goal)
    ]


def goals(sources: Sequence[Source], of: Scenario) -> list[str]:
    """Goals with a board in this scenario."""
    return [goal for goal in GOALS if any(len(_rows(s, of, goal)) for s in sources)]


def estimate(row: Mapping[Any, Any], name: str) -> Estimate:
    """The columns ``name``, ``name_lo`` and ``name_hi`` of a row."""
    return Estimate(*(float(row.get(f"{name}{end}", math.nan)) for end in ("", "_lo", "_hi")))


@dataclass(frozen=True)
class Use:
    """How useful a defended target is, and what that costs."""

    utility: Estimate = Estimate()
    loss: Estimate = Estimate()
    """dU: the difference to ``none``, paired by seed; a loss is negative."""
    metric: str = "utility"
    comparable: bool = True
    """Whether it is told in the same metric as the others'."""
    train_s: float = math.nan
    n_params: float = math.nan
    public_records: float = 0.0


def usefulness(sources: Sequence[Source], of: Scenario, metric: str) -> tuple[str, dict[str, Use]]:
    """Use by defense, in ``metric`` where the undefended target has it; else in the boards' own.

    A defense that lacks the metric (there is no AUROC of labels) is told in the boards' own. Where
    several sources have a defense, that with the lowest end of utility counts.
    """
    tables = [t for t in (_finished(s, of) for s in sources) if len(t)]
    if not tables:
        return metric, {}
    own, wanted = str(tables[0]["utility_metric"].iloc[0]), f"utility_{metric}"
    bare = [t.loc[t["defense"] == UNDEFENDED] for t in tables]
    have = metric != own and all(wanted in t and t[wanted].notna().any() for t in bare)
    found: dict[str, Use] = {}
    for table in tables:
        full = table[wanted].notna().groupby(table["defense"]).all() if have else None
        costs = table.groupby("defense")[["train_s", "n_params", "public_records"]].mean()
        for column, name in [("utility", own), *([(wanted, metric)] if have else [])]:
            seeds = table.groupby(["defense", "seed"], as_index=False)[[column]].mean()
            reference = seeds[seeds["defense"] == UNDEFENDED].set_index("seed")[column]
            seeds["dU"] = seeds[column] - seeds["seed"].map(reference)
            for row in stats.summarise(seeds, ["defense"], [column, "dU"]).to_dict("records"):
                defense = row["defense"]
                if full is not None and bool(full[defense]) != (column == wanted):
                    continue
                cost = costs.loc[defense]
                use = Use(
                    estimate(row, column), estimate(row, "dU"), name, not have or name == metric,
                    float(cost["train_s"]), float(cost["n_params"]), float(cost["public_records"]),
                )  # fmt: skip
                if defense not in found or use.utility.lo < found[defense].utility.lo:
                    found[defense] = use
    return metric if have else own, found


def _finished(source: Source, of: Scenario) -> pd.DataFrame:
    table = source.trials(of)
    return table[(table["status"] == "done") & table["utility"].notna()]


def not_tested(sources: Sequence[Source], of: Scenario, access: Access) -> list[str]:
    """What the evidence says nothing about, in sentences."""
    have, out = goals(sources, of), []
    never = [f"{code} ({what})" for goal, (code, what) in GOALS.items() if goal not in have]
    if never:
        out.append(f"Not attacked at all: {'; '.join(never)}.")
    less = [GOALS[g][0] for g in have if not level(sources, of, g, access)]
    if less:
        out.append(f"Attacked only with less access than {access}: {', '.join(less)}.")
    weak = sorted({
        f"{row.goal} with {row.access}".replace("_", " ")
        for s in sources for row in s.boards.rows.itertuples()
        if (row.dataset, row.model) == (of.dataset, of.model)
        and "weak_attack" in str(row.flags).split(";")
    })  # fmt: skip
    if weak:
        out.append(f"Attacks were too weak to tell anything on: {', '.join(weak)}.")
    seen = {a for s in sources for a in _attacks(s, of)}
    out.append(
        f"Attacks other than the {len(seen)} that ran; an attack that is published tomorrow may "
        "find more. Other data than "
        f"'{of.dataset}', other models than '{of.model}', and drift since were not measured."
    )
    out.append("Extraction of the model, poisoning and the security of the serving system.")
    return out


def _attacks(source: Source, of: Scenario) -> set[str]:
    table = source.trials(of)
    return set(table.loc[table["access"] != BASELINE, "attack"])
