"""What the worst attack on a table says of people: how sure, and of whom most (PROTOCOL 2.3)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench.goals import goal_named
from bench.report.frame import UNDEFENDED, dicts, flags_of
from bench.report.text import ABSENT, estimate, number

_METRICS = (
    "ppv_top_10",
    "ppv_top_100",
    "ppv_top_10pct",
    "mcc",
    "g_mean",
    "accuracy",
    "majority_rate",
)
_CELL = ["defense", "attack"]

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
    if not goal_named(rows["goal"].iloc[0]).hides_attribute:
        return []
    done = _here(frame[(frame["status"] == "done") & (frame["control"] == "")], rows)
    trials = done.groupby(_CELL)
    means = trials[["score", "s_base", *_METRICS]].mean()
    mean = dict(zip(means.index, dicts(means), strict=True))
    metric = trials["score_metric"].first().to_dict()
    groups: dict[tuple[str, str], list[Row]] = {}
    for group in dicts(_here(gains, rows)):
        groups.setdefault((group["defense"], group["attack"]), []).append(group)
    order = rows.assign(last=rows["defense"] != UNDEFENDED).sort_values("last", kind="stable")
    out: list[Row] = []
    for row in dicts(order):
        # Where a defense does not act, its row would repeat the undefended one.
        if not row["worst_attack"] or "no_effect" in flags_of(row):
            continue
        place = (row["defense"], row["worst_attack"])
        if place not in mean:
            continue
        worst = max(groups.get(place, ()), key=lambda g: g["gain"], default=None)
        out.append(
            {
                "defense": row["defense"],
                "attack": row["worst_attack"],
                "metric": metric[place],
                "score": number(mean[place]["score"], 3),
                "base": number(mean[place]["s_base"], 3),
                **{name: number(mean[place][name]) for name in _METRICS},
                "group": ABSENT if worst is None else worst["group"],
                "gain": ABSENT if worst is None else estimate(worst, "gain", signed=True),
            }
        )
    return out


def _here(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """What a table says of the targets of a board."""
    place = rows.iloc[0]
    here: pd.DataFrame = table[
        (table["dataset"] == place["dataset"]) & (table["model"] == place["model"])
    ]
    return here
