"""Who was noticed: what each attack got before the watcher of its queries acted (PROTOCOL 7)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import CensoredData, binomtest, ecdf

from bench.report import stats
from bench.report.closure import BOARD, in_order
from bench.report.frame import BASELINE, UNDEFENDED, unstreamed
from bench.report.text import ABSENT, bounded, interval, natural, number

_OF = [*BOARD, "defense", "attack"]
_WATCHED = ["dataset", "model", "defense"]
_ANSWERS = ["queries", "refused", "cover", "accounts", "answered_before"]

COLUMNS = [
    *_OF,
    "stream",
    "campaigns",
    "detected",
    "stopped",
    "refused_share",
    "answered",
    "answered_most",
    "L",
    "L_lo",
    "L_hi",
    "L_none",
    "dL",
    "dL_lo",
    "dL_hi",
    "accounts",
    "queries",
    "refused",
    "cover",
    "blocked",
    "blocked_lo",
    "blocked_hi",
    "customers",
]
"""Columns of ``audit.csv``."""

Row = dict[str, Any]


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each attack, as it sends its queries, against each defense that watches.

    Args:
        frame: as :func:`bench.report.frame.build` gives it.

    Returns:
        ``COLUMNS``; a campaign is a finished trial. ``detected``, ``stopped`` and
        ``refused_share`` are shares of campaigns: in which a detector refused an account, which
        ended early, in which an account was refused for any reason. ``answered`` is the
        Kaplan-Meier median of the answers an account had at the first refusal, campaigns without
        one being censored; NaN where it lies beyond ``answered_most``, the most answers seen.
        ``L`` is what the answers given amount to; ``L_none`` and ``dL`` compare the same attack on
        ``none``, paired by seed. ``accounts``, ``queries``, ``refused`` and ``cover`` are means.
        ``blocked`` is the share of benign accounts refused something in a month, with the
        Clopper-Pearson interval, pooled over the seeds' ``customers``.
    """
    done = frame[
        (frame["status"] == "done") & (frame["control"] == "") & (frame["access"] != BASELINE)
    ]
    watched = done[done["customers"].notna()]
    if watched.empty:
        return pd.DataFrame(columns=COLUMNS)
    watched = watched.assign(refused_share=watched["answered_before"].notna().astype(float))
    groups = watched.groupby(_OF)
    means = ["detected", "stopped", "refused_share", "accounts", "queries", "refused", "cover"]
    table = groups[means].mean().astype("float64").reset_index()
    table = table.merge(groups.agg(campaigns=("seed", "size"), stream=("stream", "first")), on=_OF)
    table = table.merge(groups[_ANSWERS].apply(_answered).reset_index(), on=_OF)

    # Where nobody watches there is nobody to hide from: the attack stands there as it is.
    bare = watched["attack"].map(unstreamed)
    reference = done[done["defense"] == UNDEFENDED][[*BOARD, "attack", "seed", "L"]]
    reference = reference.rename(columns={"attack": "bare", "L": "L_none"})
    pairs = watched.assign(bare=bare).merge(reference, on=[*BOARD, "bare", "seed"])
    pairs = pairs.assign(dL=pairs["L"] - pairs["L_none"])
    table = table.merge(stats.summarise(watched, _OF, ["L"]), on=_OF, how="left")
    table = table.merge(stats.summarise(pairs, _OF, ["L_none", "dL"]), on=_OF, how="left")
    table = table.merge(_blocked(watched), on=_WATCHED)
    return in_order(table, ["defense", "attack"])[COLUMNS]


def shown(table: pd.DataFrame) -> list[Row]:
    """The rows of :func:`build` as people read them."""
    rows = [
        row
        for _, board in table.groupby(BOARD, sort=False)
        for row in sorted(board.to_dict("records"), key=lambda r: natural(r["defense"]))
    ]
    return [
        {
            **{name: row[name] for name in (*BOARD, "defense")},
            "attack": unstreamed(row["attack"]),
            "stream": row["stream"] or "one account",
            "campaigns": row["campaigns"],
            "detected": f"{row['detected']:.0%}",
            "stopped": f"{row['stopped']:.0%}",
            "answered": _median(row),
            **dict(
                zip(("L", "L_interval"), bounded(row["L"], row["L_lo"], row["L_hi"]), strict=True)
            ),
            "L_none": number(row["L_none"]),
            "dL": number(row["dL"], signed=True),
            "dL_interval": interval(row["dL_lo"], row["dL_hi"], signed=True),
            "accounts": number(row["accounts"], 1),
            "queries": f"{row['queries']:,.0f}",
            "blocked": number(1000 * row["blocked"], 1),
            "blocked_interval": interval(1000 * row["blocked_lo"], 1000 * row["blocked_hi"], 1),
            "customers": f"{row['customers']:,.0f}",
        }
        for row in rows
    ]


def _answered(campaigns: pd.DataFrame) -> pd.Series[float]:
    """Median of the answers before the first refusal, and the most answers seen."""
    refused = campaigns["answered_before"].notna()
    # Whoever was never refused has had at least so many answers from one account.
    answers = campaigns["queries"] + campaigns["cover"] - campaigns["refused"]
    least = (answers / campaigns["accounts"].clip(lower=1)).astype("float64")
    seen = campaigns["answered_before"].where(refused, least)
    if not refused.any():
        median = math.nan
    else:
        sample = CensoredData(seen[refused].to_numpy(), right=seen[~refused].to_numpy())
        left = ecdf(sample).sf
        below = np.flatnonzero(left.probabilities <= 0.5)
        median = float(left.quantiles[below[0]]) if len(below) else math.nan
    return pd.Series({"answered": median, "answered_most": float(seen.max())})


def _median(row: Mapping[Any, Any]) -> str:
    if row["refused_share"] == 0:
        return "never"
    if math.isfinite(row["answered"]):
        return f"{row['answered']:,.0f}"
    return f"> {row['answered_most']:,.0f}" if math.isfinite(row["answered_most"]) else ABSENT


def _blocked(watched: pd.DataFrame) -> pd.DataFrame:
    """False blocks of each deployment: its seeds count once, however many attacks there were."""
    seeds = watched.drop_duplicates([*_WATCHED, "seed"])
    counts = seeds.assign(blocked=(seeds["blocked"] * seeds["customers"]).round())
    pooled = counts.groupby(_WATCHED)[["blocked", "customers"]].sum().astype(int).reset_index()
    ends = [
        binomtest(hit, of).proportion_ci(method="exact") if of else (math.nan, math.nan)
        for hit, of in zip(pooled["blocked"], pooled["customers"], strict=True)
    ]
    low, high = zip(*ends, strict=True)
    share = pooled["blocked"] / pooled["customers"]
    return pooled.assign(blocked=share, blocked_lo=low, blocked_hi=high)
