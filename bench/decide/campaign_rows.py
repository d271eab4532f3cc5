"""Attacks on one model and defenses before it as plain rows, and how they changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from scipy.stats import norm

from bench.decide.evidence import Source
from bench.report.frame import UNDEFENDED, dicts
from bench.report.stats import ALPHA

Row = Mapping[str, Any]
_FIGURES = ("L", "L_lo", "L_hi", "M", "M_lo", "M_hi")
_ATTACK = ("goal", "access", "attack", *_FIGURES, "queries")
_DEFENSE = ("goal", "defense", *_FIGURES, "utility", "dU", "dU_lo", "dU_hi", "worst_attack")


def attacks_of(source: Source) -> list[dict[str, Any]]:
    """Every attack on the model as it is, without a limit to its queries."""
    table = source.boards.attacks
    own = table[
        (table["defense"] == UNDEFENDED)
        & (table["attack_access"] == table["access"])
        & table["budget"].map(math.isinf)
        & (table["n_done"] > 0)
    ]
    return _plain(own.sort_values("L", ascending=False, kind="stable"), _ATTACK)


def defenses_of(source: Source, access: str) -> list[dict[str, Any]]:
    """Every defense before the model, for who has ``access``."""
    rows = source.boards.rows
    own = rows[(rows["access"] == access) & rows["budget"].map(math.isinf)]
    return _plain(own.sort_values(["goal", "L"], kind="stable"), _DEFENSE)


def _plain(table: pd.DataFrame, names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            name: None
            if isinstance(row[name], float) and not math.isfinite(row[name])
            else row[name]
            for name in names
        }
        for row in dicts(table)
    ]


def compared(now: Sequence[Row], last: Sequence[Row]) -> list[dict[str, Any]]:
    """The attacks that ran both times: how L changed, and whether that is more than chance.

    The two campaigns are taken for independent, so that the test errs on the side of no change
    where they share victims.
    """
    before = {(row["goal"], row["access"], row["attack"]): row for row in last}
    out = []
    for row in now:
        old = before.get((row["goal"], row["access"], row["attack"]))
        if old is None or row["L"] is None or old["L"] is None:
            continue
        change = row["L"] - old["L"]
        errors = [_error(one) for one in (row, old)]
        known = all(error is not None for error in errors)
        reach = norm.isf(ALPHA / 2) * math.hypot(*(e for e in errors if e is not None))
        clear = known and abs(change) > reach
        out.append(
            {
                "goal": row["goal"],
                "access": row["access"],
                "attack": row["attack"],
                "L": row["L"],
                "L_last": old["L"],
                "change": change,
                "verdict": ("more" if change > 0 else "less") if clear else "no clear change",
            }
        )
    return out


def _error(row: Row) -> float | None:
    if row["L_lo"] is None or row["L_hi"] is None:
        return None
    return float(row["L_hi"] - row["L_lo"]) / 2 / float(norm.isf(ALPHA / 2))
