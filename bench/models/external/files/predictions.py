"""A model that was given as a table of its answers: each record with what the model said of it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.contract import UserError, nearest, require
from bench.contract.secrets import in_one_line
from bench.models.external.opened import Answered, Inputs, Opened

LABEL = "label"
"""The column that holds labels where nothing else is said."""
_PREFIXES = ("p_", "score_")
_DIGITS = 9
_WHOLE = re.compile(r"\A(-?\d+)\.0\Z")
_GAPS = ("", "nan", "na", "n/a", "null", "none", "?")
"""How a gap is written in a column of numbers; in a column of categories only nothing is a gap."""

Key = tuple[str | None, ...]


def open_predictions(
    content: bytes,
    suffix: str,
    name: str,
    columns: Mapping[str, str],
    prediction: Sequence[str] | None,
) -> Opened:
    """Open a table of a model's answers.

    Args:
        content: of the file.
        suffix: ``.csv`` or ``.parquet``.
        name: of the file, for messages.
        columns: the record's columns, each ``number`` or ``category``.
        prediction: the columns with answers; None: the column ``label``, and every other column of
            numbers that the record does not have.

    Raises:
        UserError: the table cannot be read, lacks columns, or answers one record in two ways.
    """
    frame = _frame(content, suffix, name)
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise UserError(
            f"{name} has no column {missing[0]!r}, which records have."
            f"{nearest(missing[0], map(str, frame.columns))} Each row needs the whole record and "
            "what the model answered."
        )
    labels, scored = _answers(frame, columns, prediction, name)
    scores = None
    if scored:
        scores = np.stack([_numbers(frame[column], column, name) for column in scored], axis=1)
        require(
            bool(np.isfinite(scores).all()),
            f"{name}: the columns {', '.join(scored)} hold gaps or numbers that are not finite. "
            "Every row needs the model's answer.",
        )
    said = None if labels is None else _labels(frame[labels], name)
    rows = _lookup(_keys(frame, columns, name), scores, said, name)

    def ask(values: Inputs) -> Answered:
        found = _find(values, columns, rows, name)
        return Answered(
            None if scores is None else scores[found], None if said is None else said[found]
        )

    facts = {
        "format": "predictions",
        "rows": len(frame),
        "records": len(rows),
        "scores": scored,
        "labels": labels,
    }
    return Opened(ask, _classes(scored), None, facts)


def _frame(content: bytes, suffix: str, name: str) -> pd.DataFrame:
    try:
        if suffix == ".parquet":
            frame = pd.read_parquet(io.BytesIO(content))
        else:
            # As text: pandas would read the category "NA" as a gap, and "007" as 7.
            frame = pd.read_csv(
                io.BytesIO(content), dtype=str, keep_default_na=False, encoding="utf-8-sig"
            )
    except Exception as error:
        raise UserError(
            f"{name} cannot be read as a table ({suffix}): {in_one_line(error)}. Write it with a "
            "header, commas and UTF-8, or as Parquet."
        ) from None
    require(len(frame) > 0, f"{name} has no rows. Write one for each record, with its answer.")
    frame.columns = pd.Index([str(column) for column in frame.columns])
    require(frame.columns.is_unique, f"{name} has two columns of one name. Give each its own name.")
    return frame


def _answers(
    frame: pd.DataFrame, columns: Mapping[str, str], prediction: Sequence[str] | None, name: str
) -> tuple[str | None, list[str]]:
    """The column with labels, if there is one, and the columns with scores."""
    if prediction is None:
        labels = LABEL if LABEL in frame.columns and LABEL not in columns else None
        others = [c for c in frame.columns if c not in columns and c != labels]
        # A column without a name is the index that pandas writes.
        scored = [c for c in others if _is_number(frame[c]) and not c.startswith("Unnamed:")]
    else:
        wrong = [c for c in prediction if c not in frame.columns]
        if wrong:
            valid = [c for c in frame.columns if c not in columns]
            raise UserError(f"{name} has no column {wrong[0]!r}.{nearest(wrong[0], valid)}")
        text = [c for c in prediction if c == LABEL or not _is_number(frame[c])]
        require(
            len(text) <= 1,
            f"{name}: the columns {', '.join(text)} hold no numbers, so they are labels, and a "
            "model gives one label a record. Name one of them, or the columns with scores.",
        )
        labels = text[0] if text else None
        scored = [c for c in prediction if c not in text]
    require(
        labels is not None or bool(scored),
        f"{name} holds no answers: besides the record's columns it needs a column {LABEL!r} or one "
        "column of numbers for each class, such as p_yes and p_no.",
    )
    return labels, scored


def _classes(scored: list[str]) -> tuple[str, ...]:
    """Names of the classes; a single column of numbers is no list of classes."""
    if len(scored) < 2:
        return ()
    for prefix in _PREFIXES:
        if all(column.startswith(prefix) for column in scored):
            return tuple(column[len(prefix) :] for column in scored)
    return tuple(scored)


def _is_number(column: pd.Series[Any]) -> bool:
    if pd.api.types.is_numeric_dtype(column):
        return not pd.api.types.is_bool_dtype(column)
    try:
        return not bool(np.isnan(_numbers(column, str(column.name), "")).all())
    except UserError:
        return False


def _numbers(column: pd.Series[Any], what: str, name: str) -> npt.NDArray[np.float64]:
    """A column as numbers, with NaN for gaps."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    texts = [None if m else str(v).strip() for v, m in zip(column, column.isna(), strict=True)]
    numbers = np.full(len(texts), np.nan)
    for row, text in enumerate(texts):
        if text is None or text.lower() in _GAPS:
            continue
        try:
            numbers[row] = float(text)
        except ValueError:
            raise UserError(
                f"{name}: column {what!r} holds numbers, and row {row + 1} says something else. "
                "Write a number, or nothing for a gap."
            ) from None
    return numbers


