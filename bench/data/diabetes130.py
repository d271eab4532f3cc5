"""Diabetes 130-US hospitals 1999-2008, Strack et al. 2014: readmission."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch

from bench.contract import Card, Dataset, Modality, Splits, UserError, nearest, require
from bench.data import common, frames, tables

SHA256 = "2cc570fc34b09ba1169d94b68c27ce3802dce7dc4ab6082bed833a6c195507a5"
SOURCE = "https://archive.ics.uci.edu/dataset/296"
CSV = "diabetic_data.csv"

NUMERIC = (
    "time_in_hospital", "num_lab_procedures", "num_procedures", "num_medications",
    "number_outpatient", "number_emergency", "number_inpatient", "number_diagnoses",
)  # fmt: skip
DRUGS = (
    "metformin", "repaglinide", "nateglinide", "glimepiride", "glipizide", "glyburide",
    "pioglitazone", "rosiglitazone", "glyburide-metformin", "insulin",
)  # fmt: skip
"""Those of the 23 that at least one encounter in 200 has."""
DIAGNOSES = ("diag_1", "diag_2", "diag_3")
CHAPTERS = (
    "circulatory", "respiratory", "digestive", "diabetes", "injury", "musculoskeletal",
    "genitourinary", "neoplasms", "other",
)  # fmt: skip
CATEGORIES: dict[str, tuple[str, ...]] = {
    "race": ("Caucasian", "AfricanAmerican", "Hispanic", "Asian", "Other"),
    "gender": ("Female", "Male"),
    "age": tuple(f"[{low}-{low + 10})" for low in range(0, 100, 10)),
    "admission_type_id": ("emergency", "urgent", "elective", "other"),
    "discharge_disposition_id": ("home", "elsewhere", "unknown"),
    "admission_source_id": ("referral", "emergency room", "transfer", "other"),
    "medical_specialty": (
        "internal medicine",
        "emergency",
        "family practice",
        "cardiology",
        "surgery",
        "other",
    ),
    **dict.fromkeys(DIAGNOSES, CHAPTERS),
    "max_glu_serum": ("None", "Norm", ">200", ">300"),
    "A1Cresult": ("None", "Norm", ">7", ">8"),
    **dict.fromkeys(DRUGS, ("No", "Steady", "Up", "Down")),
    "change": ("No", "Ch"),
    "diabetesMed": ("No", "Yes"),
}  # fmt: skip
GAPS = ("race", "medical_specialty", *DIAGNOSES)

GROUPS: dict[str, tuple[dict[str, str], str]] = {
    "admission_type_id": ({"1": "emergency", "2": "urgent", "3": "elective"}, "other"),
    "discharge_disposition_id": ({"1": "home", "18": "unknown", "25": "unknown", "26": "unknown"},
                                 "elsewhere"),
    "admission_source_id": (
        {
            **dict.fromkeys(("1", "2", "3"), "referral"), "7": "emergency room",
            **dict.fromkeys(("4", "5", "6", "10", "18", "22", "25", "26"), "transfer"),
        },
        "other",
    ),
    "medical_specialty": (
        {
            "InternalMedicine": "internal medicine", "Emergency/Trauma": "emergency",
            "Family/GeneralPractice": "family practice", "Cardiology": "cardiology",
            **dict.fromkeys(
                (
                    "Surgery-General", "Surgery-Cardiovascular/Thoracic", "Surgery-Neuro",
                    "Surgery-Vascular", "Surgery-Thoracic", "Surgery-Cardiovascular",
                    "Surgery-Plastic", "Surgery-Colon&Rectal", "Surgery-Maxillofacial",
                    "Surgery-Pediatric", "Surgery-PlasticwithinHeadandNeck", "SurgicalSpecialty",
                    "Surgeon",
                ),
                "surgery",
            ),
        },
        "other",
    ),
}  # fmt: skip
"""Codes of admission and discharge (IDs_mapping.csv) and medical specialties to the group they
become, and the group of all others."""
DEAD_OR_DYING = ("11", "13", "14", "19", "20", "21")
"""Discharges after which nobody comes back: died, or went to a hospice."""

LABELS: dict[str, tuple[tuple[str, ...], dict[str, int]]] = {
    "any": (("not readmitted", "readmitted"), {"NO": 0, ">30": 1, "<30": 1}),
    "early": (("not within 30 days", "within 30 days"), {"NO": 0, ">30": 0, "<30": 1}),
    "when": (
        ("not readmitted", "after 30 days", "within 30 days"),
        {"NO": 0, ">30": 1, "<30": 2},
    ),
}
SENSITIVE: dict[str, tuple[str, dict[str, str]]] = {
    "race": (
        "race",
        {
            **dict.fromkeys(("Caucasian", "Hispanic", "Asian", "Other"), "other"),
            "AfricanAmerican": "African American",
        },
    ),
    "gender": ("gender", {"Female": "female", "Male": "male"}),
    "insulin": ("insulin", {"No": "no", "Steady": "yes", "Up": "yes", "Down": "yes"}),
}
"""Option ``sensitive`` to the column it replaces and the value each code becomes."""


@dataclass(frozen=True)
class Diabetes130(Dataset):
    """Diabetic patients in hospital: does the patient come back?

    Of each patient the first encounter (lowest number) is kept, and patients who died or went to
    a hospice are left out, as Strack et al. (BioMed Research International 2014) do; so a record
    is a person. Also as there, weight and payer (97 % and 40 % unknown) are left out and the
    three diagnoses are grouped by chapters of ICD-9 (their table 2). Admission and discharge
    codes and medical specialties are grouped; of 23 drugs the ten that one encounter in 200 has
    are kept. "?" is a gap, a value of its own; who has one in the sensitive attribute is left
    out, as are three patients of unknown gender.

    Attributes:
        sensitive: ``race``, African American or not; ``gender``; ``insulin``, whether the patient
            was given insulin. ``diabetesMed`` and ``change`` say much about the last, so they go
            where it is hidden. It replaces the column it is made from.
        label: ``any`` readmission, ``early`` (within 30 days), or ``when``, all three classes.
        records: patients drawn by the seed, from 100; None: all 70,000.
        train: share of those that are members.
        public: share of those that the attacker holds; the rest is ``test``.
        file: path below the data root of the archive.
        sha256: expected content hash of the archive; None accepts any copy.
    """

    sensitive: str = "insulin"
    label: str = "any"
    records: int | None = 8000
    train: float = 0.4
    public: float = 0.3
    file: str = "diabetes130/dataset_diabetes.zip"
    sha256: str | None = SHA256

    sector: ClassVar[str] = "medical"
    modality: ClassVar[Modality] = "table"
    goals: ClassVar[tuple[str, ...]] = tables.GOALS
    utility_metric: ClassVar[str] = "balanced_accuracy"
    embedded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for key, allowed in (("sensitive", SENSITIVE), ("label", LABELS)):
            value = str(getattr(self, key))
            require(
                value in allowed,
                f"dataset.diabetes130.{key} is '{value}'." + nearest(value, allowed),
            )
        frames.check_records("diabetes130", self.records)
        common.check_fractions("diabetes130", self.train, self.public)
        common.check_sha256_option("diabetes130", self.sha256)

    @property
    def n_classes(self) -> int:
        """2, or 3 with ``label: when``."""
        return len(LABELS[self.label][0])

    def files(self, data_root: Path | None) -> Mapping[str, Sequence[Path]]:
        """The table; see the base class."""
        return common.present(data_root, file=self.file)

    def missing(self, data_root: Path | None) -> str | None:
        """Where the archive should be; see the base class."""
        return common.missing_path("diabetes130", data_root, self.file, SOURCE)

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read, draw and split by ``seed``; see the base class."""
        path = common.require_files(self.missing(data_root), data_root) / self.file
        sha256 = common.sha256_of_files([path])
        common.check_sha256("diabetes130", f"file '{path}'", self.sha256, sha256)
        column, names = SENSITIVE[self.sensitive]
        frame = _read(path)
        facts = {"encounters": len(frame)}
        frame = _patients(frame)
        frame = frame[frame["gender"].isin(("Female", "Male")) & frame[column].notna()]
        facts["patients"] = len(frame)
        classes, codes = LABELS[self.label]
        frame, values, s = frames.recode("diabetes130", frame, column, names)
        frame, _, _ = frames.recode("diabetes130", frame, "readmitted", {k: k for k in codes})
        y = frame["readmitted"].map(codes).to_numpy(np.int64, copy=True)
        strata = y * len(values) + s

        drawn = frames.draw(strata, self.records, seed)
        frame, y, strata = _grouped(frame.iloc[drawn]), y[drawn], strata[drawn]
        rows = common.stratified("diabetes130", strata, self.train, self.public, seed)
        categories = {**CATEGORIES, column: values}
        if column == "insulin":
            del categories["change"], categories["diabetesMed"]
        encoded = tables.encode(
            "diabetes130",
            frame,
            sensitive=column,
            called=self.sensitive,
            public=rows[2],
            numeric=NUMERIC,
            categories=categories,
            gaps=GAPS,
        )
        card = Card(
            name="diabetes130",
            sector=self.sector,
            modality=self.modality,
            shape=(),
            class_names=classes,
            privacy_unit="person",
            source="Diabetes 130-US Hospitals for Years 1999-2008, Clore, Cios, DeShazo, Strack, "
            f"2014; {SOURCE}",
            terms="none stated in the archive; see the UCI repository",
            publishable=False,
        )
        return tables.finish(
            card,
            encoded,
            torch.from_numpy(y),
            torch.from_numpy(frame.index.to_numpy(np.int64, copy=True)),
            rows,
            copies="drop",
            sha256=sha256,
            split_protocol=f"one encounter of each of {len(frame)} patients, stratified by "
            f"readmission and {self.sensitive}: {self.train} train, {self.public} public, rest "
            "test",
            **facts,
        )


