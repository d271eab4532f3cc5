"""Which standard set of attacks each row of a board met (PROTOCOL 3.4)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import pandas as pd

from bench.goals import goals
from bench.report.closure import RANK, ROW


def met(closed: pd.DataFrame) -> pd.DataFrame:
    """The standard set that each row is to meet, and how many of its members did not finish.

    It is that of the board's access. Where no member of that can attack a deployment, because the
    deployment exposes less, it is that of the next weaker access.

    Returns:
        By row: ``standard``, the name of the set (empty: there is none), and ``lacks``.
    """
    ranks: dict[Hashable, int] = dict(RANK.items())
    access_of = {s.name: ranks[s.access] for goal in goals().values() for s in goal.standard}
    members = {row: _pairs(part) for row, part in closed[closed["done"]].groupby(ROW)["member"]}
    rows = []
    for row, part in closed.groupby(ROW)["standard"]:
        most = ranks[row[ROW.index("access")]]
        sizes = {
            name: size
            for name, size in _pairs(part)
            if size and access_of.get(name, most + 1) <= most
        }
        name = max(sizes, key=lambda name: (access_of[name], name), default="")
        finished = sum(of == name for of, _ in members.get(row, ()))
        rows.append((*row, name, max(0, sizes.get(name, 0) - finished)))
    return pd.DataFrame(rows, columns=[*ROW, "standard", "lacks"])


def _pairs(column: Iterable[tuple[tuple[str, int], ...]]) -> list[tuple[str, int]]:
    """Different pairs of a column of tuples of pairs, in order."""
    return sorted({pair for pairs in set(column) for pair in pairs})
