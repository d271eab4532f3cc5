"""Cells of tables as plain values: a number, where it lies, and what is drawn of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bench.report.frame import UNDEFENDED
from bench.report.text import bounded, interval, number

Row = dict[str, Any]


def heat(value: float) -> Row:
    """A coloured cell: its place on the ramp in percent (None: no value) and its text."""
    if not math.isfinite(value):
        return {"at": None, "text": "n/a"}
    return {"at": percent(value), "text": number(value)}


def percent(value: float) -> int:
    """``value`` in [0, 1] as a whole percentage; what lies outside is put at the end."""
    return round(100 * min(1.0, max(0.0, value)))


def leakage(row: Mapping[Any, Any]) -> Row:
    """L of a row with its interval, to be drawn between 0 and 1, and what a shown 0 hides."""
    raw = row.get("L_raw", math.nan)
    text, ends = bounded(row["L"], row["L_lo"], row["L_hi"])
    return drawn(row, "L", 2, 0.0, 1.0) | {
        "text": text,
        "interval": ends,
        "heat": heat(row["L"])["at"],
        "raw": number(raw, signed=True) if raw < -0.005 else "",
    }


def most(row: Mapping[Any, Any]) -> Row:
    """M of a row, the most that is proven, and where both lie; empty where nothing is proven.

    Both are drawn between 0 and 1.
    """
    ceiling = row.get("M_most", math.nan)
    if not math.isfinite(ceiling):
        return {}
    clipped = {name: min(1.0, max(0.0, row[name])) for name in ("M", "M_lo", "M_hi")}
    return drawn(clipped, "M", 2, 0.0, 1.0) | {"text": number(ceiling), "mark": 100 * ceiling}


def drawn(row: Mapping[Any, Any], name: str, digits: int, low: float, high: float) -> Row:
    """A mean and its interval, and where they lie between ``low`` and ``high`` in percent."""

    def place(value: float) -> float | None:
        if not math.isfinite(value):
            return None
        return round(100 * (value - low) / (high - low), 1) if high > low else 50.0

    ends = (row[f"{name}_lo"], row[f"{name}_hi"])
    return {
        "text": number(row[name], digits),
        "interval": interval(*ends, digits),
        "at": place(row[name]),
        "lo": place(ends[0]),
        "hi": place(ends[1]),
    }


def key(value: float) -> str:
    """What a column is sorted by; empty where there is no value."""
    return f"{value:.6g}" if math.isfinite(value) else ""


def count(value: float) -> str:
    """A whole number with separators; a dash where it is missing."""
    return f"{value:,.0f}" if math.isfinite(value) else number(None)


def duration(value: float) -> str:
    """A time in its unit, with as many digits as it deserves."""
    if not math.isfinite(value):
        return number(None)
    return number(value, 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 3)


def times(
    spent: Mapping[tuple[str, str, str], float], place: tuple[str, str], defense: str
) -> tuple[str, str]:
    """A time a defense takes at a data set and model, and as a multiple of undefended."""
    own, plain = (spent.get((*place, name), math.nan) for name in (defense, UNDEFENDED))
    return duration(own), ratio(own, plain)


def ratio(value: float, plain: float) -> str:
    """``value`` as a multiple of ``plain``; a dash where there is none."""
    if not (math.isfinite(value) and plain > 0):
        return number(None)
    return f"{value / plain:.2f}\N{MULTIPLICATION SIGN}"
