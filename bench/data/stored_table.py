"""Tables with a known content: one order of steps, in which each table states what differs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch

from bench.contract import Modality, Outcome, Splits
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
    def records(self) -> int | None:
        """Most records, drawn by the seed; None: all."""
        return None

    @abstractmethod
    def _read(self, paths: Sequence[Path]) -> Records:
        """The records in its files: numbers as float64, gaps as NaN, codes as they are.

        Raises:
            UserError: the files hold something else.
        """

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

        drawn = frames.draw(strata, self.records, seed)
        frame = frame.iloc[drawn]
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
