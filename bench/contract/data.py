"""Private records with named splits, and the card that describes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from bench.contract import sparse
from bench.contract.base import Component
from bench.contract.errors import require
from bench.contract.task import Task

Modality = Literal["image", "table", "basket"]
MOST_DECIMALS = 6
"""Digits after the decimal point that numbers are restored to."""
MISSING = "(missing)"
"""The value of a category that is not given."""
OTHER = "(other)"
"""The value of a category that too few public records hold, or none."""
GIVEN = ("present", "missing")
"""Values of the column that says whether a number is given."""


def given_name(column: str) -> str:
    """Name of the column that says whether a number is given."""
    return f"{column} given"


@dataclass(frozen=True)
class Split:
    """Records of one split.

    Attributes:
        x: float32 ``[n, *shape]``. Images are ``[n, channels, height, width]`` in [0, 1]; tables
            are encoded (numeric columns standardised with public statistics, categories
            one-hot); baskets are 0/1. Baskets that would not fit are kept in compressed rows
            (:mod:`bench.contract.sparse`); only components with ``takes_sparse`` meet them.
        y: int64 ``[n]`` class labels in ``[0, n_classes)``; where the target predicts a number,
            float32 ``[n]`` outcomes, standardised with public statistics.
        person: int64 ``[n]``, the privacy unit each record belongs to.
        s: int64 ``[n]`` value of the sensitive attribute, tables only; of a number the nearest
            candidate.
    """

    x: Tensor
    y: Tensor
    person: Tensor
    s: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor) -> Split:
        """The records at ``index`` (int64 or bool), in that order."""
        return Split(
            sparse.take(self.x, index),
            self.y[index],
            self.person[index],
            None if self.s is None else self.s[index],
        )

    def to(self, device: str) -> Split:
        """The same records on ``device``."""
        s = None if self.s is None else self.s.to(device)
        return replace(
            self, x=self.x.to(device), y=self.y.to(device), person=self.person.to(device), s=s
        )


@dataclass(frozen=True)
class Column:
    """A column of a table as it was before it was encoded.

    Attributes:
        name: the column.
        kind: ``category``: one-hot; ``number``: one standardised value.
        columns: ``(start, stop)`` of the encoded columns that hold it.
        values: names of a category's values, in the order of its encoded columns.
        mean: what was subtracted from a number.
        scale: what it was divided by after that.
        decimals: most digits that the numbers in the file have after the decimal point; None: more
            than :data:`MOST_DECIMALS`, or not counted.
    """

    name: str
    kind: Literal["category", "number"]
    columns: tuple[int, int]
    values: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    decimals: int | None = None


@dataclass(frozen=True)
class Outcome:
    """A number that the target predicts.

    Attributes:
        name: what it is.
        unit: its unit.
        mean: of the public records, on the scale the model learns.
        scale: standard deviation there.
        power: a value in ``unit`` is ``(y * scale + mean) ** power``; 2 where the model learns
            the square root.
    """

    name: str
    unit: str
    mean: float
    scale: float
    power: float = 1.0

    def natural(self, y: Tensor) -> Tensor:
        """Standardised outcomes in ``unit``, float64."""
        plain = y.double() * self.scale + self.mean
        return plain if self.power == 1.0 else plain.clamp_min(0.0) ** self.power


@dataclass(frozen=True)
class Sensitive:
    """The sensitive attribute of a table.

    Attributes:
        name: the attribute.
        values: names of its values; of a number, a grid of candidates.
        columns: ``(start, stop)`` of the encoded columns that hold it.
        codes: one row per value: what those columns hold for it, ``len(values) x (stop - start)``.
        numeric: whether it is a number, held in one column.
    """

    name: str
    values: tuple[str, ...]
    columns: tuple[int, int]
    codes: tuple[tuple[float, ...], ...]
    numeric: bool = False

    def hide(self, x: Tensor) -> Tensor:
        """A copy of ``x`` ``[n, d]`` with the sensitive columns set to 0."""
        hidden = x.clone()
        hidden[:, self.columns[0] : self.columns[1]] = 0.0
        return hidden

    def candidates(self, x: Tensor) -> Tensor:
        """``x`` ``[n, d]`` completed with every value: ``[n, n_values, d]``."""
        completed = x.unsqueeze(1).repeat(1, len(self.values), 1)
        codes = torch.tensor(self.codes, dtype=x.dtype, device=x.device)
        completed[:, :, self.columns[0] : self.columns[1]] = codes
        return completed


@dataclass(frozen=True)
class Card:
    """What is publicly known of a data set: everything an attacker may also read.

    Attributes:
        name: the data set.
        sector: ``medical``, ``retail``, ``face``, ``credit`` or ``survey``.
        modality: ``image``, ``table`` or ``basket``.
        shape: shape of one record.
        class_names: names of the classes, in label order; none where a number is predicted.
        privacy_unit: ``record`` or ``person``: what one row of harm is.
        source: where the data comes from, with the credit its terms ask for.
        terms: licence or terms stated at the source.
        publishable: whether a published report may show records.
        sensitive: the sensitive attribute (tables).
        columns: encoded column names (tables) or item names (baskets).
        fields: the columns before they were encoded (tables).
        tasks: what a target may learn from it.
        outcome: the number to predict (regression).
        sensitive_items: indices of items whose recovery weighs most (baskets).
        shared_classes: whether labels of the public split mean the same classes; other people's
            faces have labels of their own.
        raw: names of the columns in the table's own order, where a model that was given reads them
            as they were before they were encoded (:func:`bench.contract.rows.rows_of`).
        members_known: whether ``train`` is what the model was trained on. Otherwise it is half of
            the records that were given, of which nobody knows.
    """

    name: str
    sector: str
    modality: Modality
    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    privacy_unit: Literal["record", "person"]
    source: str
    terms: str
    publishable: bool
    sensitive: Sensitive | None = None
    columns: tuple[str, ...] = ()
    fields: tuple[Column, ...] = ()
    tasks: tuple[Task, ...] = ("classification",)
    outcome: Outcome | None = None
    sensitive_items: tuple[int, ...] = ()
    shared_classes: bool = True
    raw: tuple[str, ...] = ()
    members_known: bool = True

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 where a number is predicted."""
        return len(self.class_names)

    def width(self, task: Task) -> int:
        """Number of outputs of a model that does ``task``."""
        return {
            "classification": self.n_classes,
            "regression": 1,
            "recommendation": self.shape[0],
        }[task]

    def known_label(self, y: Tensor) -> Tensor:
        """A label as features, float32: one-hot ``[n, n_classes]`` or the outcome ``[n, 1]``."""
        if self.outcome is not None:
            return y.float().unsqueeze(1)
        return torch.nn.functional.one_hot(y, self.n_classes).float()


