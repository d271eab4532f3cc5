"""Every figure in the sentences of ``results/published/README.md``, from the tables beside it.

A figure is followed by a comment that no page shows and that says where it comes from::

    0.27 [0.22, 0.31]<!--credit german/mlp scores none-->

The comment names a pack, data set and model, an access, a row, and unless that is leakage a column:
``M``, ``M_most``, ``utility`` or ``dU``; the goal follows the model where a model is attacked for
several. ``python -m tests.published.findings`` writes the figures anew; the words around them are
then for somebody to read.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from bench.report.frame import dicts
from bench.report.text import estimate, leakage, number

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
PAGE = PUBLISHED / "README.md"
SECTION = "## What they say"

_NUMBER = r"[+\N{MINUS SIGN}]?\d\.\d+"
_SOURCE = r"<!--([^:]*?)-->"
_FIGURE = re.compile(rf"(≤ )?{_NUMBER}( \[{_NUMBER}, {_NUMBER}\])?{_SOURCE}")
ADVICE = re.compile(r"<!--advice (\S+) (\S+) (\S+) (\S+): (\S+)-->")
"""What the rule of ``recommend`` answers: pack, data set and model, access, tier, and the row."""
_DIGITS = {"utility": 3, "dU": 3}


def section(page: str) -> str:
    """The sentences whose figures are checked."""
    return page.partition(SECTION)[2].partition("\n## ")[0]


def refreshed(page: str) -> str:
    """The page with every figure as the tables have it now."""
    text = section(page)
    return page.replace(text, _FIGURE.sub(_now, text))


def unfounded(page: str) -> list[str]:
    """Figures that nobody says the source of."""
    return re.findall(r"\d*\.\d+", re.sub(r"<!--.*?-->", "", _FIGURE.sub("", section(page))))


def _now(found: re.Match[str]) -> str:
    source = found[3]
    row, column = _row(source)
    whole = found[2] is not None
    if column == "L":
        figure = leakage(row) if whole or found[1] else number(row["L"])
    else:
        digits, signed = _DIGITS.get(column, 2), column in ("M", "dU")
        figure = (
            estimate(row, column, digits, signed) if whole else number(row[column], digits, signed)
        )
    return f"{figure}<!--{source}-->"


def _row(source: str) -> tuple[dict[str, Any], str]:
    pack, target, access, defense, *column = source.split(" ")
    rows = [
        row
        for row in _table(pack)
        if f"{row['dataset']}/{row['model']}/{row['goal']}/".startswith(f"{target}/")
        and (row["access"], row["defense"]) == (access, defense)
    ]
    if len(rows) != 1:
        raise LookupError(f"'{source}' names {len(rows)} rows of {PUBLISHED / pack}")
    return rows[0], (column or ["L"])[0]


@cache
def _table(pack: str) -> list[dict[str, Any]]:
    path = PUBLISHED / pack / "leaderboard.csv"
    return dicts(pd.read_csv(path, keep_default_na=False, na_values=[""]))


if __name__ == "__main__":
    now = refreshed(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(now, encoding="utf-8")
    sys.exit("\n".join(unfounded(now)) or None)
