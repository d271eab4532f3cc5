"""Statlog German credit, Hofmann 1994."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch

from bench.contract import Card, Dataset, Modality, Splits, require
from bench.data import common, frames, tables

SHA256 = "ec12a88b9fc14d74ba646ea0410cf7ff4533bec2eb61652f8ad76796bbfec017"
SOURCE = (
    "https://archive.ics.uci.edu/dataset/144 (separated by commas: german.csv in "
    "https://github.com/jbrownlee/Datasets)"
)
N_COLUMNS = 21

NUMERIC = (
    "duration", "amount", "installment_rate", "residence_since", "age", "existing_credits",
    "dependents",
)  # fmt: skip
CATEGORIES: dict[str, tuple[str, ...]] = {
    "checking": ("A11", "A12", "A13", "A14"),
    "history": ("A30", "A31", "A32", "A33", "A34"),
    "purpose": ("A40", "A41", "A42", "A43", "A44", "A45", "A46", "A47", "A48", "A49", "A410"),
    "savings": ("A61", "A62", "A63", "A64", "A65"),
    "employment": ("A71", "A72", "A73", "A74", "A75"),
    "status_sex": ("A91", "A92", "A93", "A94", "A95"),
    "debtors": ("A101", "A102", "A103"),
    "property": ("A121", "A122", "A123", "A124"),
    "other_plans": ("A141", "A142", "A143"),
    "housing": ("A151", "A152", "A153"),
    "job": ("A171", "A172", "A173", "A174"),
    "telephone": ("A191", "A192"),
    "foreign": ("A201", "A202"),
}
COLUMNS = (
    "checking", "duration", "history", "purpose", "amount", "savings", "employment",
    "installment_rate", "status_sex", "debtors", "residence_since", "property", "age",
    "other_plans", "housing", "existing_credits", "job", "dependents", "telephone", "foreign",
    "risk",
)  # fmt: skip
"""The 21 columns in the file's order; the codes of each are in UCI's german.doc."""

SENSITIVE: dict[str, tuple[str, dict[str, str]]] = {
    "checking": ("checking", {"A11": "some", "A12": "some", "A13": "some", "A14": "none"}),
    "overdrawn": ("checking", {"A12": "no", "A13": "no", "A14": "no", "A11": "yes"}),
    "checking_status": (
        "checking",
        {"A11": "below 0 DM", "A12": "below 200 DM", "A13": "200 DM or more", "A14": "none"},
    ),
    "sex": (
        "status_sex",
        {"A91": "male", "A93": "male", "A94": "male", "A92": "female", "A95": "female"},
    ),
}
"""Option ``sensitive`` to the column it replaces and the value each code becomes."""


@dataclass(frozen=True)
class German(Dataset):
    """1,000 loan applicants, 7 numbers and 13 categories, good (1) or bad (2) credit.

    The sensitive attribute replaces the column it is made from, so that no finer code of it stays
    among the known columns: with ``sex``, marital status goes too, since the file codes both in
    one column and only women are "divorced/separated/married".

    Attributes:
        sensitive: ``checking``: has a checking account, or none (the default:
            PROTOCOL 5.3 E3's attribute in two values, because AUC needs two; "none" against the
            rest is the most even cut, 39 % none, and far from the 5 % bound of PROTOCOL 2.3);
            ``overdrawn``: the account is below 0 DM (27 %); ``checking_status``: all four
            values; ``sex`` (31 % female).
        train: share of the records that are members.
        public: share of the records the attacker holds; the rest is ``test``.
        file: path below the data root, values separated by commas or blanks.
        sha256: expected content hash of the file; None accepts any copy.
    """

    sensitive: str = "checking"
    train: float = 0.4
    public: float = 0.3
    file: str = "german/german.csv"
    sha256: str | None = SHA256

    sector: ClassVar[str] = "credit"
    modality: ClassVar[Modality] = "table"
    goals: ClassVar[tuple[str, ...]] = tables.GOALS
    utility_metric: ClassVar[str] = "balanced_accuracy"
    embedded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        tables.check_sensitive("german", self.sensitive, SENSITIVE)
        common.check_fractions("german", self.train, self.public)
        common.check_sha256_option("german", self.sha256)

    @property
    def n_classes(self) -> int:
        """2: good and bad credit."""
        return 2

    def files(self, data_root: Path | None) -> Mapping[str, Sequence[Path]]:
        """The table; see the base class."""
        return common.present(data_root, file=self.file)

    def missing(self, data_root: Path | None) -> str | None:
        """Where the file should be; see the base class."""
        return common.missing_path("german", data_root, self.file, SOURCE)

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read, check and split by ``seed``; see the base class."""
        path = common.require_files(self.missing(data_root), data_root) / self.file
        sha256 = common.sha256_of_files([path])
        common.check_sha256("german", f"file '{path}'", self.sha256, sha256)
        frame = _read(path)
        n_rows = len(frame)

        column, names = SENSITIVE[self.sensitive]
        frame, values, _ = frames.recode("german", frame, column, names)
        # Two equal applicants could stand on both sides of a split.
        frame = frame.drop_duplicates([c for c in COLUMNS if c != "risk"])
        categories: dict[str, Any] = {**CATEGORIES, column: values}
        bad = frame["risk"].to_numpy(np.int64) - 1
        s = frame[column].map(values.index).to_numpy(np.int64, copy=True)
        strata = bad * len(values) + s
        rows = common.stratified("german", strata, self.train, self.public, seed)
        encoded = tables.encode(
            "german",
            frame,
            sensitive=column,
            called=self.sensitive,
            public=rows[2],
            numeric=NUMERIC,
            categories=categories,
        )
        card = Card(
            name="german",
            sector=self.sector,
            modality=self.modality,
            shape=(),
            class_names=("good credit", "bad credit"),
            privacy_unit="record",
            source=f"Statlog German credit, Hans Hofmann, Hamburg, 1994; {SOURCE}",
            terms="none stated in the file; see the UCI repository",
            publishable=False,
        )
        return tables.finish(
            card,
            encoded,
            torch.as_tensor(bad),
            torch.as_tensor(frame.index.to_numpy(np.int64, copy=True)),
            rows,
            sha256=sha256,
            split_protocol=f"records, stratified by credit and {self.sensitive}: "
            f"{self.train} train, {self.public} public, rest test",
            duplicates_dropped=n_rows - len(frame),
        )


def _read(path: Path) -> pd.DataFrame:
    """The file as a table of 21 named columns, labels 1 and 2.

    Raises:
        UserError: another number of columns, a header, text among the numbers or other labels.
    """
    try:
        frame = pd.read_csv(path, sep=r"[,\s]+", header=None, engine="python", dtype=str)
        frame = frame.dropna(axis=1, how="all")  # A blank at the end of a line makes a column.
    except (ValueError, UnicodeDecodeError) as error:
        frame, why = pd.DataFrame(), f" ({error})"
    else:
        why = ""
    require(
        frame.shape[1] == N_COLUMNS,
        f"Data set 'german': file '{path}' has {frame.shape[1]} columns{why}; allowed: {N_COLUMNS} "
        "values a line separated by commas or blanks, no header. Get the original file.",
    )
    frame.columns = pd.Index(COLUMNS)
    for column in (*NUMERIC, "risk"):
        frame[column] = pd.to_numeric(frame[column], errors="coerce")
    labels = sorted({str(value) for value in frame["risk"]})
    require(
        set(frame["risk"]) == {1, 2},
        f"Data set 'german': file '{path}' has labels {labels[:5]}; allowed: both 1 (good) and 2 "
        "(bad) and no header line. It is an altered copy: get the original.",
    )
    return frame
