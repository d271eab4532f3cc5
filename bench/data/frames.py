"""Tables before they are encoded: read as text, checked, drawn and split."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from bench.contract import UserError, nearest, require
from bench.data import common, delimited
from bench.data.common import Indices, Ints


# ---------------------------------------------------------------- reading
def read(
    name: str,
    source: Path | IO[bytes],
    *,
    gaps: Collection[str] = ("",),
    header: bool = True,
    comment: str | None = None,
    keep: Collection[str] | None = None,
) -> pd.DataFrame:
    """A table of text, gaps as NaN.

    Args:
        name: the data set, for the error message.
        source: file of values separated by commas.
        gaps: texts that stand for nothing.
        header: whether the first line names the columns.
        comment: lines that begin with it are skipped.
        keep: columns that are wanted; None: all.

    Raises:
        UserError: the file is no such table.
    """
    path = getattr(source, "name", source)
    try:
        data = source.read_bytes() if isinstance(source, Path) else source.read()
    except OSError as error:
        raise UserError(f"Data set '{name}': '{path}' cannot be read ({error}).") from error
    where = f"Data set '{name}': '{path}'"
    table = delimited.parse(data, where, header=header, comment=comment, keep=keep)
    frame = pd.DataFrame({c: pd.Series(v, dtype=object) for c, v in table.columns.items()})
    return frame.mask(frame.isin(list(gaps)))


def require_columns(name: str, table: Iterable[Any], columns: Collection[str]) -> None:
    """Refuse a table that lacks a column.

    Args:
        name: the data set, for the error message.
        table: the table, or the names of its columns.
        columns: those it must have.

    Raises:
        UserError: the first column that is not there, and the nearest that is.
    """
    there = list(table)
    for column in columns:
        require(
            column in there,
            f"Data set '{name}': the table has no column '{column}'; it is another file, or the "
            "name is spelled differently." + nearest(column, map(str, there)),
        )


def numbers(name: str, frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
    """``frame`` with the named columns as float64, gaps as NaN.

    Raises:
        UserError: a text or an infinite number, with its column and row.
    """
    frame = frame.copy()
    for column in columns:
        values = pd.to_numeric(frame[column], errors="coerce").astype(np.float64)
        bad = (values.isna() & frame[column].notna()) | np.isinf(values)
        row = int(bad.argmax())
        require(
            not bool(bad.any()),
            f"Data set '{name}', column '{column}', record {row + 1} holds "
            f"'{frame[column].iloc[row] if len(frame) else ''}'; allowed: finite numbers or "
            "nothing. Mend the file, or make the column a category.",
        )
        frame[column] = values
    return frame


def recode(
    name: str, frame: pd.DataFrame, column: str, names: Mapping[Any, str]
) -> tuple[pd.DataFrame, tuple[str, ...], Ints]:
    """A category with its codes replaced.

    Args:
        name: the data set, for the error message.
        frame: the table; it is not changed.
        column: its category.
        names: code to what it becomes.

    Returns:
        The table with the new values, those values in order, and each record's, int64 ``[n]``.

    Raises:
        UserError: a gap or an unknown code.
    """
    unknown = sorted(map(str, set(frame[column]) - set(names)))
    require(
        not unknown,
        f"Data set '{name}', column '{column}' holds {unknown[:5]}; allowed: {sorted(names)}. The "
        "file is corrupt or another version.",
    )
    values = tuple(dict.fromkeys(names.values()))
    renamed = frame[column].map(names)
    codes = renamed.map({value: code for code, value in enumerate(values)})
    return frame.assign(**{column: renamed}), values, np.array(codes, np.int64)


# ---------------------------------------------------------------- splitting
def quartiles(values: pd.Series[Any]) -> Ints:
    """Quartile of each number, int64 ``[n]``: what numbers are stratified by."""
    array = values.to_numpy(np.float64)
    return np.array(np.digitize(array, np.quantile(array, [0.25, 0.5, 0.75])), np.int64)


def draw(strata: Ints, records: int | None, seed: int) -> Ints:
    """Rows of ``records`` records with equal shares of every stratum, in the table's order."""
    rows = np.arange(len(strata))
    if records is None or records >= len(rows):
        return rows
    kept, _ = train_test_split(rows, train_size=records, stratify=strata, random_state=seed)
    return np.sort(kept)


def stratified_people(
    name: str, strata: Ints, person: Ints, train: float, public: float, seed: int
) -> Indices:
    """Split rows so that all records of a person stand in the same split.

    Args:
        name: the data set, for the error message.
        strata: int64 ``[n]``; a person is in the stratum of their first record.
        person: int64 ``[n]``, numbered 0, 1, ... in the order of their first records.
        train: share of the people, in (0, 1).
        public: share of the people, in (0, 1).
        seed: decides who goes where.

    Returns:
        Rows of train, test, public; where everybody has one record, those of
        :func:`bench.data.common.stratified`.
    """
    _, first = np.unique(person, return_index=True)
    train_people, test_people, public_people = common.stratified(
        name, strata[first], train, public, seed
    )
    if len(first) == len(person):
        return train_people, test_people, public_people
    return (
        np.flatnonzero(np.isin(person, train_people)),
        np.flatnonzero(np.isin(person, test_people)),
        np.flatnonzero(np.isin(person, public_people)),
    )


def halves(rows: Ints, strata: Ints, seed: int) -> tuple[Ints, Ints]:
    """``rows`` cut in two by ``seed``, with equal shares of every stratum that has two rows."""
    values, counts = np.unique(strata[rows], return_counts=True)
    lonely = np.isin(strata[rows], values[counts < 2])
    grouped = np.where(lonely, values[counts.argmax()], strata[rows])
    one, two = train_test_split(rows, test_size=0.5, stratify=grouped, random_state=seed)
    return one, two
