"""Of how many people attackers are certain, and of whom most (PROTOCOL 2.3): shares, no identities.

A leakage near 0 can hide a few whose secret is known for certain, so the attack that is shown is
the one that is certain of most, not the one with the largest mean.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from bench.metrics.certainty import FIGURES, PRECISION, SHARE
from bench.report.closure import ROW
from bench.report.frame import BASELINE, SCENARIO, UNDEFENDED, dicts, flags_of
from bench.report.text import UNPLACED, number

COLUMNS = ("certain_attack", SHARE, "certain_max", "certain_base")
"""What boards and files say of a row; files only where it is known of some row."""
LOOKED_UP = [name for name in FIGURES if name != SHARE]
"""Figures that only the attack has which is shown."""
DEFENSES = 3
"""Defenses in the figure, beside ``none`` and the attacker without the model."""
_BASES = [f"base_{name}" for name in FIGURES]
_TABLE = [*ROW, *COLUMNS, *LOOKED_UP, *_BASES]

_MEASURES = {"auc": "AUC", "precision": "precision"}
"""How the fifths by rarity are judged: a category by the first, a number by the second."""

Row = dict[str, Any]


def build(closed: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """For each row of a board, the attack that is certain of the most members.

    Args:
        closed: trials by board, :func:`bench.report.closure.close`; of the figures it needs
            ``certain_share`` alone.
        frame: all trials of the suite, with all figures.

    Returns:
        ``ROW`` and ``COLUMNS``: that attack, the mean of its share over seeds, the largest share of
        one seed, and the mean share of the baseline that its trials are measured from; then the
        means of all further figures of :mod:`bench.metrics.certainty`, those of the baseline with
        ``base_`` before them. Of attacks that are certain of equally many the one that leaks most
        is taken. Rows none of whose records say it are not there.
    """
    done = closed[closed["done"] & closed[SHARE].notna()]
    if done.empty:
        return pd.DataFrame(columns=_TABLE)
    order = [SHARE, "L", "score"]
    means = done.groupby([*ROW, "attack"], as_index=False)[order].mean()
    means = means.sort_values([*order, "attack"], ascending=[False] * 3 + [True], kind="stable")
    # Two dozen figures of the few attacks that are shown, not of all.
    picked = done[[*ROW, "attack", "seed", "s_base_attack", "trial_id"]].merge(
        means.drop_duplicates(ROW)[[*ROW, "attack"]], on=[*ROW, "attack"]
    )
    figures = frame[["trial_id", *FIGURES]].drop_duplicates("trial_id")
    picked = picked.merge(figures, on="trial_id")
    picked = picked.merge(_bases(frame), on=[*SCENARIO, "s_base_attack", "seed"], how="left")
    trials = picked.rename(columns={"attack": "certain_attack"}).groupby([*ROW, "certain_attack"])
    table = trials[[*FIGURES, *_BASES]].mean()
    table = table.assign(certain_max=trials[SHARE].max(), certain_base=table[f"base_{SHARE}"])
    return table.reset_index()[_TABLE]


def _bases(frame: pd.DataFrame) -> pd.DataFrame:
    """What attackers without the model are certain of, by scenario, attack and seed."""
    done = frame[(frame["access"] == BASELINE) & (frame["status"] == "done")]
    by = [*SCENARIO, "attack", "seed"]
    bases = done.groupby(by, as_index=False)[list(FIGURES)].mean()
    return bases.rename(
        columns={**dict(zip(FIGURES, _BASES, strict=True)), "attack": "s_base_attack"}
    )


def known(rows: pd.DataFrame) -> bool:
    """Whether some row of a board says of whom attackers are certain."""
    return bool(rows[SHARE].notna().any())


def told(rows: pd.DataFrame, table: pd.DataFrame) -> list[Row]:
    """What a board says of each defense that acts, undefended first; empty where nothing is known.

    Args:
        rows: of one board.
        table: of that board, as :func:`build` gives it.

    Returns:
        Texts; pairs are with the model and without it. ``measure`` is how the fifths by rarity are
        judged, empty where they have too few members.
    """
    found = {row["defense"]: row for row in dicts(table)}
    acting = [row for row in dicts(rows) if "no_effect" not in flags_of(row)]
    acting.sort(key=lambda row: row["defense"] != UNDEFENDED)
    return [_line(found[row["defense"]]) for row in acting if row["defense"] in found]


def drawn(rows: pd.DataFrame, table: pd.DataFrame) -> list[tuple[str, str, list[float]]]:
    """Curves of a board: precision of the surest 1 %, 5 % and so on of the members.

    Args:
        rows: of one board, in its order: what leaks least first.
        table: of that board, as :func:`build` gives it.

    Returns:
        The defense, the attack and the precisions: at most three defenses that act and take a place
        on the board, the best of them first, then ``none``, then nobody's (``""``): that of the
        attacker without the model.
    """
    found = {row["defense"]: row for row in dicts(table)}
    placed = [
        row["defense"]
        for row in dicts(rows)
        if row["defense"] not in (UNDEFENDED, row["against"])
        and UNPLACED.isdisjoint(flags_of(row))
        and row["defense"] in found
    ]
    shown = [found[name] for name in [*placed[:DEFENSES], UNDEFENDED] if name in found]
    curves = [
        (row["defense"], row["certain_attack"], [row[name] for name in PRECISION]) for row in shown
    ]
    base = [shown[-1][f"base_{name}"] for name in PRECISION] if shown else [math.nan]
    return curves if any(map(math.isnan, base)) else [*curves, ("", "", base)]


def _line(row: Row) -> Row:
    pairs = {
        "top_1": "precision_top_1pct",
        "top_10": "precision_top_10pct",
        "all": "precision_top_100pct",
    }
    ends = {"common": 1, "rare": 5}
    measure = next(
        (
            name
            for name in ("auc", "precision")
            if any(math.isfinite(row[f"rarity_{name}_{at}"]) for at in ends.values())
        ),
        "",
    )
    return {
        "defense": row["defense"],
        "attack": row["certain_attack"],
        "share": _percent(row[SHARE]),
        "most": _percent(row["certain_max"]),
        "base": _percent(row["certain_base"]),
        **{name: (number(row[key]), number(row[f"base_{key}"])) for name, key in pairs.items()},
        "measure": _MEASURES.get(measure, ""),
        **{
            name: tuple(number(row.get(f"{of}rarity_{measure}_{at}")) for of in ("", "base_"))
            for name, at in ends.items()
        },
        **{f"certain_{name}": _percent(row[f"rarity_certain_{at}"]) for name, at in ends.items()},
    }


def _percent(share: float) -> str:
    """A share of people in percent, with a decimal: one in a thousand is somebody."""
    return f"{number(100 * share, 1)} %" if math.isfinite(share) else number(None)
