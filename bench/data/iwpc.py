"""Warfarin doses with genotypes: International Warfarin Pharmacogenetics Consortium, 2009."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch

from bench.contract import Card, Dataset, Modality, Splits, Task, require
from bench.data import common, frames, tables

SHA256 = "6e6296143a32de451afc1d885b97e9c694bfe703c7214c359d6f5a52ee9bf31d"
SOURCE = "https://www.pharmgkb.org/downloads (IWPC data)"

DOSE = "Therapeutic Dose of Warfarin"
STABLE = "Subject Reached Stable Dose of Warfarin"
ENZYME_INDUCERS = (
    "Carbamazepine (Tegretol)",
    "Phenytoin (Dilantin)",
    "Rifampin or Rifampicin",
)
RENAMED = {
    "Race": "race",
    "Age": "age_decade",
    "Height (cm)": "height",
    "Weight (kg)": "weight",
    "VKORC1 -1639 consensus": "vkorc1",
    "CYP2C9 consensus": "cyp2c9",
    "Amiodarone (Cordarone)": "amiodarone",
}
DECADES: dict[str, int] = {
    "10 - 19": 1, "19-Oct": 1, "20 - 29": 2, "30 - 39": 3, "40 - 49": 4, "50 - 59": 5,
    "60 - 69": 6, "70 - 79": 7, "80 - 89": 8, "90+": 9,
}  # fmt: skip
"""Age groups as the algorithm counts them. A spreadsheet has read "10 - 19" as a date."""
NUMERIC = ("age_decade", "height", "weight")
CYP2C9 = ("*1/*1", "*1/*2", "*1/*3", "other")
CATEGORIES: dict[str, tuple[str, ...]] = {
    "vkorc1": ("A/A", "A/G", "G/G"),
    "cyp2c9": CYP2C9,
    "race": ("White", "Asian", "Black or African American", "Unknown"),
    "enzyme_inducer": ("no", "yes"),
    "amiodarone": ("no", "yes"),
}
SENSITIVE: dict[str, tuple[str, dict[str, str]]] = {
    "vkorc1": ("vkorc1", {v: v for v in CATEGORIES["vkorc1"]}),
    "cyp2c9": ("cyp2c9", {v: v for v in CYP2C9}),
    "cyp2c9_variant": ("cyp2c9", {v: "no" if v == "*1/*1" else "yes" for v in CYP2C9}),
}
"""Option ``sensitive`` to the column it replaces and the value each code becomes."""
MOST_DOSE = 1000.0
"""mg a week; above it a number is no dose."""


@dataclass(frozen=True)
class Iwpc(Dataset):
    """Patients on a stable dose of warfarin: how many milligrams a week do they need?

    The inputs are those of the consortium's pharmacogenetic algorithm (NEJM 360:753, 2009): age
    in decades, height, weight, race, VKORC1 -1639 G>A, CYP2C9, an enzyme inducer (carbamazepine,
    phenytoin, rifampin) and amiodarone; a drug that is not mentioned counts as not taken. As
    there, the model learns the square root of the dose. Kept are patients on a stable dose whose
    two genotypes were measured ("consensus" columns): a genotype filled in from other markers
    would be no truth to score an attack by. CYP2C9 genotypes with *2/*2, *2/*3, *3/*3 and
    rarer alleles are one value. Of patients whose inputs are equal one is kept.

    Fredrikson et al. (USENIX Security 2014) inverted linear models on these data, with 75 % of
    the patients for training and 25 % for validation. Here a third, public part is the
    attacker's, where theirs knows marginal distributions; gaps in age, height and weight are
    filled with public medians and marked; and rare CYP2C9 genotypes share a value.

    Attributes:
        sensitive: ``vkorc1`` (about a third each), ``cyp2c9`` (76 % are *1/*1; 3 % "other" leave
            no headroom) or ``cyp2c9_variant``, any other than *1/*1. It replaces the column it is
            made from.
        train: share of the records that are members.
        public: share of the records the attacker holds; the rest is ``test``.
        file: path below the data root.
        sha256: expected content hash of the file; None accepts any copy.
    """

    sensitive: str = "vkorc1"
    train: float = 0.4
    public: float = 0.3
    file: str = "iwpc/warfarin.csv"
    sha256: str | None = SHA256

    sector: ClassVar[str] = "medical"
    modality: ClassVar[Modality] = "table"
    goals: ClassVar[tuple[str, ...]] = ("attribute",)
    tasks: ClassVar[tuple[Task, ...]] = ("regression",)
    utility_metric: ClassVar[str] = "within_20pct"
    embedded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        tables.check_sensitive("iwpc", self.sensitive, SENSITIVE)
        common.check_fractions("iwpc", self.train, self.public)
        common.check_sha256_option("iwpc", self.sha256)

    @property
    def n_classes(self) -> int:
        """0: a dose is a number."""
        return 0

    def files(self, data_root: Path | None) -> Mapping[str, Sequence[Path]]:
        """The table; see the base class."""
        return common.present(data_root, file=self.file)

    def missing(self, data_root: Path | None) -> str | None:
        """Where the file should be; see the base class."""
        return common.missing_path("iwpc", data_root, self.file, SOURCE)

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read, check and split by ``seed``; see the base class."""
        path = common.require_files(self.missing(data_root), data_root) / self.file
        sha256 = common.sha256_of_files([path])
        common.check_sha256("iwpc", f"file '{path}'", self.sha256, sha256)
        frame = _read(path)
        n_rows = len(frame)
        frame = frame[frame[["dose", "vkorc1", "cyp2c9"]].notna().all(axis=1)]
        n_known = len(frame)
        column, names = SENSITIVE[self.sensitive]
        frame, values, _ = frames.recode("iwpc", frame, column, names)
        frame = frame.drop_duplicates([*NUMERIC, *CATEGORIES])
        s = frame[column].map(values.index).to_numpy(np.int64)
        dose = frame["dose"].to_numpy(np.float64)
        quartile = np.digitize(dose, np.quantile(dose, [0.25, 0.5, 0.75]))
        rows = common.stratified("iwpc", s * 4 + quartile, self.train, self.public, seed)
        y, outcome = tables.outcome("iwpc", "warfarin dose", "mg/week", dose, rows[2], power=2.0)
        encoded = tables.encode(
            "iwpc",
            frame,
            sensitive=column,
            called=self.sensitive,
            public=rows[2],
            numeric=NUMERIC,
            categories={**CATEGORIES, column: values},
            gaps=True,
        )
        card = Card(
            name="iwpc",
            sector=self.sector,
            modality=self.modality,
            shape=(),
            class_names=(),
            privacy_unit="person",
            source="International Warfarin Pharmacogenetics Consortium, Estimation of the "
            f"Warfarin Dose with Clinical and Pharmacogenetic Data, NEJM 360:753, 2009; {SOURCE}",
            terms="none stated in the file; see PharmGKB",
            publishable=False,
            tasks=self.tasks,
            outcome=outcome,
        )
        return tables.finish(
            card,
            encoded,
            y,
            torch.from_numpy(frame.index.to_numpy(np.int64, copy=True)),
            rows,
            sha256=sha256,
            split_protocol=f"patients, stratified by {self.sensitive} and quartile of dose: "
            f"{self.train} train, {self.public} public, rest test",
            patients_in_file=n_rows,
            duplicates_dropped=n_known - len(frame),
        )


def _read(path: Path) -> pd.DataFrame:
    """The inputs and ``dose`` of patients, gaps as NaN.

    Raises:
        UserError: another table, or values that are no doses, ages or genotypes.
    """
    wanted = [DOSE, STABLE, *ENZYME_INDUCERS, *RENAMED]
    raw = frames.read(
        "iwpc", path, encoding="utf-8-sig", na_values=["NA", ""], usecols=lambda c: c in wanted
    )
    frames.require_columns("iwpc", raw, wanted)
    frame = raw.rename(columns=RENAMED).rename(columns={DOSE: "dose"})
    unknown = sorted(map(str, set(frame["age_decade"].dropna()) - set(DECADES)))
    require(
        not unknown,
        f"Data set 'iwpc', column 'Age' holds {unknown[:5]}; allowed: {list(DECADES)}. The file "
        "is corrupt or another version.",
    )
    frame["age_decade"] = frame["age_decade"].map(DECADES).astype(np.float64)
    frame = frames.numbers("iwpc", frame, ("dose", "height", "weight"))
    require(
        bool(frame["dose"].dropna().between(0.0, MOST_DOSE, inclusive="right").all()),
        f"Data set 'iwpc', column '{DOSE}' holds doses outside (0, {MOST_DOSE:g}] mg a week; the "
        "file is corrupt.",
    )
    frame["dose"] = frame["dose"].where(frame[STABLE] == "1")
    cyp2c9 = frame["cyp2c9"]
    frame["cyp2c9"] = cyp2c9.where(cyp2c9.isin(CYP2C9) | cyp2c9.isna(), "other")
    induced = (frame[list(ENZYME_INDUCERS)] == "1").any(axis=1)
    frame["enzyme_inducer"] = _yes_no(induced)
    frame["amiodarone"] = _yes_no(frame["amiodarone"] == "1")
    return frame


def _yes_no(flag: pd.Series[Any]) -> pd.Series[Any]:
    return flag.map({True: "yes", False: "no"}).astype(object)
