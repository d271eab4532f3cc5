"""The picture of the front page: leakage of every defense on every board, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.goals import goal_named
from bench.report.boards import BoardKey
from bench.report.closure import by_board
from bench.report.frame import REGULARISED, UNDEFENDED, dicts, flags_of
from bench.report.names import sees
from bench.report.site import cells
from bench.report.site.board import Suite
from bench.report.text import at_most, estimate, interval, natural, number

Row = dict[str, Any]
_BARE = (UNDEFENDED, REGULARISED)
"""Families without a defense, which stand first."""


def overview(suite: Suite, tuned: pd.DataFrame) -> Row:
    """A line a family of defenses, a column a board.

    A family is shown by the setting that was chosen on some seeds, with its figures on the others
    (PROTOCOL 3.7). Where there are too few seeds for that, it is the setting that stands first on
    the board, and the cell says so.

    Args:
        suite: what was measured.
        tuned: as :func:`bench.report.families.tuned` gives it.
    """
    chosen = by_board(tuned) if len(tuned) else {}
    boards = dict(suite.boards)
    columns = [_column(suite, key, rows) for key, rows in boards.items()]
    shown = {key: _cells(suite, key, rows, chosen.get(key)) for key, rows in boards.items()}
    families = sorted(
        {family for cells_of in shown.values() for family in cells_of},
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
                "cells": [shown[key].get(family) for key in boards],
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


def _cells(
    suite: Suite, key: BoardKey, rows: pd.DataFrame, chosen: pd.DataFrame | None
) -> dict[str, Row]:
    """A cell for each family of a board."""
    picked = {row["family"]: row for row in dicts(chosen)} if chosen is not None else {}
    settings = rows["defense"].map(suite.family).value_counts()
    made: dict[str, Row] = {}
    for row in dicts(rows):
        family = suite.family[row["defense"]]
        if family in made:
            continue
        idle = "no_effect" in flags_of(row)
        several = settings[family] > 1 and not idle
        best = picked.get(family, row) if several else row
        made[family] = _cell(suite, best, idle, several and best is row)
    return made


def _cell(suite: Suite, row: Row, idle: bool, unsplit: bool) -> Row:
    ends = (row["L_lo"], row["L_hi"])
    known = all(np.isfinite(ends))
    setting = suite.called("defense", row["defense"])
    cost = "" if not np.isfinite(row["dU"]) else f"utility {estimate(row, 'dU', 2, signed=True)}"
    said = [
        interval(*ends),
        "no effect at this access" if idle else setting,
        cost,
        "setting chosen on the seeds that are shown" if unsplit else "",
    ]
    return cells.heat(row["L"]) | {
        "idle": idle,
        "low": cells.percent(ends[0]) if known else None,
        "high": cells.percent(ends[1]) if known else None,
        "cost": number(row["dU"], 2, signed=True) if np.isfinite(row["dU"]) and not idle else "",
        "key": cells.key(row["L"]),
        "told": "; ".join(filter(None, said)),
    }
