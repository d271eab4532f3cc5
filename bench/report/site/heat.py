"""Tables of leakage by defense and attack."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench.contract.access import ACCESS_ORDER
from bench.report.frame import UNDEFENDED, dicts, flagged, flags_of
from bench.report.site import cells
from bench.report.text import estimate, interval, natural, number

Row = dict[str, Any]


def table(rows: pd.DataFrame, attacks: pd.DataFrame) -> Row:
    """Unclipped leakage of every attack against every defense of a board, undefended first."""
    rank = attacks["attack_access"].map(ACCESS_ORDER.index)
    columns = attacks.assign(rank=rank).sort_values(["rank", "attack"])
    heads = dicts(columns[["attack", "attack_access"]].drop_duplicates())
    found = {(row["defense"], row["attack"]): row for row in dicts(attacks)}
    order = rows.assign(last=rows["defense"] != UNDEFENDED).sort_values("last", kind="stable")
    lines = []
    for row in dicts(order):
        line: list[Row | None] = []
        for head in heads:
            cell = found.get((row["defense"], head["attack"]))
            if cell is None:
                line.append(None)
                continue
            told = interval(cell["L_lo"], cell["L_hi"])
            worst = head["attack"] == row["worst_attack"]
            seeds = f"{cell['n_done']} of {cell['n_planned']} seeds"
            line.append(cells.heat(cell["L"]) | {"worst": worst, "told": f"{told} {seeds}".strip()})
        idle = "no_effect" in flags_of(row)
        lines.append({"defense": row["defense"], "idle": idle, "cells": line})
    spans: list[Row] = []
    for head in heads:
        if not spans or spans[-1]["access"] != head["attack_access"]:
            spans.append({"access": head["attack_access"], "span": 0})
        spans[-1]["span"] += 1
    return {
        "attacks": [head["attack"] for head in heads],
        "spans": spans,
        "lines": lines,
    }


def pairs(rows: pd.DataFrame, attacks: pd.DataFrame) -> list[Row]:
    """Per defense, its leakage under attacks that ignore it and under those that adapt to it.

    Attacks at the board's own access only; rows without both kinds are left out.
    """
    own = attacks[(attacks["attack_access"] == attacks["access"]) & attacks["L"].notna()]
    idle = set(rows.loc[flagged(rows, "no_effect"), "defense"])
    own = own[~own["defense"].isin({UNDEFENDED, *idle})]
    best: dict[str, dict[bool, Any]] = {}
    for row in dicts(own.sort_values("L", ascending=False, kind="stable")):
        best.setdefault(row["defense"], {}).setdefault(bool(row["adaptive"]), row)
    out: list[Row] = []
    for defense, kinds in best.items():
        if len(kinds) < 2:
            continue
        out.append(
            {
                "defense": defense,
                **{
                    name: {
                        "attack": row["attack"],
                        "L": estimate(row, "L"),
                        "cell": cells.heat(row["L"]),
                    }
                    for name, row in (("standard", kinds[False]), ("adaptive", kinds[True]))
                },
                "raw": kinds[True]["L"] - kinds[False]["L"],
                "gain": number(kinds[True]["L"] - kinds[False]["L"], signed=True),
            }
        )
    return sorted(out, key=lambda row: natural(row["defense"]))
