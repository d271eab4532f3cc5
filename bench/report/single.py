"""Rows of one target that was given: intervals over people, not over trained targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.contract.record import TrialRecord
from bench.report import stats

Draws = Sequence[float]
"""A figure of resampled people."""


def draws_of(record: TrialRecord, quadratic: str) -> tuple[tuple[str, Draws], ...]:
    """Utility of resampled customers by its metric, where there is one target only.

    Args:
        record: of a trial.
        quadratic: name of the quadratic score, which is 1 minus half the Brier score; of who
            answers labels alone it is the accuracy.
    """
    if record.utility is None:
        return ()
    draws = {name: tuple(values) for name, values in record.utility.draws.items()}
    if "brier" in draws:
        draws[quadratic] = tuple(1 - brier / 2 for brier in draws["brier"])
    elif "accuracy" in draws:
        draws[quadratic] = draws["accuracy"]
    return tuple(draws.items())


def spread(draws: Draws, less: Draws = ()) -> float:
    """Standard error of a figure, or of its difference to another on the same people.

    Args:
        draws: the figure of resampled people; empty: it is not known.
        less: the same of what it is compared with; empty: with nothing.
    """
    if not len(draws) or len(less) not in (0, len(draws)):
        return np.nan
    values = np.asarray(draws, dtype=float)
    return float(np.std(values - np.asarray(less) if len(less) else values, ddof=1))


def over_people(
    figures: pd.DataFrame, rows: pd.DataFrame, by: Sequence[str], names: Sequence[str]
) -> pd.DataFrame:
    """The figures, with intervals over people and attack seeds where rows share one target.

    Seeds share people, so the error over people is not lessened by their number.

    Args:
        figures: as :func:`bench.report.stats.summarise` gives them.
        rows: what they summarise, with ``single`` and a column ``NAME_error`` for each name: the
            standard error over people in one seed, NaN where it is not known.
        by: columns that name a group.
        names: whose intervals are replaced.
    """
    alone = rows[rows["single"].astype(bool)]
    if alone.empty:
        return figures
    errors = [f"{name}_error" for name in names]
    squares = alone.assign(**{column: alone[column] ** 2 for column in errors})
    table = squares.groupby(list(by))[errors].mean().reset_index().assign(one=True)
    table = figures.merge(table, on=list(by), how="left")
    one = table["one"].eq(True)
    for name in names:
        n, square = table[f"{name}_n"].clip(lower=1), table[f"{name}_error"]
        over_seeds = table[f"{name}_sd"].fillna(0.0) ** 2 / n
        width = stats.reach(square, over_seeds, n, stats.ALPHA / 2)
        if name in ("L", "M"):
            width = np.where(width > 0, width, np.nan)  # people who all agree tell no error
        for end, sign in (("lo", -1), ("hi", 1)):
            column = f"{name}_{end}"
            table[column] = table[column].mask(one, table[name] + sign * width)
    return table.drop(columns=["one", *errors])
