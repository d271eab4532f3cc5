"""Encoded records as the rows of the table that they were, for a model that reads those."""

from __future__ import annotations

import csv
import io
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from bench.contract.data import GIVEN, MISSING, Card, Column, given_name

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd


def rows_of(card: Card, x: Tensor) -> pd.DataFrame:
    """The columns of records before they were encoded, as :func:`pandas.read_csv` types them.

    A record that was encoded comes back as it was. Of any other, a category is the value with the
    largest encoded column, a number is rounded to the decimals of its column in the file, and
    missing is what its flag says is likelier missing than present.

    Args:
        card: with ``raw`` and ``fields``.
        x: encoded records ``[n, d]``.

    Returns:
        One row per record, in the order of ``card.raw``: numbers as float64, categories as numbers
        where pandas takes all their values for such and as text elsewhere; gaps are NaN.
    """
    import pandas as pd

    values = x.detach().double().cpu().numpy()
    fields = {column.name: column for column in card.fields}
    columns = {}
    for name in card.raw:
        column = fields[name]
        if column.kind == "category":
            columns[name] = _category(column, values)
        else:
            columns[name] = _number(column, fields.get(given_name(name)), values)
    return pd.DataFrame(columns)


def _category(column: Column, values: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    start, stop = column.columns
    chosen: npt.NDArray[Any] = _typed(column.values)[values[:, start:stop].argmax(1)]
    return chosen


@lru_cache(maxsize=1024)
def _typed(names: tuple[str, ...]) -> npt.NDArray[Any]:
    """The values of a category as pandas reads a file with these texts in a column."""
    import pandas as pd

    file = io.StringIO()
    csv.writer(file).writerows([["value"], *(["" if n == MISSING else n] for n in names)])
    file.seek(0)
    read = pd.read_csv(file, keep_default_na=False, na_values=[""], skip_blank_lines=False)
    column = read["value"]
    dtype = None if pd.api.types.is_numeric_dtype(column) else object
    values: npt.NDArray[Any] = column.to_numpy(dtype)
    values.flags.writeable = False  # it is kept
    return values


def _number(
    column: Column, flag: Column | None, values: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    numbers = values[:, column.columns[0]] * column.scale + column.mean
    if column.decimals is not None:
        numbers = np.round(numbers, column.decimals)
    numbers = numbers + 0.0  # -0.0 is the same number as 0.0 and another text.
    if flag is not None:
        start, stop = flag.columns
        missing = flag.values.index(GIVEN[1])
        numbers[values[:, start:stop].argmax(1) == missing] = np.nan
    return numbers
