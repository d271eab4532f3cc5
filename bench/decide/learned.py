"""What an account may have learned: leakage of the attacks that its queries suffice for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.contract.access import ACCESS_ORDER, Access, at_least
from bench.decide import evidence
from bench.decide.evidence import NO_EVIDENCE, Scenario, Source
from bench.decide.figures import UNKNOWN, Estimate, highest
from bench.report.frame import flags_of


@dataclass(frozen=True)
class Learned:
    """What a number of queries is worth for one goal.

    Attributes:
        goal: of the adversary.
        asked: queries that were asked.
        attack: the strongest of those that need no more; empty: there is none.
        needs: most queries that it asked, over the seeds.
        L: its leakage, with the interval over seeds; not clipped.
        tried: how many attacks on the goal need no more.
        sentence: why there is no figure, or what to know of it; empty: nothing.
    """

    goal: str
    asked: int
    attack: str
    needs: int
    L: Estimate
    tried: int
    sentence: str


@dataclass(frozen=True)
class Offer:
    """What the evidence has on one goal against a defense, for an account of some access.

    Attributes:
        goal: of the adversary.
        attacks: rows of the boards with ``needs``, ``victims`` and ``doubts``, by ``needs``.
        sentence: why there are none; empty: there are some.
    """

    goal: str
    attacks: tuple[Mapping[Any, Any], ...]
    sentence: str


def offers(
    sources: Sequence[Source], of: Scenario, defense: str, access: Access
) -> tuple[Offer, ...]:
    """What an account with ``access`` could have run against a defense, by goal.

    Attacks with more access say nothing of it.

    Args:
        sources: the evidence.
        of: the scenario.
        defense: the row that guards the model.
        access: what the account had.
    """
    enough = [less for less in ACCESS_ORDER if at_least(access, less)]
    result = []
    for goal in evidence.goals(sources, of):
        tables = [t for s in sources if len(t := _attacks(s, of, defense, goal))]
        table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
        able = table[table["attack_access"].isin(enough)] if tables else table
        rows = able.dropna(subset="needs").to_dict("records") if len(able) else []
        sentence = "" if rows else f"no attack was measured with {access} or less"
        if not tables:
            sentence = f"the evidence has no attack on '{defense}'"
        result.append(Offer(goal, tuple(sorted(rows, key=lambda r: r["needs"])), sentence))
    return tuple(result)


def learned(offer: Offer, asked: int) -> Learned:
    """What ``asked`` queries are worth for a goal.

    An attack counts for what it asked in the evidence, all its victims together. Those that ask
    more say nothing: no figure is guessed from them.
    """
    rows = {str(row["attack"]): row for row in offer.attacks if row["needs"] <= asked}
    if not rows:
        few = f"the boards hold no attack with so few queries{_least(*offer.attacks[:1])}"
        return Learned(offer.goal, asked, "", 0, UNKNOWN, 0, offer.sentence or few)
    name, leakage = highest([(attack, evidence.estimate(row, "L")) for attack, row in rows.items()])
    doubts = sorted({*NO_EVIDENCE} & {flag for row in rows.values() for flag in row["doubts"]})
    return Learned(
        offer.goal,
        asked,
        name,
        int(rows[name]["needs"]),
        leakage,
        len(rows),
        f"the board is flagged {', '.join(doubts)}" if doubts else "",
    )


def _least(*attacks: Mapping[Any, Any]) -> str:
    """What the attack with the fewest queries took, and that fewer victims take fewer."""
    return "".join(
        f": {int(row['needs']):,} at least"
        + (f" on {int(row['victims']):,} victims together" if row["victims"] > 0 else "")
        + ", and whoever attacks fewer victims needs fewer"
        for row in attacks
    )


def _attacks(source: Source, of: Scenario, defense: str, goal: str) -> pd.DataFrame:
    """Attacks on the defense, each once, with what it ``needs`` and ``doubts`` of its board."""
    boards = source.boards
    place = {"dataset": of.dataset, "model": of.model, "defense": defense, "goal": goal}
    table, rows = (_where(part, place) for part in (boards.attacks, boards.rows))
    table = table[table["n_done"] > 0].drop_duplicates("attack").reset_index(drop=True)
    trials = _where(source.trials(of), {"defense": defense, "goal": goal})
    most = trials.groupby("attack")[["queries", "victims"]].max().astype(float)
    doubts = {(row["access"], row["budget"]): flags_of(row) for row in rows.to_dict("records")}
    keys = zip(table["access"], table["budget"], strict=True)
    return table.assign(
        needs=table["attack"].map(most["queries"]),
        victims=table["attack"].map(most["victims"]),
        doubts=pd.Series([tuple(doubts.get(key, ())) for key in keys], dtype=object),
    )


def _where(table: pd.DataFrame, wanted: dict[str, str]) -> pd.DataFrame:
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table
