"""What the worst attack on a table says of people: how sure, and of whom most (PROTOCOL 2.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.contract.record import TrialRecord
from bench.report import stats
from bench.report.frame import UNDEFENDED
from bench.report.text import ABSENT, estimate, number

GOALS = ("attribute", "attribute_observed")
_CELL = ["dataset", "model", "defense", "attack"]

Row = dict[str, Any]


def group_gains(records: Sequence[TrialRecord]) -> pd.DataFrame:
    """Gain over the baseline in every subgroup, averaged over seeds.

    Returns:
        A row for each ``dataset``, ``model``, ``defense``, ``attack`` and ``group``: ``gain`` with
        the ends of its interval.
    """
    found = [
        (*(getattr(r.cell, name) for name in _CELL), r.cell.seed, group, gain)
        for r in records
        if r.status == "done" and not r.control and r.score is not None
        for group, gain in r.score.group_gain.items()
    ]
    table = pd.DataFrame(found, columns=[*_CELL, "seed", "group", "gain"])
    if table.empty:
        return table.assign(gain_lo=0.0, gain_hi=0.0, gain_n=0)
    return stats.summarise(table, [*_CELL, "group"], ["gain"])


def told(rows: pd.DataFrame, frame: pd.DataFrame, gains: pd.DataFrame) -> list[Row]:
    """For each defense of a board, its worst attack in the field's own metrics.

    Args:
        rows: of one board.
        frame: trials.
        gains: as :func:`group_gains` gives them.

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
