"""Tables as numbers: encoded with public statistics, described column by column."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import Tensor

from bench.contract import (
    Card,
    Column,
    Outcome,
    Sensitive,
    Split,
    Splits,
    UserError,
    require,
)
from bench.contract.data import GIVEN, MISSING, MOST_DECIMALS, OTHER, given_name
from bench.data import common
from bench.data.common import Indices, Ints
from bench.data.headroom import headroom

GOALS: tuple[str, ...] = (
    "attribute",
    "gradient_reconstruction",
    "training_instance",
    "deleted_record",
)
"""What an attacker of a table wants whose target predicts a class."""


GRID = 15
"""Candidates for a sensitive number."""


@dataclass(frozen=True)
class Encoded:
    """A table as numbers.

    Attributes:
        x: float32 ``[n, d]``; the sensitive columns come first, then categories, then numbers.
        s: int64 ``[n]``, the sensitive value; of a number the nearest candidate.
        sensitive: the sensitive attribute.
        fields: the columns before they were encoded.
        names: the d encoded columns.
        facts: what was filled in.
    """

    x: Tensor
    s: Tensor
    sensitive: Sensitive
    fields: tuple[Column, ...]
    names: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)


def encode(
    name: str,
    frame: pd.DataFrame,
    *,
    sensitive: str,
    public: Ints,
    numeric: Sequence[str] = (),
    categories: Mapping[str, Sequence[str] | None] | None = None,
    called: str | None = None,
    gaps: bool | Collection[str] = False,
    rare: int = 1,
    exact: bool = False,
) -> Encoded:
    """Standardise numbers with public statistics and one-hot categories.

    Mean, standard deviation, median, candidates of a sensitive number and values of undocumented
    categories come from the public rows alone, so the encoding spends none of the members'
    privacy. A number with gaps gets a column ``NAME given`` (present or missing) and is filled
    with the public median; a category with gaps gets the value ``(missing)``.

    Args:
        name: the data set, for error messages.
        frame: one row per record.
        sensitive: column of the sensitive attribute; it has no gaps.
        public: rows whose statistics are used.
        numeric: columns to standardise.
        categories: column to its documented values, or None: those that ``rare`` public rows
            hold, and ``(other)`` for every other, whether or not one occurs.
        called: name of the sensitive attribute, where it is not the column's.
        gaps: columns that may have gaps, marked whether or not one occurs, so that the width
            does not depend on which records were drawn; True: those of ``frame`` that do. The
            sensitive column may not.
        rare: public rows that an undocumented value needs for a column of its own.
        exact: count the decimals of numbers, so that rows can be restored as they were, and those
            numbers that cannot: with ``d`` decimals float32 holds some 8 million times ``10**-d``.

    Raises:
        UserError: a gap, Inf or a value that is not documented, or a number without any public
            value.
    """
    frame = frame.copy()
    gappy = _gappy(frame, gaps) - {sensitive}
    facts: dict[str, Any] = {}
    values: dict[str, tuple[str, ...]] = {}
    for column, documented in (categories or {}).items():
        frame[column], values[column], unseen = _category(
            name, frame[column], documented, public, column in gappy, rare
        )
        if unseen:
            facts.setdefault("values_unseen_in_public", {})[column] = unseen
    _require_numbers(name, frame, numeric, public, gappy)
    for column in numeric:
        holes = frame[column].isna()
        if column in gappy:
            flag = given_name(column)
            frame[flag], values[flag] = np.where(holes, GIVEN[1], GIVEN[0]), GIVEN
            facts.setdefault("gaps_filled", {})[column] = int(holes.sum())

    other = [c for c in values if c != sensitive]
    plain = [c for c in numeric if c != sensitive]
    number = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    first = number if sensitive in numeric else _one_hot([values[sensitive]])
    encoder = ColumnTransformer(
        [
            ("sensitive", first, [sensitive]),
            ("one_hot", _one_hot([values[c] for c in other]), other),
            ("standardise", number, plain),
        ],
        verbose_feature_names_out=False,
    )
    encoder.fit(frame.iloc[public])
    x = torch.from_numpy(np.asarray(encoder.transform(frame), dtype=np.float32))
    try:
        names = tuple(encoder.get_feature_names_out())
    except ValueError as error:
        raise UserError(
            f"Data set '{name}': a column and a value of another one make the same name, as 'a' "
            f"with 'b_c' and 'a_b' with 'c' do ({error}); give one of the columns another name."
        ) from error

    units = _units(encoder, sensitive if sensitive in numeric else None, plain)
    fields, start = [], 0
    for column in (sensitive, *other, *plain):
        stop = start + len(values.get(column, (column,)))
        if column in values:
            fields.append(Column(column, "category", (start, stop), values[column]))
        else:
            digits = _decimals(frame[column]) if exact else None
            fields.append(
                Column(column, "number", (start, stop), (), *units[column], decimals=digits)
            )
        start = stop
    if exact and (changed := _changed(frame, fields, x)):
        facts["numbers_not_restored"] = changed
    attribute_name = called or sensitive
    if sensitive in numeric:
        known = frame[sensitive].to_numpy(np.float64)[public]
        attribute = _grid(attribute_name, known, encoder.named_transformers_["sensitive"][-1])
        codes = torch.tensor(attribute.codes).T
        s = (x[:, :1] - codes).abs().argmin(1)
    else:
        attribute = one_hot_sensitive(attribute_name, values[sensitive], fields[0].columns)
        s = x[:, : len(values[sensitive])].argmax(1)
    return Encoded(x, s, attribute, tuple(fields), names, facts)


def _units(
    encoder: ColumnTransformer, sensitive: str | None, plain: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Mean and scale of every number."""
    units: dict[str, tuple[float, float]] = {}
    for part, columns in (("sensitive", [sensitive] if sensitive else []), ("standardise", plain)):
        if columns:
            scaler = encoder.named_transformers_[part][-1]
            pairs = zip(scaler.mean_.tolist(), scaler.scale_.tolist(), strict=True)
            units |= dict(zip(columns, pairs, strict=True))
    return units


