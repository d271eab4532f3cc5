"""What tuning adds to a board, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.report import families
from bench.report.boards import BoardKey
from bench.report.closure import BOARD, by_board
from bench.report.frame import UNDEFENDED, dicts, flags_of
from bench.report.site import cells
from bench.report.text import ABSENT, estimate, interval, leakage, number

Row = dict[str, Any]


def tuning(several: Mapping[BoardKey, bool], tuned: pd.DataFrame) -> dict[BoardKey, Row]:
    """The tuned rows of every board with a family of several settings.

    Args:
        several: whether a family has several settings that act, by board.
        tuned: as :func:`bench.report.families.tuned` gives it.
    """
    rows = by_board(tuned)
    nothing = tuned.iloc[:0]
    return {
        key: {
            "rows": [_line(row) for row in dicts(rows.get(key, nothing))],
            "why": families.why(rows.get(key, nothing)),
        }
        for key, many in several.items()
        if many
    }


def _line(row: Mapping[Any, Any]) -> Row:
    return {
        "reference": row["family"] == UNDEFENDED,
        "family": row["family"],
        "defense": row["defense"],
        "attack": row["attack"],
        "settings": row["settings"],
        "attacks": cells.count(row["attacks"]),
        "n_seeds": row["n_seeds"],
        "L": cells.leakage(row),
        "U": {
            "text": number(row["utility"], 3),
            "interval": interval(row["utility_lo"], row["utility_hi"], 3),
        },
        "dU": {
            "text": number(row["dU"], 3, signed=True),
            "interval": interval(row["dU_lo"], row["dU_hi"], 3, signed=True),
        },
        "flags": flags_of(row),
    }


def summaries(table: pd.DataFrame) -> dict[BoardKey, list[Row]]:
    """What :func:`bench.report.families.summaries` says of every board."""
    out: dict[BoardKey, list[Row]] = {}
    for row in dicts(table):
        key = BoardKey(*(row[name] for name in BOARD))
        out.setdefault(key, []).append(
            {
                "family": row["family"],
                "L": leakage(row, "L_at_loss"),
                "L_defense": row["L_at_loss_defense"] or ABSENT,
                "U": estimate(row, "U_at_L", 3),
                "U_defense": row["U_at_L_defense"] or ABSENT,
                "volume": estimate(row, "hypervolume"),
            }
        )
    return out
