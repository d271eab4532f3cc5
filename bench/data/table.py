"""A table of your own: a CSV, TSV or Parquet file and a card that says what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch

from bench.contract import Count, Modality, Splits, Task, UserError, require
from bench.contract.understood import Sections
from bench.data import cells, frames, table_look, table_read, tables
from bench.data.common import Indices, Ints
from bench.data.loader import Shared
from bench.data.table_card import PARTS, TableCard, read_card, replacing
from bench.data.table_read import PART

FEWEST = 4
"""Records (or people) of a class and sensitive value that can be shared out among all splits."""


@dataclass(frozen=True)
class Table(Shared):
    r"""Records of a file, as a card describes them.

    A card is a YAML file::

        name: Loan default             # of the data set, on boards and in trials
        sector: credit                 # medical, retail, face, credit, survey or your own word
        source: our branch in Kiel, 2024
        terms: internal
        publishable: false             # may a published report show records? (default: false)
        target: repaid                 # column to predict
        task: classification           # or regression (default: classification)
        classes: ["no", "yes"]         # in label order; left out: the file's own, sorted
        positive: "yes"                # optional, of two classes: the one that counts as event
        sensitive: illness             # the column an attacker wants; a category or a number
        secret: whether a customer is ill   # optional: the same in words, for the titles of boards
        person: customer               # optional: column that tells whose a record is
        repeats: false                 # equal records are different people: keep and count them
        columns:                       # what the model reads; other columns are ignored
          age: number
          income: number
          district: category
          illness: category

    How the file is written, where it is not as usual::

        encoding: latin-1              # default: what a byte order mark says, else UTF-8
        delimiter: ";"                 # ",", ";", "\t", "|"; default: a tab in .tsv, else a comma
        decimal: ","                   # default: a point
        gaps: ["999", "keine Angabe"]  # in place of the usual ones (bench.contract.gaps)
        labels:                        # labels that take the place of others; "" makes a gap
          "yes.": "yes"                # of the target
          illness: {"Flu": "flu"}      # of another column

    A split of the table's own, where it has one (else the seed splits it)::

        split: fold                    # a column of members, holdout and, if there are any, public
        split: {column: fold, members: [train], holdout: [test], public: [aux]}
        files: {members: train.csv, holdout: test.csv, public: aux.csv}   # instead of one file

    Without public records the seed cuts the held-out ones in half.

    A model that is given (:mod:`bench.models.external`) may do its own preprocessing::

        preprocessing: model           # it reads the columns as they stand here (default: ours)

    Then every value of a category has a column of its own, as rare as it may be, so that each
    record can be given to the model as it was.

    ``unit`` names the unit of a number to predict. Quote words that YAML reads as something else
    (``"no"``, ``"1"``). Gaps are a value of their own; records without a target or a sensitive
    value are left out and counted. Values of categories are learned from the public records, those
    that fewer than ``rare`` of them hold are "(other)". Records of a person stand in the same
    split. Records that are equal once encoded are kept in the first of train, test, public only,
    unless the card says ``repeats``. Blanks around cells and names do not count. A table means the
    same as CSV and as Parquet, and has the same hash.

    Attributes:
        file: the table, ``.csv``, ``.tsv`` (with a header) or ``.parquet``: a full path, or one
            below the data root, or else beside the card.
        card: its card: a full path or one from the working directory.
        train: share of the people (or records) that are members.
        public: share of the people (or records) that the attacker holds; the rest is ``test``.
        rare: public records that a category's value needs for a column of its own.
        sha256: expected hash of what the table means to its card; None accepts any.
    """

    file: str = "table/table.csv"
    card: str = "table.yaml"
    rare: Count = 5

    modality: ClassVar[Modality] = "table"
    name = "table"
    source = "its card says where from"
    terms = "see its card"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            Path(self.file).suffix in cells.SUFFIXES,
            f"dataset.table.file is '{self.file}'; allowed: a file that ends in "
            f"{', '.join(cells.SUFFIXES)}.",
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
    def secret(self) -> str:  # type: ignore[override]
        """As the card says; empty where it says nothing."""
        card = self._known()
        return card.secret if card else ""

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
    def goals(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those that need no members where the card names none."""
        card = self._known()
        return tables.GOALS if card is None or card.members_known else ("attribute",)

    @property
    def utility_metric(self) -> str:  # type: ignore[override]
        """Balanced accuracy of classes; of numbers the share within 20 % of the truth."""
        return "within_20pct" if self.tasks == ("regression",) else "balanced_accuracy"

    @property
    def fixed_split(self) -> bool:  # type: ignore[override]
        """Whether the card names a split of the table's own."""
        card = self._known()
        return card is not None and card.fixed

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
        paths = self._paths_of(card, data_root)
        absent = [path.name for path in paths.values() if not path.exists()]
        require(
            not absent,
            f"Table card '{self.card}' lists no 'classes', and {absent} is neither beside the card "
            f"nor below data_root={data_root}; list them in it, or give the file's full path.",
        )
        return len(table_read.classes_in(card, paths))

    def _paths_of(self, card: TableCard | None, data_root: Path | None) -> dict[str, Path]:
        """Where the table is, or the file of each part of its split."""
        if card is not None and card.files is not None:
            return {part: self._path(file, data_root) for part, file in card.files.items()}
        return {"": self._path(self.file, data_root)}

    def _path(self, file: str, data_root: Path | None) -> Path:
        """Where a file is: ``data_root / file`` of a full path is that path."""
        beside = Path(self.card).parent / file
        if data_root is None:
            return beside
        return data_root / file if (data_root / file).exists() else beside

    def files(self, data_root: Path | None) -> Mapping[str, Path]:
        """The table and its card; see the base class."""
        card = self._known()
        paths = self._paths_of(card, data_root)
        named = {f"file {part}".strip(): path for part, path in paths.items()}
        named["card"] = Path(self.card)
        return {name: path for name, path in named.items() if path.exists()}

    def missing(self, data_root: Path | None) -> str | None:
        """Which of table and card is not there; see the base class."""
        card = self._known()
        if card is None:
            return (
                f"Data set 'table' needs a card '{self.card}' that describes your table, which is "
                "missing: write one (bench.data.table shows how) and give its full path with "
                "dataset.table.card=FILE."
            )
        absent = [p for p in self._paths_of(card, data_root).values() if not p.exists()]
        if not absent:
            return None
        how = "mend 'files' in the card" if card.files else "give its path with dataset.table.file="
        return (
            f"Data set 'table' needs '{absent[0].name}', which is missing below data_root="
            f"{data_root} and beside the card ('{absent[0]}'): {how}."
        )

    def _read(self, data_root: Path | None) -> tuple[TableCard, table_read.Meant]:
        """The card, and the table as it reads it."""
        absent = self.missing(data_root)
        require(absent is None, str(absent))
        card = read_card(Path(self.card))
        require(
            card.files is None or self.file == Table.file,
            f"dataset.table.file is '{self.file}', and the card '{self.card}' names 'files' of its "
            "own; take one of them out.",
        )
        meant = table_read.read(card, self._paths_of(card, data_root))
        self._check_sha256(f"the table, as '{self.card}' reads it,", meant.sha256)
        return card, meant

    def understood(self, data_root: Path | None) -> Sections:
        """Columns, labels, gaps and what looks like a mistake; see the base class."""
        card, meant = self._read(data_root)
        return table_look.sections(card, meant)

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read, check and split by ``seed``; see the base class.

        Raises:
            UserError: a card or table that does not hold what it should; says what and where.
        """
        described, meant = self._read(data_root)
        frame, dropped = table_read.complete(described, meant.frame)
        n = len(frame)
        person = frame[described.person].factorize()[0] if described.person else np.arange(n)
        person = person.astype(np.int64)
        number = described.columns[described.sensitive] == "number"
        values = () if number else tuple(sorted(set(frame[described.sensitive])))
        classes = meant.classes
        label = _codes(frame[described.target], classes)
        strata = label * n + _codes(frame[described.sensitive], values)
        if described.fixed:
            rows = _own_split(described, frame, person, strata, seed)
        else:
            _require_pairs(described, frame, person, strata)
            rows = frames.stratified_people(
                described.name, strata, person, self.train, self.public, seed
            )

        y, outcome = torch.from_numpy(label), None
        if described.task == "regression":
            known = frame[described.target].to_numpy(np.float64)
            y, outcome = tables.outcome(
                described.name, described.target, described.unit, known, rows[2]
            )
        categories: dict[str, tuple[str, ...] | None] = dict.fromkeys(described.of_kind("category"))
        exact = described.preprocessing == "model"
        if exact:
            categories = {name: tuple(sorted(set(frame[name].dropna()))) for name in categories}
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
            exact=exact,
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
            raw=tuple(described.columns) if exact else (),
            members_known=described.members_known,
        )
        return tables.finish(
            card,
            encoded,
            y,
            torch.from_numpy(person),
            rows,
            copies="count" if described.repeats else "drop",
            sha256=meant.sha256,
            split_protocol=self._protocol(described, frame),
            incomplete_dropped=sum(dropped.values()),
        )

    def _protocol(self, card: TableCard, frame: pd.DataFrame) -> str:
        """How the split was made, in one sentence."""
        unit = "people" if card.person else "records"
        if PART not in frame:
            return f"{unit}, stratified by {card.target} and {card.sensitive}: {self._shares}"
        halved = "" if "public" in set(frame[PART]) else "; the seed halves held-out and public"
        return f"{unit} as the table's owner split them{halved}"


def _codes(column: pd.Series[Any], values: tuple[str, ...]) -> Ints:
    """What records are stratified by, int64 ``[n]``: the value, or the quartile of a number."""
    coded = column.map(values.index) if values else frames.quartiles(column)
    return np.array(coded, np.int64)


def _own_split(
    card: TableCard, frame: pd.DataFrame, person: Ints, strata: Ints, seed: int
) -> Indices:
    """Rows of members, held-out and public records as the table says.

    Raises:
        UserError: a part without records, or a person in two of them.
    """
    part = frame[PART].to_numpy()
    parts = {name: np.flatnonzero(part == name) for name in PARTS}
    for name in ("members", "holdout") if card.members_known else ("holdout",):
        require(
            len(parts[name]) > 1,
            f"Data set '{card.name}' has {len(parts[name])} complete records in its part '{name}'; "
            "it needs some: mend the card's 'split' or 'files'.",
        )
    for name in PARTS:
        if not len(parts[name]):
            parts["holdout"], parts[name] = _halved(parts["holdout"], person, strata, seed)
    owners = {name: set(person[rows].tolist()) for name, rows in parts.items()}
    for one, other in (("members", "holdout"), ("members", "public"), ("holdout", "public")):
        shared = owners[one] & owners[other]
        require(
            not shared,
            f"Data set '{card.name}': {len(shared)} people have records both in '{one}' and in "
            f"'{other}'; everybody must stand in one part.",
        )
    return parts["members"], parts["holdout"], parts["public"]


def _require_pairs(card: TableCard, frame: pd.DataFrame, person: Ints, strata: Ints) -> None:
    """Refuse a pair of class and sensitive value that is too rare to stand in every split."""
    _, first = np.unique(person, return_index=True)
    pairs, counts = np.unique(strata[first], return_counts=True)
    if counts.min() >= FEWEST:
        return
    at = first[strata[first] == pairs[counts.argmin()]][0]
    unit = "people" if card.person else "records"
    words, labels = [], []
    for column in (card.target, card.sensitive):
        value = frame[column].iloc[at]
        if column in card.numbers:
            words.append(f"'{column}' in the same quarter as {value:g}")
        else:
            words.append(f"'{column}' = '{value}'")
            labels.append((int((frame[column] == value).sum()), replacing(column, value, "")))
    advice = f"leave its records out ({min(labels)[1]})" if labels else "predict another column"
    rare = int((counts < FEWEST).sum())
    raise UserError(
        f"Data set '{card.name}' has {counts.min()} of {len(first)} {unit} with "
        f"{' and '.join(words)}; every such pair needs {FEWEST}, so that members, held-out and "
        f"public {unit} can hold some. {rare} of {len(pairs)} pairs have fewer. In the card, join "
        f"the rarer label with another one, or {advice}; or add records."
    )


def _halved(rows: Ints, person: Ints, strata: Ints, seed: int) -> tuple[Ints, Ints]:
    """Two halves of the people to whom some rows belong, as rows."""
    _, first = np.unique(person, return_index=True)
    _, half = frames.halves(first[np.isin(first, rows)], strata, seed)
    taken = np.isin(person[rows], person[half])
    return rows[~taken], rows[taken]