def _labels(column: pd.Series[Any], name: str) -> npt.NDArray[Any]:
    require(
        not column.isna().any() and not (column == "").any(),
        f"{name}: the column {column.name!r} has gaps. Every row needs the model's answer.",
    )
    if pd.api.types.is_integer_dtype(column):
        return column.to_numpy(dtype=np.int64)
    return np.array(_texts(column), dtype=object)


def _texts(column: pd.Series[Any]) -> list[str | None]:
    """A column as texts; None for gaps. Whole numbers are written without a point."""
    values = column.tolist()
    missing = column.isna().tolist()
    return [
        None
        if gap or value == ""
        else str(int(value))
        if isinstance(value, float) and value.is_integer()
        else str(value)
        for value, gap in zip(values, missing, strict=True)
    ]


def _keys(frame: pd.DataFrame, columns: Mapping[str, str], name: str) -> list[Key]:
    """What tells records apart: their values, numbers to 9 significant digits."""
    parts: list[Sequence[str | None]] = []
    for column, kind in columns.items():
        if kind == "number":
            numbers = _numbers(frame[column], column, name) + 0.0  # -0 becomes 0
            parts.append([f"{number:.{_DIGITS}g}" for number in numbers])
        else:
            # Beside a gap, pandas reads and writes the whole number 1 as 1.0.
            texts = _texts(frame[column])
            parts.append([None if t is None else _WHOLE.sub(r"\1", t) for t in texts])
    return list(zip(*parts, strict=True))


def _lookup(
    keys: list[Key],
    scores: npt.NDArray[np.float64] | None,
    labels: npt.NDArray[Any] | None,
    name: str,
) -> dict[Key, int]:
    """The first row of each record."""
    rows: dict[Key, int] = {}
    for row, key in enumerate(keys):
        first = rows.setdefault(key, row)
        same = (scores is None or bool((scores[first] == scores[row]).all())) and (
            labels is None or labels[first] == labels[row]
        )
        require(
            same,
            f"{name} answers one record in two ways, in rows {first + 1} and {row + 1} (the first "
            "row below the header is 1). Records are told apart by their values, so equal records "
            "need equal answers: keep one of the rows.",
        )
    return rows


def _find(
    values: Inputs, columns: Mapping[str, str], rows: Mapping[Key, int], name: str
) -> list[int]:
    """The row of each record that is asked."""
    if not isinstance(values, pd.DataFrame):
        raise UserError(
            f"{name} is a table of answers and is looked up by the raw columns of a record, not by "
            "encoded numbers. Give data with columns, or give the model itself."
        )
    lacking = [column for column in columns if column not in values.columns]
    require(
        not lacking,
        f"{name} is looked up by the columns {', '.join(columns)}, and what is asked lacks "
        f"{', '.join(lacking)}. Ask with the whole record.",
    )
    keys = _keys(values, columns, name)
    unknown = [key for key in keys if key not in rows]
    require(
        not unknown,
        f"{name} has no answer to {len(unknown)} of {len(keys)} records that are asked. Write the "
        "records that are asked again (invbench redteam --asks) with the same tables, seeds and "
        "people, and have the model answer every one of them as it is written there.",
    )
    return [rows[key] for key in keys]
