"""What an account may have learned: leakage of the attacks that its queries suffice for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


def learned(
    sources: Sequence[Source], of: Scenario, defense: str, access: Access, asked: int
) -> Iterator[Learned]:
    """What ``asked`` queries are worth against a defense, by goal.

    An attack counts for what it asked in the evidence, all its victims together. Attacks with more
    access than the account had, and those that ask more, say nothing of it: no figure is guessed
    from them.

    Args:
        sources: the evidence.
        of: the scenario.
        defense: the row that guards the model.
        access: what the account had.
        asked: queries of the account.
    """
    for goal in evidence.goals(sources, of):
        attacks = [table for s in sources if len(table := _attacks(s, of, defense, goal))]
        if not attacks:
            yield _none(goal, asked, f"the evidence has no attack on '{defense}'")
            continue
        table = pd.concat(attacks, ignore_index=True)
        table = table[table["attack_access"].isin([a for a in ACCESS_ORDER if at_least(access, a)])]
        if table.empty:
            yield _none(goal, asked, f"no attack was measured with {access} or less")
            continue
        able = sorted(table.dropna(subset="needs").to_dict("records"), key=lambda r: r["needs"])
        rows = {str(row["attack"]): row for row in able if row["needs"] <= asked}
        if not rows:
            few = _least(able[0]) if able else ""
            yield _none(goal, asked, f"the boards hold no attack with so few queries{few}")
            continue
        name, leakage = highest(
            [(attack, evidence.estimate(row, "L")) for attack, row in rows.items()]
        )
        doubts = sorted({*NO_EVIDENCE} & {flag for row in rows.values() for flag in row["doubts"]})
        yield Learned(
            goal,
            asked,
            name,
            int(rows[name]["needs"]),
            leakage,
            len(rows),
            f"the board is flagged {', '.join(doubts)}" if doubts else "",
        )


def _least(attack: Mapping[Any, Any]) -> str:
    """What the attack with the fewest queries took, and that fewer victims take fewer."""
    victims = attack["victims"]
    some = f" on {int(victims):,} victims together" if victims > 0 else ""
    return (
        f": {int(attack['needs']):,} at least{some}, and whoever attacks fewer victims needs fewer"
    )


def _none(goal: str, asked: int, sentence: str) -> Learned:
    return Learned(goal, asked, "", 0, UNKNOWN, 0, sentence)


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
