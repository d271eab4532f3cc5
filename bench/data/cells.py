"""The cells of a CSV, TSV or Parquet file as text: one content, however it is stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.contract import UserError, require
from bench.data import delimited, frames

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Cells:
    """Text cells of the columns that were asked for.

    Attributes:
        frame: text without the blanks around it, ``""`` where nothing stands.
        places: where each record stands, for messages: ``"line 7"`` or ``"record 7"``.
        pointed: columns that the file stores as numbers, so that their text has a decimal point.
        others: columns of the file that nobody asked for.
        notes: what was dropped or understood while reading, a sentence each.
    """

    frame: pd.DataFrame
    places: Sequence[str]
    pointed: frozenset[str]
    others: tuple[str, ...]
    notes: tuple[str, ...]


def read(
    name: str,
    path: Path,
    columns: Sequence[str],
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
) -> Cells:
    """The named columns of a file, by its suffix.

    Args:
        name: the data set, for messages.
        path: a file with one of :data:`SUFFIXES`.
        columns: those to read.
        encoding: of a text file; see :func:`bench.data.delimited.decode`.
        delimiter: of a text file; None: a tab in ``.tsv``, else a comma.

    Raises:
        UserError: the file cannot be read without guessing, has no records, or lacks a column.
    """
    where = f"Data set '{name}': '{path}'"
    if path.suffix == ".parquet":
        cells = _parquet(name, path, where, columns)
    else:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"{where} cannot be read ({error.strerror or error}).") from error
        if delimiter is None and path.suffix == ".tsv":
            delimiter = "\t"
        cells = _text(name, data, where, columns, encoding, delimiter)
    require(len(cells.frame) > 0, f"{where} has a header but no records.")
    return cells


def _text(
    name: str,
    data: bytes,
    where: str,
    columns: Sequence[str],
    encoding: str | None,
    delimiter: str | None,
) -> Cells:
    table = delimited.parse(data, where, encoding=encoding, delimiter=delimiter, keep=columns)
    frames.require_columns(name, table.header, columns)
    frame = pd.DataFrame({c: pd.Series(table.columns[c], dtype=object) for c in columns})
    others = tuple(column for column in table.header if column not in table.columns)
    places = [f"line {line}" for line in table.lines]
    return Cells(frame, places, frozenset(), others, tuple(table.notes))


def _parquet(name: str, path: Path, where: str, columns: Sequence[str]) -> Cells:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            header = file.schema_arrow.names
            stripped = [column.strip() for column in header]
            twice = sorted({column for column in stripped if stripped.count(column) > 1})
            require(
                not twice,
                f"{where} names the column {twice[:3]} twice; give every column a name of its own.",
            )
            frames.require_columns(name, stripped, columns)
            stored = {column: header[stripped.index(column)] for column in columns}
            table = file.read(columns=list(stored.values()))
            texts = {
                c: _texts(table.column(s), f"{where}, column '{c}'") for c, s in stored.items()
            }
            pointed = frozenset(c for c, s in stored.items() if _is_number(table.column(s).type))
    except (pa.ArrowException, OSError, ValueError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{where} cannot be read as Parquet ({reason}); save it again, or as CSV."
        ) from error
    others = tuple(column for column in stripped if column not in stored)
    frame = pd.DataFrame({c: pd.Series(text, dtype=object) for c, text in texts.items()})
    return Cells(frame, [f"record {i + 1}" for i in range(len(frame))], pointed, others, ())


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _texts(column: pa.ChunkedArray, where: str) -> list[str]:
    """A column as pandas would write it to CSV; what has no such text is refused."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    # The shortest text that is a number in its own precision.
    write: Callable[[Any], Any] = {"halffloat": np.float16, "float": np.float32}.get(str(kind), str)
    known = (
        pa.types.is_boolean,
        _is_number,
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_date,
        pa.types.is_null,
    )
    require(
        any(is_kind(kind) for is_kind in known),
        f"{where} is of type {kind}; allowed: text, numbers, true or false, dates. Turn it into "
        "a number (such as days) or a text before you save the table.",
    )
    values = column.to_pylist()
    texts = ["" if value is None else str(write(value)).strip() for value in values]
    if pa.types.is_floating(kind):
        texts = ["" if text == "nan" else text for text in texts]
    require(
        not any("\0" in text for text in texts), f"{where} holds NUL characters; take them out."
    )
    return texts


# ---------------------------------------------------------------- what cells mean
_DECIMAL = re.compile(r"[+-]?\d+\.\d*", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_GROUPED = re.compile(r"[+-]?\d{1,3}([,.'_\u2019\s])\d{3}(\1\d{3})*([.,]\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T\s].*)?", re.ASCII)


def spelling(values: Collection[str]) -> Callable[[str], str]:
    """How the values of a category are written alike, whatever program wrote the file.

    ``3.0`` becomes ``3`` (programs write whole numbers so where a column has gaps), ``TRUE`` and
    ``true`` become ``True``; unless two of ``values`` would become one.
    """

    def short(value: str) -> str:
        return value.rstrip("0").rstrip(".") if _DECIMAL.fullmatch(value) else value

    rule: Callable[[str], str] = short
    if {value.casefold() for value in values} <= {"true", "false"}:
        rule = str.capitalize
    return rule if len(set(map(rule, values))) == len(set(values)) else str


def number(text: str, decimal: str) -> float | str:
    """The finite number that a text says, or one sentence about why it says none.

    Args:
        text: such as ``-1.5e3``, without blanks around it.
        decimal: ``"."`` or ``","``.
    """
    if decimal == "," and "." in text and _NUMBER.fullmatch(text):
        return "the card says 'decimal: \",\"', so a point is read neither way: take it out"
    pointed = text.replace(",", ".", 1) if decimal == "," else text
    if _NUMBER.fullmatch(pointed):
        value = float(pointed)
        # -0.0 becomes 0.0.
        return value + 0.0 if np.isfinite(value) else "it is too large for a number"
    if decimal == "." and _COMMA.fullmatch(text):
        return (
            "if that is a decimal comma, write 'decimal: \",\"' into the card; commas between "
            "thousands are not read: take them out"
        )
    if _GROUPED.fullmatch(text):
        return "separators of thousands are not read: take them out"
    if _DATE.fullmatch(text):
        return (
            "a date is no number: put a number in its place (such as years or days), or make the "
            "column a category"
        )
    return "mend the file, or make the column a category"