def _decimals(column: pd.Series[Any]) -> int | None:
    """Fewest decimals with which every number of a column is what it was; None: too many."""
    known = column.dropna().to_numpy(np.float64)
    digits = range(MOST_DECIMALS + 1)
    return next((n for n in digits if np.array_equal(np.round(known, n), known)), None)


def _changed(frame: pd.DataFrame, fields: Sequence[Column], x: Tensor) -> dict[str, int]:
    """How many numbers of each column float32 is too coarse for to be restored as they were."""
    counts = {}
    for column in fields:
        if column.kind == "number":
            known = frame[column.name].to_numpy(np.float64)
            back = x[:, column.columns[0]].double().numpy() * column.scale + column.mean
            if column.decimals is not None:
                back = np.round(back, column.decimals)
            counts[column.name] = int((~np.isnan(known) & (back != known)).sum())
    return {name: count for name, count in counts.items() if count}


def _gappy(frame: pd.DataFrame, gaps: bool | Collection[str]) -> set[str]:
    """Columns whose gaps are marked."""
    if isinstance(gaps, bool):
        return {c for c in frame.columns if frame[c].isna().any()} if gaps else set()
    return set(gaps)


def _one_hot(values: Sequence[Sequence[str]]) -> OneHotEncoder:
    return OneHotEncoder(categories=[list(v) for v in values], sparse_output=False)


def _category(
    name: str,
    column: pd.Series[Any],
    documented: Sequence[str] | None,
    public: Ints,
    gappy: bool,
    rare: int,
) -> tuple[pd.Series[Any], tuple[str, ...], int]:
    """A category with gaps and unknown values named, its values, and how many were unknown."""
    holes = column.isna()
    column = column.astype(object)
    require(
        gappy or not bool(holes.any()),
        f"Data set '{name}', column '{column.name}' holds gaps or '{np.nan}'; allowed: "
        f"{'a value' if documented is None else list(documented)}. The file is corrupt or "
        "another version.",
    )
    unseen = 0
    if documented is None:
        counts = column.iloc[public].value_counts()
        own = sorted(set(map(str, counts[counts >= rare].index)) - {OTHER, MISSING})
        unseen = int((~column.isin(counts.index) & ~holes).sum())
        column = column.where(column.isin(own), OTHER)
        values = (*own, OTHER)
    else:
        unknown = set(column[~holes]) - set(documented)
        require(
            not unknown,
            f"Data set '{name}', column '{column.name}' holds {sorted(map(str, unknown))[:5]}; "
            f"allowed: {list(documented)}. The file is corrupt or another version.",
        )
        values = tuple(documented)
    if not gappy:
        return column, values, unseen
    return column.mask(holes, MISSING), (*values, MISSING), unseen


