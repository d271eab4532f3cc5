"""A table of your own: a CSV or Parquet file and a card that says what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from bench.contract import Card, Dataset, Modality, Splits, Task, require
from bench.data import common, frames, tables
from bench.data.table_card import TableCard, bands, checked, labels_of, read_card, read_table


@dataclass(frozen=True)
class Table(Dataset):
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
        public: share that the attacker holds; the rest is ``test``.
        rare: public records that a category's value needs for a column of its own.
        sha256: expected content hash of file and card; None accepts any.
    """

    file: str = "table/table.csv"
    card: str = "table.yaml"
    train: float = 0.4
    public: float = 0.3
    rare: int = 5
    sha256: str | None = None

    modality: ClassVar[Modality] = "table"
    goals: ClassVar[tuple[str, ...]] = tables.GOALS
    embedded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        common.check_fractions("table", self.train, self.public)
        common.check_sha256_option("table", self.sha256)
        require(
            self.rare >= 1, f"dataset.table.rare is {self.rare}; allowed: 1 or more public records."
        )
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
                full path nor beside the card.
        """
        card = self._known()
        if card is None:
            return 2
        if card.task == "regression":
            return 0
        if card.classes:
            return len(card.classes)
        path = self._path(None)
        require(
            path.exists(),
            f"Table card '{self.card}' lists no 'classes', and '{self.file}' cannot be found "
            "without a data root; list them in the card, or give the file's full path.",
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
        path, told = self._path(data_root), read_card(Path(self.card))
        sha256 = common.sha256_of_files([path, Path(self.card)])
        common.check_sha256("table", f"'{path}' with its card", self.sha256, sha256)
        everything = read_table(told.name, path, told.used)
        frame = checked(told, everything)
        n = len(frame)
        person = frame[told.person].factorize()[0] if told.person else np.arange(n)

        number = told.columns[told.sensitive] == "number"
        values = () if number else tuple(sorted(set(frame[told.sensitive])))
        hidden = bands(frame[told.sensitive]) if number else frame[told.sensitive].map(values.index)
        classes = labels_of(told, frame) if told.task == "classification" else ()
        target = frame[told.target]
        label = (target.map(classes.index) if classes else bands(target)).astype(np.int64)
        strata = np.asarray(label, np.int64) * n + np.asarray(hidden, np.int64)
        rows = frames.stratified_people(told.name, strata, person, self.train, self.public, seed)

        y, outcome = torch.from_numpy(np.array(label, np.int64)), None
        if told.task == "regression":
            known = target.to_numpy(np.float64)
            y, outcome = tables.outcome(told.name, told.target, told.unit, known, rows[2])
        categories: dict[str, tuple[str, ...] | None] = dict.fromkeys(told.of_kind("category"))
        if not number:
            categories[told.sensitive] = values
        encoded = tables.encode(
            told.name,
            frame,
            sensitive=told.sensitive,
            public=rows[2],
            numeric=told.of_kind("number"),
            categories=categories,
            gaps=True,
            rare=self.rare,
        )
        card = Card(
            name=told.name,
            sector=told.sector,
            modality=self.modality,
            shape=(),
            class_names=classes,
            privacy_unit="record" if told.person is None else "person",
            source=told.source,
            terms=told.terms,
            publishable=told.publishable,
            tasks=(told.task,),
            outcome=outcome,
        )
        return tables.finish(
            card,
            encoded,
            y,
            torch.from_numpy(person.astype(np.int64)),
            rows,
            copies="count" if told.repeats else "drop",
            sha256=sha256,
            split_protocol=f"{'people' if told.person else 'records'}, stratified by "
            f"{told.target} and {told.sensitive}: {self.train} train, {self.public} public, rest "
            "test",
            incomplete_dropped=len(everything) - n,
        )