def _read(path: Path) -> pd.DataFrame:
    """The columns in use of all encounters."""
    wanted = {"encounter_id", "patient_nbr", "readmitted", *NUMERIC, *CATEGORIES}
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if Path(n).name == CSV]
            require(
                len(names) == 1,
                f"Data set 'diabetes130': archive '{path}' holds {len(names)} files '{CSV}'; it "
                "must hold one: get the original archive.",
            )
            with archive.open(names[0]) as file:
                frame = frames.read(
                    "diabetes130", file, na_values=["?"], usecols=lambda c: c in wanted
                )
    except zipfile.BadZipFile as error:
        raise UserError(
            f"Data set 'diabetes130': '{path}' is no zip archive ({error}); get it again."
        ) from error
    frames.require_columns("diabetes130", frame, sorted(wanted))
    return frames.numbers("diabetes130", frame, ("encounter_id", "patient_nbr"))


def _patients(frame: pd.DataFrame) -> pd.DataFrame:
    """The first encounter of everybody who may come back; the index numbers the patients."""
    first = frame.sort_values("encounter_id", kind="stable").drop_duplicates("patient_nbr")
    alive = first[~first["discharge_disposition_id"].isin(DEAD_OR_DYING)]
    return frames.numbers("diabetes130", alive.reset_index(drop=True), NUMERIC)