def _require_numbers(
    name: str,
    frame: pd.DataFrame,
    numeric: Sequence[str],
    public: Ints,
    gappy: Collection[str],
) -> None:
    """Refuse Inf, gaps where there may be none, and columns without a public number."""
    table = frame[list(numeric)].to_numpy(np.float64)
    bad = np.isinf(table)
    holes = np.isnan(table)
    holes[:, [c in gappy for c in numeric]] = False
    wrong = [c for c, is_bad in zip(numeric, (bad | holes).any(0), strict=True) if is_bad]
    require(
        not wrong,
        f"Data set '{name}' holds NaN or Inf in {wrong}; allowed: finite numbers. The file is "
        "corrupt: get it again.",
    )
    empty = [c for c, e in zip(numeric, np.isnan(table[public]).all(0), strict=True) if e]
    require(
        not empty,
        f"Data set '{name}' has no value at all in {empty} of its public records, so that gaps "
        "cannot be filled; leave the column out.",
    )


def _grid(called: str, known: npt.NDArray[np.float64], scaler: StandardScaler) -> Sensitive:
    """A sensitive number: candidates are the middles of equally frequent public bands."""
    grid = np.unique(np.quantile(known, (np.arange(GRID) + 0.5) / GRID))
    codes = scaler.transform(grid[:, None]).astype(np.float32)
    return Sensitive(
        called,
        tuple(f"{value:.6g}" for value in grid),
        (0, 1),
        tuple((float(code),) for code in codes[:, 0]),
        numeric=True,
    )


def one_hot_sensitive(name: str, values: Sequence[str], columns: tuple[int, int]) -> Sensitive:
    """The description of a one-hot encoded sensitive attribute."""
    codes = tuple(tuple(map(float, row)) for row in np.eye(len(values)))
    return Sensitive(name, tuple(values), columns, codes)


def outcome(
    dataset: str,
    name: str,
    unit: str,
    values: npt.NDArray[np.float64],
    public: Ints,
    power: float = 1.0,
) -> tuple[Tensor, Outcome]:
    """A number to predict, standardised with public statistics.

    Args:
        dataset: for the error message.
        name: what it is.
        unit: its unit.
        values: float64 ``[n]`` in ``unit``.
        public: rows whose mean and standard deviation are used.
        power: the model learns the ``power``-th root.

    Returns:
        float32 ``[n]`` and its description.

    Raises:
        UserError: the outcome is the same for all public records.
    """
    learnt = values if power == 1.0 else values ** (1.0 / power)
    mean, scale = float(learnt[public].mean()), float(learnt[public].std())
    require(
        scale > 0.0,
        f"Data set '{dataset}': the outcome '{name}' is {values[public][0]:g} in every public "
        "record, so there is nothing to learn; the file is corrupt or the target column is wrong.",
    )
    y = torch.from_numpy(((learnt - mean) / scale).astype(np.float32))
    return y, Outcome(name, unit, mean, scale, power)


# ---------------------------------------------------------------- the end of every table's loader
def finish(
    card: Card,
    encoded: Encoded,
    y: Tensor,
    person: Tensor,
    rows: Indices,
    *,
    copies: Literal["refuse", "drop", "count"] = "refuse",
    **facts: Any,
) -> Splits:
    """Complete the card, take the splits, check them and measure the headroom.

    Args:
        card: the public description; what follows from the encoding is filled in.
        encoded: all records.
        y: labels int64 ``[n]`` or outcomes float32 ``[n]``.
        person: int64 ``[n]``.
        rows: row numbers of train, test, public.
        copies: equal records in two splits: refuse them, drop them from the later of train,
            test and public, or only count them (tables of a few categories repeat naturally).
        **facts: ``sha256``, ``split_protocol`` and further facts.

    Raises:
        UserError: what :func:`bench.data.common.finish` refuses.
    """
    card = replace(
        card,
        shape=(encoded.x.shape[1],),
        sensitive=encoded.sensitive,
        columns=encoded.names,
        fields=encoded.fields,
    )
    if copies == "drop":
        (train, test, public), facts["copies_dropped"] = common.without_copies(encoded.x, *rows)
        rows = train, test, public
        require(
            min(map(len, rows)) > 0,
            f"Data set '{card.name}': {facts['copies_dropped']} records repeat an earlier one in "
            "all columns that the model reads, and without them a split is empty; if they are "
            "different people, keep them ('repeats: true' in a table's card), else add columns.",
        )
    splits = common.finish(
        card,
        Split(encoded.x, y, person, encoded.s),
        rows,
        allow_duplicates=copies == "count",
        **encoded.facts,
        **facts,
    )
    return replace(splits, facts={**splits.facts, **headroom(splits)})
