"""How records become the inputs of an ONNX model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.contract import UserError, nearest, require
from bench.models.external.opened import Inputs

_TYPES: dict[str, type] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}
_TEXT = "tensor(string)"


@dataclass(frozen=True)
class Input:
    """An input of an ONNX model.

    Attributes:
        name: as the file calls it.
        shape: one size for each dimension; None: any size.
        type: as onnxruntime writes it, such as ``tensor(float)``.
    """

    name: str
    shape: tuple[int | None, ...]
    type: str

    def __str__(self) -> str:
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.name} [{sizes}] {self.type}"


def inputs_of(values: Sequence[Any], name: str) -> list[Input]:
    """Inputs of a session, whose types can be given.

    Raises:
        UserError: it has none, or reads what is neither numbers nor text.
    """
    found = [
        Input(item.name, tuple(s if isinstance(s, int) else None for s in item.shape), item.type)
        for item in values
    ]
    wrong = [str(item) for item in found if item.type not in {*_TYPES, _TEXT}]
    require(
        bool(found) and not wrong,
        f"{name} has inputs that cannot be given: {', '.join(wrong) or 'none at all'}. Allowed are "
        f"{', '.join([*_TYPES, _TEXT])}.",
    )
    return found


def fixed_batch(inputs: Sequence[Input]) -> int | None:
    """How many records the model wants at a time; None: any number."""
    sizes = {item.shape[0] for item in inputs if item.shape and item.shape[0]}
    return max((size for size in sizes if size is not None), default=None)


def feeds(values: Inputs, inputs: Sequence[Input], name: str) -> dict[str, npt.NDArray[Any]]:
    """What each input gets, one row a record.

    Raises:
        UserError: the records do not fit the inputs.
    """
    if not isinstance(values, pd.DataFrame):
        return {inputs[0].name: _tensor(values, inputs, name)}
    by_name = {_plain(str(column)): column for column in values.columns}
    by_name |= {str(column): column for column in values.columns}
    wide = inputs[0].shape[1:] not in ((1,), ())
    if len(inputs) == 1 and (wide or not _named(inputs[0], by_name)):
        return {inputs[0].name: _matrix(values, inputs[0], name)}
    found = {}
    for item in inputs:
        column = by_name.get(item.name, by_name.get(_plain(item.name)))
        if column is None:
            raise UserError(
                f"{name} reads an input {item.name!r}, and no column of the table is called so."
                f"{nearest(item.name, map(str, values.columns))} Rename the column, or export the "
                "model with the table's names."
            )
        found[item.name] = _shaped(_column(values[column], item, name), item, name)
    return found


def _named(item: Input, by_name: Mapping[str, Any]) -> bool:
    return item.name in by_name or _plain(item.name) in by_name


def _plain(name: str) -> str:
    return re.sub(r"\s", "_", name.strip())


def _tensor(values: npt.NDArray[Any], inputs: Sequence[Input], name: str) -> npt.NDArray[Any]:
    require(
        len(inputs) == 1 and inputs[0].type != _TEXT,
        f"{name} reads {'; '.join(map(str, inputs))}, which encoded numbers do not fit: its "
        "preprocessing is its own. Give it the table's raw columns.",
    )
    item = inputs[0]
    _check_shape(values.shape, item, name)
    return _cast(values, item, "the records", name)


def _check_shape(shape: tuple[int, ...], item: Input, name: str) -> None:
    # A file that declares no shape at all leaves it open.
    fits = not item.shape or (
        len(shape) == len(item.shape)
        and all(
            want is None or want == got
            for got, want in zip(shape, (None, *item.shape[1:]), strict=True)
        )
    )
    require(
        fits,
        f"{name} reads {item}, and a record has the shape {list(shape[1:])}. Give data of the "
        "shape that the model was trained on, or export the model for this shape.",
    )


def _matrix(frame: pd.DataFrame, item: Input, name: str) -> npt.NDArray[Any]:
    text = [str(column) for column in frame.columns if not _numeric(frame[column])]
    require(
        not text and item.type != _TEXT,
        f"{name} reads one matrix {item}, and only columns of numbers can be put into one: "
        f"{', '.join(text) or 'text is wanted'}. Export the model with one input for each column, "
        "or give the columns encoded.",
    )
    values = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    _check_shape(values.shape, item, name)
    columns = [_cast(values[:, i], item, f"column {c!r}", name) for i, c in enumerate(frame)]
    return np.stack(columns, axis=1)


def _numeric(column: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def _column(column: pd.Series[Any], item: Input, name: str) -> npt.NDArray[Any]:
    number = _numeric(column)
    require(
        number != (item.type == _TEXT),
        f"{name} reads {item}, and column {column.name!r} holds {'numbers' if number else 'text'}. "
        "Change the column's kind in the description of the data, or export the model with the "
        "type that the column has.",
    )
    if number:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return _cast(values, item, f"column {column.name!r}", name)
    texts = [
        "" if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)
    ]
    return np.array(texts, dtype=object)


def _shaped(values: npt.NDArray[Any], item: Input, name: str) -> npt.NDArray[Any]:
    if len(item.shape) == 1:
        return values
    _check_shape((len(values), 1), item, name)
    return values[:, None]


def _cast(values: npt.NDArray[Any], item: Input, what: str, name: str) -> npt.NDArray[Any]:
    dtype = _TYPES[item.type]
    if issubclass(dtype, np.integer):
        gaps = np.isnan(values)
        require(
            not gaps.any(),
            f"{name} reads whole numbers ({item}), which have no sign for a gap, and {what} has "
            f"{int(gaps.sum())} gaps. Fill them in the data, or export the model with float "
            "inputs.",
        )
        require(
            bool((values == np.floor(values)).all()),
            f"{name} reads whole numbers ({item}), and {what} holds fractions. Export the model "
            "with float inputs.",
        )
    return np.ascontiguousarray(values.astype(dtype))