def _grouped(frame: pd.DataFrame) -> pd.DataFrame:
    """Admission, discharge, specialty and diagnoses replaced by their groups; gaps stay."""
    told: dict[str, Any] = {}
    for column, (groups, rest) in GROUPS.items():
        told[column] = frame[column].map(groups).fillna(rest).where(frame[column].notna())
    for column in DIAGNOSES:
        told[column] = chapter(frame[column])
    return frame.assign(**told)


def chapter(codes: pd.Series[Any]) -> pd.Series[Any]:
    """The group of ICD-9 codes in table 2 of Strack et al. 2014; gaps stay gaps.

    Codes of external causes (E) and of other contacts (V) are "other".
    """
    number = pd.to_numeric(codes, errors="coerce").fillna(-1.0).astype(np.float64)
    of = np.floor(number)
    symptom = {785: "circulatory", 786: "respiratory", 787: "digestive", 788: "genitourinary"}
    ranges = (
        (390, 459, "circulatory"),
        (460, 519, "respiratory"),
        (520, 579, "digestive"),
        (250, 250, "diabetes"),
        (800, 999, "injury"),
        (710, 739, "musculoskeletal"),
        (580, 629, "genitourinary"),
        (140, 239, "neoplasms"),
    )
    conditions = [(of >= low) & (of <= high) for low, high, _ in ranges]
    conditions += [of == code for code in symptom]
    names = [name for _, _, name in ranges] + list(symptom.values())
    groups = pd.Series(np.select(conditions, names, "other"), codes.index, dtype=object)
    return groups.where(codes.notna())
