"""What the worst attack on a table says of people: how sure, and of whom most (PROTOCOL 2.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.report.frame import UNDEFENDED
from bench.report.text import ABSENT, estimate, number

GOALS = ("attribute", "attribute_observed")
_CELL = ["dataset", "model", "defense", "attack"]

Row = dict[str, Any]


def told(rows: pd.DataFrame, frame: pd.DataFrame, gains: pd.DataFrame) -> list[Row]:
    """For each defense of a board, its worst attack in the field's own metrics.

    Args:
        rows: of one board.
        frame: trials.
        gains: as :class:`bench.report.facts.Facts` holds them.

    Returns:
        Undefended first; empty for other goals. The worst subgroup is the one with the greatest
        mean gain, so its figure is biased upwards, like every maximum.
    """
    if rows["goal"].iloc[0] not in GOALS:
        return []
    done = frame[(frame["status"] == "done") & (frame["control"] == "")]
    order = rows.assign(last=rows["defense"] != UNDEFENDED).sort_values("last", kind="stable")
    out: list[Row] = []
    for row in order.to_dict("records"):
        # Where a defense does not act, its row would repeat the undefended one.
        if not row["worst_attack"] or "no_effect" in row["flags"].split(";"):
            continue
        place = {**row, "attack": row["worst_attack"]}
        trials = _at(done, place)
        if trials.empty:
            continue
        mean = {
            name: float(value) if pd.notna(value) else math.nan
            for name, value in trials.mean(numeric_only=True).items()
        }
        groups = _at(gains, place)
        worst = max(groups.to_dict("records"), key=lambda g: g["gain"], default=None)
        out.append({
            "defense": row["defense"], "attack": row["worst_attack"],
            "metric": trials["score_metric"].iloc[0],
            "score": number(mean["score"], 3), "base": number(mean["s_base"], 3),
            **{name: number(mean.get(name, math.nan))
               for name in ("ppv_top_10", "ppv_top_100", "ppv_top_10pct", "mcc", "g_mean",
                            "accuracy", "majority_rate")},
            "group": ABSENT if worst is None else worst["group"],
            "gain": ABSENT if worst is None else estimate(worst, "gain", signed=True),
        })  # fmt: skip
    return out


def _at(table: pd.DataFrame, place: Mapping[Any, Any]) -> pd.DataFrame:
    mask = pd.Series(True, index=table.index)
    for name in _CELL:
        mask &= table[name] == place[name]
    return table[mask]
