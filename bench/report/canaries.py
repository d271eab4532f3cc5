"""What audits by canaries say of the epsilons that defenses claim (PROTOCOL 4.4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.report.frame import dicts
from bench.report.text import number

REFUTED = "refuted"
NOT_REFUTED = "not refuted"
NO_TEST = "no test"
NOT_AUDITED = "not audited"


def audits(done: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The verdict of each group of trials, over the seeds that were audited.

    Args:
        done: finished trials, as :func:`bench.report.frame.read` gives them.
        by: columns that name a group.

    Returns:
        For each group ``audit`` (empty where no epsilon is claimed), ``epsilon_lower`` and
        ``epsilon_most`` (the largest over seeds), ``broken`` (share of the audited seeds that
        refute the claim, 0 without any), ``audited`` (seeds), and ``unaudited`` (why none was).
    """
    told = done.assign(
        tried=(done["epsilon"] < done["epsilon_most"]) & done["refuted"].notna(),
        claimed=done["epsilon"].notna(),
    )
    columns = ["epsilon", "epsilon_most", "epsilon_lower", "refuted", "tried", "claimed"]
    seeds = told.groupby([*by, "seed"], as_index=False)[columns].max()
    table = seeds.groupby(by).agg(
        epsilon_lower=("epsilon_lower", "max"),
        epsilon_most=("epsilon_most", "max"),
        broken=("refuted", "mean"),
        audited=("refuted", "count"),
        tried=("tried", "any"),
        claimed=("claimed", "any"),
    )
    table["unaudited"] = told.groupby(by)["unaudited"].max()
    table["broken"] = table["broken"].fillna(0.0)
    table["audit"] = [_verdict(row) for row in dicts(table)]
    return table.drop(columns=["tried", "claimed"]).reset_index()


def _verdict(row: Mapping[Any, Any]) -> str:
    if not row["claimed"]:
        return ""
    if not row["audited"]:
        return NOT_AUDITED
    if row["broken"] > 0.5:
        return REFUTED
    # What could not have been refuted has not passed.
    return NOT_REFUTED if row["tried"] else NO_TEST


def sentence(row: Mapping[Any, Any]) -> str:
    """What a row of :func:`audits` says, for a page; empty where no epsilon is claimed."""
    if not row["audit"]:
        return ""
    if row["audit"] == NOT_AUDITED:
        return f"{NOT_AUDITED}: {row['unaudited']}" if row["unaudited"] else NOT_AUDITED
    least, most = f"at least {number(row['epsilon_lower'])}", number(row["epsilon_most"])
    if row["audit"] == NO_TEST:
        known = math.isfinite(row["epsilon_most"])
        return f"{least}, {NO_TEST}" + (f": claims above {most} cannot be refuted" if known else "")
    broken = round(row["broken"] * row["audited"])
    share = f"{REFUTED} on {broken} of {row['audited']} seeds" if broken else NOT_REFUTED
    return f"{least}, {share}; could refute up to {most}"
