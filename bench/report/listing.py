"""How the rows of a board are listed: the same places, order and marks wherever a board stands."""

from __future__ import annotations

import math

import pandas as pd

from bench.report.frame import UNDEFENDED, dicts, flags_of
from bench.report.text import Row, number


def ordered(rows: pd.DataFrame) -> list[Row]:
    """The rows of a board as plain values in the order in which a reader meets them.

    The undefended row is the reference and comes first, whatever the others are sorted by. Each row
    has its ``places`` (:func:`places`) besides its columns.
    """
    ties = rows["rank"].value_counts().to_dict()
    lines = [
        {**row, "places": places(row["rank"], ties.get(row["rank"], 1))} for row in dicts(rows)
    ]
    return sorted(lines, key=lambda row: row["defense"] != UNDEFENDED)


def places(rank: float, tied: int) -> str:
    """The places a group of rows shares: ``4``, or ``4-9`` where they cannot be told apart."""
    if not math.isfinite(rank):
        return number(None)
    return f"{rank:.0f}" if tied < 2 else f"{rank:.0f}\N{EN DASH}{rank + tied - 1:.0f}"


def shared_flags(rows: pd.DataFrame) -> set[str]:
    """Flags that every measured row has: they are said once."""
    measured = rows[rows["n_seeds"] > 0] if rows["n_seeds"].any() else rows
    return set.intersection(*(set(flags_of(row)) for row in dicts(measured)))
