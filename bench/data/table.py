"""A table of your own: a CSV or Parquet file and a card that says what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from bench.contract import Count, Modality, Splits, Task, require
from bench.data import common, frames, tables
from bench.data.loader import Shared
from bench.data.table_card import TableCard, checked, labels_of, read_card, read_table


@dataclass(frozen=True)
class Table(Shared):
    """Records of a file, as a card describes them.

    A card is a YAML file::

        name: loans                    # of the data set
        sector: credit                 # medical, retail, face, credit, survey or your own word
        source: our branch in Kiel, 2024
        terms: internal
        publishable: false             # may a published report show records? (default: false)
        target: repaid                 # column to predict
        task: classification           # or regression (default: classification)
        classes: ["no", "yes"]         # in label order; left out: the file's own, sorted
        sensitive: illness             # the column an attacker wants; a category or a number
        person: customer               # optional: column that tells whose a record is
        repeats: false                 # equal records are different people: keep and count them
        columns:                       # what the model reads; other columns are ignored
          age: number
          income: number
          district: category
          illness: category

    ``unit`` names the unit of a number to predict. Quote words that YAML reads as something else
    (``"no"``, ``"1"``). Gaps (nothing, NA, NaN, null or "?") are a value of their own; records
    without a target or a sensitive value are left out and counted. Values of categories are
    learned from the public records, those that fewer than ``rare`` of them hold are "(other)".
    Records of a person stand in the same split. Records that are equal once encoded are kept in
    the first of train, test, public only, unless the card says ``repeats``.

    Attributes:
        file: the table, ``.csv`` (with a header, UTF-8) or ``.parquet``: a full path, or one
            below the data root, or else beside the card.
        card: its card: a full path or one from the working directory.
        train: share of the people (or records) that are members.
        public: share of the people (or records) that the attacker holds; the rest is ``test``.
        rare: public records that a category's value needs for a column of its own.
        sha256: expected content hash of file and card; None accepts any.
    """

    file: str = "table/table.csv"
    card: str = "table.yaml"
    rare: Count = 5

    modality: ClassVar[Modality] = "table"
    goals: ClassVar[tuple[str, ...]] = tables.GOALS
    name = "table"
    source = "its card says where from"
    terms = "see its card"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            Path(self.file).suffix in (".csv", ".parquet"),
            f"dataset.table.file is '{self.file}'; allowed: a file that ends in .csv or .parquet.",
        )

    def _known(self) -> TableCard | None:
        """The card, None if it is not there yet."""
        path = Path(self.card)
        return read_card(path) if path.exists() else None

    @property
    def called(self) -> str | None:
        """As the card says."""
        card = self._known()
        return card.name if card else None

    @property
    def sector(self) -> str:  # type: ignore[override]
        """As the card says."""
        card = self._known()
        return card.sector if card else "not stated"

    @property
    def tasks(self) -> tuple[Task, ...]:  # type: ignore[override]
        """As the card says."""
        card = self._known()
        return (card.task,) if card else ("classification",)

    @property
    def utility_metric(self) -> str:  # type: ignore[override]
        """Balanced accuracy of classes; of numbers the share within 20 % of the truth."""
        return "within_20pct" if self.tasks == ("regression",) else "balanced_accuracy"

    @property
    def n_classes(self) -> int:
        """As the card says, or else as many labels as the file holds; 0 of a regression.

        Raises:
            UserError: the card does not list the classes, and the file is neither given by its
                full path nor beside the card: then :meth:`count_classes` tells.
        """
        return self.count_classes(None)

    def count_classes(self, data_root: Path | None) -> int:
        """As :attr:`n_classes`, of a file that may lie below the data root."""
        card = self._known()
        if card is None:
            return 2
        if card.task == "regression":
            return 0
        if card.classes:
            return len(card.classes)
        path = self._path(data_root)
        require(
            path.exists(),
            f"Table card '{self.card}' lists no 'classes', and '{self.file}' is neither beside "
            f"the card nor below data_root={data_root}; list them in the card, or give the file's "
            "full path.",
        )
        return len(labels_of(card, read_table(card.name, path, (card.target,))))

    def _path(self, data_root: Path | None) -> Path:
        """Where the table is: ``data_root / file`` of a full path is that path."""
        beside = Path(self.card).parent / self.file
        if data_root is None:
            return beside
        return data_root / self.file if (data_root / self.file).exists() else beside

    def files(self, data_root: Path | None) -> Mapping[str, Path]:
        """The table and its card; see the base class."""
        named = {"file": self._path(data_root), "card": Path(self.card)}
        return {name: path for name, path in named.items() if path.exists()}

    def missing(self, data_root: Path | None) -> str | None:
        """Which of table and card is not there; see the base class."""
        if not Path(self.card).exists():
            return (
                f"Data set 'table' needs a card '{self.card}' that describes your table, which is "
                "missing: write one (bench.data.table shows how) and give its full path with "
                "dataset.table.card=FILE."
            )
        if self._path(data_root).exists():
            return None
        return (
            f"Data set 'table' needs '{self.file}', which is missing below data_root="
            f"{data_root} and beside the card: give its path with dataset.table.file=FILE."
        )

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read, check and split by ``seed``; see the base class.

        Raises:
            UserError: a card or table that does not hold what it should; says what and where.
        """
        absent = self.missing(data_root)
        require(absent is None, str(absent))
        path, described = self._path(data_root), read_card(Path(self.card))
        sha256 = common.sha256_of_files([path, Path(self.card)])
        self._check_sha256(f"'{path}' with its card", sha256)
        everything = read_table(described.name, path, described.used)
        frame = checked(described, everything)
        n = len(frame)
        person = frame[described.person].factorize()[0] if described.person else np.arange(n)

        number = described.columns[described.sensitive] == "number"
        values = () if number else tuple(sorted(set(frame[described.sensitive])))
        hidden = (
            frames.quartiles(frame[described.sensitive])
            if number
            else frame[described.sensitive].map(values.index)
        )
        classes = labels_of(described, frame) if described.task == "classification" else ()
        target = frame[described.target]
        label = (target.map(classes.index) if classes else frames.quartiles(target)).astype(
            np.int64
        )
        strata = np.asarray(label, np.int64) * n + np.asarray(hidden, np.int64)
        rows = frames.stratified_people(
            described.name, strata, person, self.train, self.public, seed
        )

        y, outcome = torch.from_numpy(np.array(label, np.int64)), None
        if described.task == "regression":
            known = target.to_numpy(np.float64)
            y, outcome = tables.outcome(
                described.name, described.target, described.unit, known, rows[2]
            )
        categories: dict[str, tuple[str, ...] | None] = dict.fromkeys(described.of_kind("category"))
        if not number:
            categories[described.sensitive] = values
        encoded = tables.encode(
            described.name,
            frame,
            sensitive=described.sensitive,
            public=rows[2],
            numeric=described.of_kind("number"),
            categories=categories,
            gaps=True,
            rare=self.rare,
        )
        card = self._card(
            name=described.name,
            shape=(),
            class_names=classes,
            privacy_unit="record" if described.person is None else "person",
            source=described.source,
            terms=described.terms,
            publishable=described.publishable,
            outcome=outcome,
        )
        return tables.finish(
            card,
            encoded,
            y,
            torch.from_numpy(person.astype(np.int64)),
            rows,
            copies="count" if described.repeats else "drop",
            sha256=sha256,
            split_protocol=f"{'people' if described.person else 'records'}, stratified by "
            f"{described.target} and {described.sensitive}: {self._shares}",
            incomplete_dropped=len(everything) - n,
        )
