"""Tables with a known content: one order of steps, in which each table states what differs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
import torch
from annotated_types import Ge

from bench.contract import Modality, Outcome, Splits, require
from bench.data import frames, tables
from bench.data.common import Indices, Ints
from bench.data.loader import Shared

Codes = Mapping[Any, str]
"""A code in the file to the value that it becomes."""


@dataclass(frozen=True)
class Records:
    """The records of a table as they were read, cleaned but not yet split.

    Attributes:
        frame: one row per record; the index says whose record it is.
        facts: what was counted while they were read.
        members: how many records, the first ones, an official split makes members.
    """

    frame: pd.DataFrame
    facts: Mapping[str, Any] = field(default_factory=dict)
    members: int = 0


@dataclass(frozen=True)
class StoredTable(Shared):
    """A table whose columns are known beforehand.

    The sensitive attribute replaces the column it is made from, so that no finer code of it stays
    among the known columns.

    Attributes:
        sensitive: the sensitive attribute, a key of ``sensitives``.
    """

    sensitive: str = ""

    modality: ClassVar[Modality] = "table"
    goals: ClassVar[tuple[str, ...]] = tables.GOALS
    utility_metric: ClassVar[str] = "balanced_accuracy"

    target: ClassVar[str]
    """The column that a model predicts."""
    classes: ClassVar[Codes] = {}
    """Code of the target to the name of its class, in label order; empty: it is a number."""
    outcome: ClassVar[tuple[str, str, float]]
    """Of a number to predict: its name, its unit, and which root of it the model learns."""
    numeric: ClassVar[Sequence[str]] = ()
    categories: ClassVar[Mapping[str, Sequence[str]]]
    """Column to its documented values."""
    sensitives: ClassVar[Mapping[str, tuple[str, Codes]]]
    """Option ``sensitive`` to the column it replaces and the value that each code becomes."""
    secrets: ClassVar[Mapping[str, str]]
    """Option ``sensitive`` to :attr:`bench.contract.Dataset.secret`."""
    telling: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Column to others that say much about it and are left out where it is sensitive."""
    gaps: ClassVar[bool | Collection[str]] = False
    """As in :func:`bench.data.tables.encode`."""
    distinct: ClassVar[bool] = False
    """Whether one of several records with equal inputs is kept: two could stand on both sides of
    a split."""
    copies: ClassVar[Literal["refuse", "drop", "count"]] = "refuse"
    """As in :func:`bench.data.tables.finish`."""
    protocol: ClassVar[str]
    """How the split is made; ``{n}``, ``{sensitive}`` and ``{target}`` are filled in."""

    @property
    def n_classes(self) -> int:
        """As many as the target has; 0 where it is a number."""
        return len(set(self.classes.values()))

    @property
    def secret(self) -> str:  # type: ignore[override]
        """Of the attribute that was chosen."""
        return self.secrets[self.sensitive]

    @abstractmethod
    def _read(self, paths: Sequence[Path]) -> Records:
        """The records in its files: numbers as float64, gaps as NaN, codes as they are.

        Raises:
            UserError: the files hold something else.
        """

    def _draw(self, strata: Ints, seed: int) -> tuple[Ints, Mapping[str, Any]]:
        """Rows that are kept before the split, and facts about how they were chosen."""
        return np.arange(len(strata)), {}

    def _split(self, records: Records, strata: Ints, seed: int) -> tuple[Indices, str]:
        """Rows of train, test and public, and one sentence that says how they were chosen."""
        protocol = self.protocol.format(n=len(strata), sensitive=self.sensitive, target=self.target)
        return self._stratified(strata, seed), f"{protocol}: {self._shares}"

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read, check, draw and split by ``seed``; see the base class."""
        paths, opened = self._open(data_root)
        records = self._read(paths)
        column, names = self.sensitives[self.sensitive]
        frame, values, hidden = frames.recode(self.name, records.frame, column, names)
        facts: dict[str, Any] = {**opened, **records.facts}
        if self.distinct:
            first = ~frame.duplicated([*self.numeric, *self.categories]).to_numpy()
            frame, hidden = frame[first], hidden[first]
            facts["duplicates_dropped"] = int((~first).sum())
        if self.classes:
            frame, class_names, label = frames.recode(self.name, frame, self.target, self.classes)
            strata = label * len(values) + hidden
        else:
            class_names, label = (), frames.quartiles(frame[self.target])
            strata = hidden * 4 + label

        drawn, drawing = self._draw(strata, seed)
        frame, facts = frame.iloc[drawn], {**facts, **drawing}
        rows, protocol = self._split(records, strata[drawn], seed)
        left_out = self.telling.get(column, ())
        encoded = tables.encode(
            self.name,
            frame,
            sensitive=column,
            called=self.sensitive,
            public=rows[2],
            numeric=self.numeric,
            categories={k: v for k, v in self.categories.items() if k not in left_out}
            | {column: values},
            gaps=self.gaps,
        )
        y, outcome = torch.from_numpy(label[drawn]), None
        if not self.classes:
            y, outcome = self._number(frame, rows)
        return tables.finish(
            self._card(shape=(), class_names=class_names, outcome=outcome),
            encoded,
            y,
            torch.from_numpy(frame.index.to_numpy(np.int64, copy=True)),
            rows,
            copies=self.copies,
            split_protocol=protocol,
            **facts,
        )

    def _number(self, frame: pd.DataFrame, rows: Indices) -> tuple[torch.Tensor, Outcome]:
        """The number to predict, standardised with public statistics."""
        name, unit, power = self.outcome
        values = frame[self.target].to_numpy(np.float64)
        return tables.outcome(self.name, name, unit, values, rows[2], power)


@dataclass(frozen=True)
class DrawnTable(StoredTable):
    """A large table of which a run may use a part.

    Seeds of one table share its people: their spread says how much another split changes, not how
    much other people would. Disjoint tables, a new one for every repeat, are independent samples of
    the large table, and the spread over them is that of its population.

    Attributes:
        records: how many records are drawn; None: all.
        table: ``random``: every repeat draws ``records`` of all, with equal shares of classes and
            sensitive values; these draws overlap. A number: every repeat splits that one of the
            disjoint tables of ``records`` records into which a fixed shuffle cuts the large one.
            ``each``: repeat k splits table k, and so every repeat has people of its own.
    """

    records: Annotated[int, Ge(100)] | None = 2000
    table: Literal["random", "each"] | Annotated[int, Ge(0)] = "random"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.table == "random" or self.records is not None,
            f"dataset.{self.name}.table is {self.table!r} and dataset.{self.name}.records is null; "
            "disjoint tables need a number of records.",
        )

    @property
    def disjoint(self) -> bool:
        """Whether every repeat has a table of its own; see the base class."""
        return self.table == "each"

    def of_repeat(self, repeat: int) -> Self:
        """The table of one repeat; see the base class."""
        return replace(self, table=repeat) if self.disjoint else self

    def _draw(self, strata: Ints, seed: int) -> tuple[Ints, Mapping[str, Any]]:
        if self.table == "random" or self.records is None:
            return frames.draw(strata, self.records, seed), {}
        require(
            isinstance(self.table, int),
            f"Data set '{self.name}' has a table for each repeat (table=each), and this repeat is "
            "not known here; name a table by its number.",
        )
        tables_there = len(strata) // self.records
        require(
            int(self.table) < tables_there,
            f"Data set '{self.name}' holds {tables_there} disjoint tables of {self.records} "
            f"records ({len(strata)} in all); table {self.table} is not among them. Allowed: 0 to "
            f"{tables_there - 1}, and with table=each at most {tables_there} seeds.",
        )
        shuffled = np.random.default_rng(0).permutation(len(strata))
        start = int(self.table) * self.records
        facts = {"disjoint_table": self.table, "disjoint_tables": tables_there}
        return np.sort(shuffled[start : start + self.records]), facts
