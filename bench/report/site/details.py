"""The finer print of a board: seeds, attacks, cost, privacy budgets, pictures, commands."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.contract.ledger import PrivacyLedger
from bench.contract.names import words
from bench.report import canaries
from bench.report.boards import BoardKey
from bench.report.facts import Facts
from bench.report.frame import UNDEFENDED, dicts, flags_of
from bench.report.site import cells
from bench.report.site.suite import Suite
from bench.report.text import ABSENT, estimate, interval, number

Row = dict[str, Any]


def checks(suite: Suite, table: pd.DataFrame) -> list[Row]:
    """Controls, one line each, scenario by scenario."""
    return [
        {
            "scenario": suite.scenario(row),
            "code": row["code"],
            "claim": row["claim"],
            "of": suite.known(row["of"]),
            "value": number(row["value"], 3),
            "interval": interval(row["lo"], row["hi"], 3),
            "bar": row["bar"],
            "state": row["state"],
        }
        for row in dicts(table)
    ]


def seeds(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Every seed of each row's worst attack on one board, out of all its finished trials."""
    picked = rows[["defense", "worst_attack"]].rename(columns={"worst_attack": "attack"})
    found: pd.DataFrame = table.merge(picked, on=["defense", "attack"])
    return found.sort_values(["defense", "seed"], kind="stable")


def gallery(
    rows: pd.DataFrame, key: BoardKey, pictures: Mapping[tuple[str, ...], Row]
) -> list[Row]:
    """What the worst attack made of each defense that acts, undefended first."""
    order = rows.sort_values("defense", key=lambda d: d != UNDEFENDED, kind="stable")
    return [
        {"defense": row["defense"], "attack": row["worst_attack"], "L": number(row["L"])} | picture
        for row in dicts(order)
        if "no_effect" not in flags_of(row)
        for picture in [pictures.get((key.dataset, key.model, row["defense"], row["worst_attack"]))]
        if picture
    ]


def privacy(rows: pd.DataFrame, key: BoardKey, trials: pd.DataFrame, facts: Facts) -> list[Row]:
    """Budgets of differentially private rows: of what, by whom counted, tuning included or not.

    Args:
        rows: of one board.
        key: which board.
        trials: of its data set and model.
        facts: of the suite.
    """
    private = rows[rows["epsilon"].notna()]
    if private.empty:
        return []
    done = trials[trials["status"] == "done"]
    audited = {str(row["defense"]): row for row in dicts(canaries.audits(done, ["defense"]))}
    out = []
    for row in dicts(private.sort_values("epsilon")):
        ledger = facts.ledgers.get((key.dataset, key.model, row["defense"]))
        if ledger is None:
            continue
        out.append(
            {
                "defense": row["defense"],
                "epsilon": number(row["epsilon"]),
                "delta": f"{ledger.delta:.2g}",
                "unit": ledger.unit,
                "relation": words(ledger.neighbour_relation),
                "accountant": ledger.accountant,
                "rdp": number(ledger.epsilon_rdp),
                "most": number(row["advantage"]) if math.isfinite(row["advantage"]) else ABSENT,
                "gap": number(row["M_most"]) if math.isfinite(row["M_most"]) else ABSENT,
                "sampling": f"{words(ledger.sampling)}, {ledger.steps:,} steps",
                "noise": f"{ledger.noise_multiplier:.3g}",
                "tuning": tuning_basis(ledger),
                "audited": canaries.sentence(audited[row["defense"]]),
                "rng": ledger.rng,
            }
        )
    return out


def tuning_basis(ledger: PrivacyLedger) -> str:
    """How tuning entered the budget."""
    basis = words(ledger.epsilon_total_basis)
    if ledger.epsilon_total is None:
        return f"tuning: {basis}"
    return f"tuning: {basis}, \N{GREEK SMALL LETTER EPSILON} {ledger.epsilon_total:.2f} in all"


def costs(
    rows: pd.DataFrame,
    attacks: pd.DataFrame,
    training: Mapping[tuple[str, str, str], float],
    answering: Mapping[tuple[str, str, str], float],
) -> list[Row]:
    """What each defense costs its owner, and its worst attack the attacker.

    Args:
        rows: of one board.
        attacks: on it.
        training: seconds by data set, model and defense.
        answering: milliseconds for 1,000 answers; where none is known ``answers`` is empty.
    """
    place = (rows["dataset"].iloc[0], rows["model"].iloc[0])
    known = any((*place, defense) in answering for defense in rows["defense"])
    worst = {(row["defense"], row["attack"]): row for row in dicts(attacks)}
    order = rows.assign(last=rows["defense"] != UNDEFENDED).sort_values("last", kind="stable")
    out = []
    for row in dicts(order):
        effort = worst.get((row["defense"], row["worst_attack"]), {})
        out.append(
            {
                "defense": row["defense"],
                "training": cells.times(training, place, row["defense"]),
                "answers": cells.times(answering, place, row["defense"]) if known else (),
                "utility": estimate(row, "dU", 3, signed=True)
                if row["defense"] != row["against"]
                else "",
                "attack": row["worst_attack"] or ABSENT,
                "queries": cells.count(effort.get("queries", math.nan)),
                "seconds": cells.duration(effort.get("attack_s", math.nan)),
            }
        )
    return out


def commands(rows: pd.DataFrame, given: Mapping[str, Any], packs: Mapping[str, str]) -> Row:
    """How to make the board again, and one trial of each row.

    Args:
        rows: of one board.
        given: provenance.
        packs: by trial, the pack that it is in.
    """
    return {
        "run": given.get("command", ""),
        "rows": [
            {
                "defense": row["defense"],
                "attack": row["worst_attack"],
                "command": shlex.join(
                    ["invbench", "reproduce", row["trial_id"]]
                    + (["--from", packs[row["trial_id"]]] if row["trial_id"] in packs else [])
                ),
            }
            for row in dicts(rows)
            if row["trial_id"]
        ],
    }