@dataclass(frozen=True)
class Splits:
    """The named splits of a data set for one repeat.

    Attributes:
        card: the public description.
        train: members: the target is trained on these.
        test: held-out records of the same people or population; never seen by training,
            by a defense or by an attack.
        public: the attacker's (and a defense's) auxiliary data, disjoint from ``train`` in
            records and, for faces, in people. Its labels are its own people for faces, the same
            classes elsewhere.
        fillers: pictures of people who are neither private nor public. Only the judges of
            reconstructions ever see them; None where the data set has no people to spare.
        facts: what the loader checked and counted: ``sha256``, ``n_rows``, ``class_counts``,
            ``duplicates_across_splits``, ``split_protocol`` and whatever else it found.
    """

    card: Card
    train: Split
    test: Split
    public: Split
    facts: Mapping[str, Any] = field(default_factory=dict)
    fillers: Split | None = None


@dataclass(frozen=True)
class Victims:
    """Records under attack: members and as many matched non-members, shuffled together.

    ``member`` (bool ``[n]``) is the judge's and never reaches an attack.
    """

    records: Split
    member: Tensor


class Dataset(Component, ABC):
    """A data set: a frozen dataclass whose fields are its options.

    Class attributes say, before anything is loaded, what it can be used for.
    """

    sector: ClassVar[str]
    modality: ClassVar[Modality]
    goals: ClassVar[tuple[str, ...]]
    """Names of goals (:mod:`bench.goals`) that it can be attacked with."""
    tasks: ClassVar[tuple[Task, ...]] = ("classification",)
    utility_metric: ClassVar[str]
    """``accuracy`` or ``balanced_accuracy``: the headline utility of a classifier, available at
    every access."""
    embedded: ClassVar[bool]
    """Whether it needs no files."""
    fixed_split: ClassVar[bool] = False
    """Whether the members are the same for every seed, as in an official training set."""
    secret: ClassVar[str] = ""
    """What a board asks for, of tables with a sensitive attribute: the end of "Can someone learn
    ...", such as ``whether a patient is given insulin``. Empty: the attribute's name serves."""

    @property
    def called(self) -> str | None:
        """Name of the data set where its options or files give it one of its own.

        None: the name of its option is its name.
        """
        return None

    @property
    @abstractmethod
    def n_classes(self) -> int:
        """Number of classes, known from the options before anything is loaded."""

    def count_classes(self, data_root: Path | None) -> int:
        """Number of classes, also where only a file below the data root tells it.

        Args:
            data_root: folder of data sets; None if there is none.

        Raises:
            UserError: the number is not known without a file that is not there.
        """
        return self.n_classes

    def kept_sparse(self, data_root: Path | None) -> str | None:
        """What its records would take as dense ones, in words; None where they are dense.

        Raises:
            UserError: the files that tell it hold something else.
        """
        return None

    def missing(self, data_root: Path | None) -> str | None:
        """One sentence saying which file is missing and where to get it; None if all is there."""
        return None

    @property
    def disjoint(self) -> bool:
        """Whether every repeat meets people of its own, drawn from one large population.

        The spread over repeats is then that of the population, and not of one data set.
        """
        return False

    def of_repeat(self, repeat: int) -> Dataset:
        """The data set that one repeat meets: itself unless :attr:`disjoint`.

        Args:
            repeat: number of the repeat, from 0.
        """
        return self

    @abstractmethod
    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Load and split the data.

        Args:
            seed: decides the split (and, for generators, the records).
            data_root: folder of data sets; embedded data ignores it.

        Raises:
            UserError: missing, corrupt or degenerate data.
        """


def check_splits(splits: Splits) -> None:
    """Refuse splits that would make a benchmark meaningless (PROTOCOL 3.6, C9).

    Raises:
        UserError: an empty split, NaN or Inf, labels out of range, a training set with one
            class, images outside [0, 1], or people shared by ``public`` and a private split
            or by ``fillers`` and any other.
    """
    card = splits.card
    for name in _names(splits):
        split: Split = getattr(splits, name)
        where = f"Data set '{card.name}', split '{name}'"
        require(len(split) > 0, f"{where} is empty; use more records or another split fraction.")
        low, high = (float(end) for end in torch.aminmax(sparse.stored(split.x)))  # NaN if any is
        require(
            isfinite(low) and isfinite(high),
            f"{where} holds NaN or Inf; impute or drop those records in the loader.",
        )
        require(
            tuple(split.x.shape[1:]) == card.shape,
            f"{where} has records of shape {tuple(split.x.shape[1:])}, the card says {card.shape}.",
        )
        require(
            len(split) == len(split.y) == len(split.person),
            f"{where} has {len(split)} records, {len(split.y)} labels, {len(split.person)} owners.",
        )
        if card.modality == "image":
            require(
                low >= 0.0 and high <= 1.0,
                f"{where} has pixels outside [0, 1]; scale them in the loader.",
            )
        if card.sensitive is not None:
            require(split.s is not None, f"{where} lacks the sensitive attribute.")
    for name in ("train", "test"):
        y = getattr(splits, name).y
        if card.outcome is not None:
            require(
                y.is_floating_point() and bool(torch.isfinite(y).all()),
                f"Data set '{card.name}', split '{name}' has outcomes that are no finite numbers; "
                "drop those records in the loader.",
            )
            continue
        require(
            int(y.min()) >= 0 and int(y.max()) < card.n_classes,
            f"Data set '{card.name}', split '{name}' has labels outside [0, {card.n_classes}).",
        )
    require(
        len(torch.unique(splits.train.y)) > 1,
        f"Data set '{card.name}' has one {'outcome' if card.outcome else 'class'} only in 'train' "
        "(label entropy 0): "
        "the file is corrupt or the target column is wrong.",
    )
    for name in ("train", "test"):
        shared = torch.isin(getattr(splits, name).person, splits.public.person)
        require(
            not bool(shared.any()),
            f"Data set '{card.name}' shares people between '{name}' and 'public'; "
            "the attacker's data must be disjoint.",
        )
    for name in _names(splits)[:3] if splits.fillers is not None else ():
        assert splits.fillers is not None
        require(
            not bool(torch.isin(getattr(splits, name).person, splits.fillers.person).any()),
            f"Data set '{card.name}' shares people between '{name}' and 'fillers'; fillers must be "
            "people of their own.",
        )


def _names(splits: Splits) -> tuple[str, ...]:
    """Names of the splits that are there, fillers last."""
    return ("train", "test", "public") + (() if splits.fillers is None else ("fillers",))


def duplicates_across(splits: Splits) -> int:
    """Number of distinct records that stand in more than one split, bit for bit."""
    seen = [set(sparse.row_digests(getattr(splits, name).x)) for name in _names(splits)]
    return len(set[bytes]().union(*(a & b for a, b in combinations(seen, 2))))
