"""The picture of the front page: leakage of every defense on every board, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.goals import goal_named
from bench.report.boards import BoardKey
from bench.report.frame import REGULARISED, UNDEFENDED, dicts, flags_of
from bench.report.names import sees
from bench.report.site import cells
from bench.report.site.suite import Choice, Suite
from bench.report.text import at_most, bounded, estimate, interval, natural, number

Row = dict[str, Any]
_BARE = (UNDEFENDED, REGULARISED)
"""Families without a defense, which stand first."""


def overview(suite: Suite) -> Row:
    """A line a family of defenses, a column a board."""
    boards = dict(suite.boards)
    columns = [_column(suite, key, rows) for key, rows in boards.items()]
    families = sorted(
        {family for _, family in suite.chosen},
        key=lambda name: (name not in _BARE, name != UNDEFENDED, natural(_title(suite, name))),
    )
    return {
        "columns": columns,
        "targets": _spans(columns, "target"),
        "goals": _spans(columns, "goal"),
        "lines": [
            {
                "defense": family,
                "page": suite.defenses[family],
                "cells": [_cell(suite, suite.chosen.get((key, family))) for key in boards],
            }
            for family in families
        ],
    }


def _title(suite: Suite, family: str) -> str:
    return suite.names.title("defense", family)


def _column(suite: Suite, key: BoardKey, rows: pd.DataFrame) -> Row:
    flags = {flag for row in dicts(rows) for flag in flags_of(row)}
    return {
        "target": (key.dataset, key.model),
        "goal": (key.dataset, key.model, key.goal),
        "name": suite.target(key.dataset, key.model),
        "asks": goal_named(key.goal).words.title,
        "sees": sees(key.access, key.budget),
        "access": key.access,
        "budget": at_most(key.budget),
        "id": suite.ids[key],
        "title": suite.title(key),
        "weak": "weak_attack" in flags,
        "void": "void" in flags,
    }


def _spans(columns: list[Row], name: str) -> list[Row]:
    """Neighbouring columns that share a head, and how many they are."""
    spans: list[Row] = []
    for column in columns:
        if not spans or spans[-1]["key"] != column[name]:
            spans.append({"key": column[name], "column": column, "span": 0})
        spans[-1]["span"] += 1
    return spans


def _cell(suite: Suite, choice: Choice | None) -> Row | None:
    if choice is None:
        return None
    row, idle = choice.row, choice.idle
    ends = (row["L_lo"], row["L_hi"])
    known = all(np.isfinite(ends))
    setting = suite.called("defense", row["defense"])
    cost = "" if not np.isfinite(row["dU"]) else f"utility {estimate(row, 'dU', 2, signed=True)}"
    parts = [
        interval(*ends),
        "no effect at this access" if idle else setting,
        cost,
        "setting chosen on the seeds that are shown" if choice.unsplit else "",
    ]
    return cells.heat(row["L"]) | {
        "text": bounded(row["L"], *ends)[0],
        "idle": idle,
        "low": cells.percent(ends[0]) if known else None,
        "high": cells.percent(ends[1]) if known else None,
        "cost": number(row["dU"], 2, signed=True) if np.isfinite(row["dU"]) and not idle else "",
        "key": cells.key(row["L"]),
        "told": "; ".join(filter(None, parts)),
    }
