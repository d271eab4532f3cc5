"""Adult: income in the census of 1994, Kohavi 1996."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch

from bench.contract import Card, Dataset, Modality, Splits, require
from bench.data import common, frames, tables

SHA256 = "ca4df26312a5f31310ce10db316acc31018a469630dab90797a9ebc2f97dfcfe"
SOURCE = "https://archive.ics.uci.edu/dataset/2"

COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation",
    "relationship", "race", "sex", "capital_gain", "capital_loss", "hours_per_week",
    "native_country", "income",
)  # fmt: skip
"""The 15 columns in the files' order."""
NUMERIC = ("age", "capital_gain", "capital_loss", "hours_per_week")
CATEGORIES: dict[str, tuple[str, ...]] = {
    "workclass": (
        "Private", "Self-emp-not-inc", "Self-emp-inc", "Federal-gov", "Local-gov", "State-gov",
        "Without-pay", "Never-worked",
    ),
    "education": (
        "Preschool", "1st-4th", "5th-6th", "7th-8th", "9th", "10th", "11th", "12th", "HS-grad",
        "Some-college", "Assoc-voc", "Assoc-acdm", "Bachelors", "Masters", "Prof-school",
        "Doctorate",
    ),
    "marital_status": (
        "Married-civ-spouse", "Divorced", "Never-married", "Separated", "Widowed",
        "Married-spouse-absent", "Married-AF-spouse",
    ),
    "occupation": (
        "Tech-support", "Craft-repair", "Other-service", "Sales", "Exec-managerial",
        "Prof-specialty", "Handlers-cleaners", "Machine-op-inspct", "Adm-clerical",
        "Farming-fishing", "Transport-moving", "Priv-house-serv", "Protective-serv",
        "Armed-Forces",
    ),
    "race": ("White", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other", "Black"),
    "sex": ("Female", "Male"),
    "native_country": (
        "United-States", "Cambodia", "England", "Puerto-Rico", "Canada", "Germany",
        "Outlying-US(Guam-USVI-etc)", "India", "Japan", "Greece", "South", "China", "Cuba", "Iran",
        "Honduras", "Philippines", "Italy", "Poland", "Jamaica", "Vietnam", "Mexico", "Portugal",
        "Ireland", "France", "Dominican-Republic", "Laos", "Ecuador", "Taiwan", "Haiti",
        "Columbia", "Hungary", "Guatemala", "Nicaragua", "Scotland", "Thailand", "Yugoslavia",
        "El-Salvador", "Trinadad&Tobago", "Peru", "Hong", "Holand-Netherlands",
    ),
}  # fmt: skip
GAPS = ("workclass", "occupation", "native_country")
INCOME = ("<=50K", ">50K")

MARRIED = ("Married-civ-spouse", "Married-spouse-absent", "Married-AF-spouse")
SENSITIVE: dict[str, tuple[str, dict[str, str]]] = {
    "marital": (
        "marital_status",
        {
            v: "married" if v in MARRIED else "single"
            for v in reversed(CATEGORIES["marital_status"])
        },
    ),
    "sex": ("sex", {"Male": "male", "Female": "female"}),
    "race": ("race", {v: "White" if v == "White" else "not White" for v in CATEGORIES["race"]}),
}
"""Option ``sensitive`` to the column it replaces and the value each code becomes."""


@dataclass(frozen=True)
class Adult(Dataset):
    """48,842 people, 4 numbers and 7 categories, income at most or above 50,000 dollars a year.

    UCI's two files together. Left out are ``fnlwgt`` (how many people a record stands for: no
    property of the person), ``education_num`` (a copy of ``education``) and ``relationship``
    (husband and wife give away marital status and, together, sex). Gaps ("?") in work class,
    occupation and country are a value of their own. Without the weight thousands of people share
    all their values; one of each is kept, since two equal records could stand on both sides of a
    split.

    The exact files that Mehnaz et al. 2022 trained on are the data set ``adult_mehnaz``.

    Attributes:
        sensitive: ``marital``: married or single as Mehnaz et al. (USENIX Security 2022) cut it;
            ``sex``; ``race``: White or not (each of the other four is held by less than 10 %,
            two of them by less than 1 %). It replaces the column it is made from.
        records: how many are drawn by the seed, from 100; None: all.
        train: share of those that are members.
        public: share of those that the attacker holds; the rest is ``test``.
        folder: path below the data root with ``adult.data`` and ``adult-test.csv``.
        sha256: expected content hash of the two files; None accepts any copy.
    """

    sensitive: str = "marital"
    records: int | None = 12000
    train: float = 0.4
    public: float = 0.3
    folder: str = "adult"
    sha256: str | None = SHA256

    sector: ClassVar[str] = "credit"
    modality: ClassVar[Modality] = "table"
    goals: ClassVar[tuple[str, ...]] = tables.GOALS
    utility_metric: ClassVar[str] = "balanced_accuracy"
    embedded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        tables.check_sensitive("adult", self.sensitive, SENSITIVE)
        frames.check_records("adult", self.records)
        common.check_fractions("adult", self.train, self.public)
        common.check_sha256_option("adult", self.sha256)

    @property
    def n_classes(self) -> int:
        """2: at most and above 50,000 dollars."""
        return 2

    def _paths(self) -> tuple[str, str]:
        return f"{self.folder}/adult.data", f"{self.folder}/adult-test.csv"

    def files(self, data_root: Path | None) -> Mapping[str, Sequence[Path]]:
        """Both files; see the base class."""
        return common.present(data_root, folder=self._paths())

    def missing(self, data_root: Path | None) -> str | None:
        """Where the files should be; see the base class."""
        sentences = (common.missing_path("adult", data_root, p, SOURCE) for p in self._paths())
        return next((sentence for sentence in sentences if sentence), None)

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read, check, draw and split by ``seed``; see the base class."""
        root = common.require_files(self.missing(data_root), data_root)
        paths = [root / path for path in self._paths()]
        sha256 = common.sha256_of_files(paths)
        common.check_sha256("adult", f"folder '{root / self.folder}'", self.sha256, sha256)
        column, names = SENSITIVE[self.sensitive]
        frame, values, _ = frames.recode("adult", _read(paths), column, names)
        categories = {**CATEGORIES, column: values}
        n_rows = len(frame)
        frame = frame.drop_duplicates([*NUMERIC, *categories])
        n_distinct = len(frame)

        high = (frame["income"] == INCOME[1]).to_numpy(np.int64)
        s = frame[column].map(values.index).to_numpy(np.int64)
        strata = high * len(values) + s
        drawn = frames.draw(strata, self.records, seed)
        frame = frame.iloc[drawn]
        rows = common.stratified("adult", strata[drawn], self.train, self.public, seed)
        encoded = tables.encode(
            "adult",
            frame,
            sensitive=column,
            called=self.sensitive,
            public=rows[2],
            numeric=NUMERIC,
            categories=categories,
            gaps=GAPS,
        )
        card = Card(
            name="adult",
            sector=self.sector,
            modality=self.modality,
            shape=(),
            class_names=("income at most 50,000 dollars", "income above 50,000 dollars"),
            privacy_unit="record",
            source=f"Adult (Census Income), Barry Becker and Ronny Kohavi, 1996; {SOURCE}",
            terms="none stated in the files; see the UCI repository",
            publishable=False,
        )
        return tables.finish(
            card,
            encoded,
            torch.from_numpy(high[drawn]),
            torch.from_numpy(frame.index.to_numpy(np.int64, copy=True)),
            rows,
            sha256=sha256,
            split_protocol=f"{len(frame)} distinct records, stratified by income and "
            f"{self.sensitive}: {self.train} train, {self.public} public, rest test",
            records_in_files=n_rows,
            duplicates_dropped=n_rows - n_distinct,
        )


def _read(paths: list[Path]) -> pd.DataFrame:
    """Both files as one table.

    Raises:
        UserError: another number of columns, text among the numbers, or other labels.
    """
    parts = [
        frames.read("adult", path, header=None, skipinitialspace=True, na_values=["?"], comment="|")
        for path in paths
    ]
    for path, part in zip(paths, parts, strict=True):
        require(
            part.shape[1] == len(COLUMNS),
            f"Data set 'adult': file '{path}' has {part.shape[1]} columns; allowed: {len(COLUMNS)} "
            "values a line separated by commas, no header. Get the original file.",
        )
    frame = pd.concat(parts, ignore_index=True)
    frame.columns = pd.Index(COLUMNS)
    frame["income"] = frame["income"].str.removesuffix(".")
    labels = set(frame["income"])
    require(
        labels == set(INCOME),
        f"Data set 'adult' has labels {sorted(map(str, labels))[:5]}; allowed: both '<=50K' and "
        "'>50K', with or without a full stop. It is an altered copy: get the original.",
    )
    return frames.numbers("adult", frame, NUMERIC)
