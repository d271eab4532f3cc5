"""Diabetes 130-US hospitals 1999-2008, Strack et al. 2014: readmission."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from annotated_types import Ge

from bench.contract import UserError, require
from bench.data import common, frames
from bench.data.stored_table import DrawnTable, Records

CSV = "diabetic_data.csv"
DRUGS = common.listed("""
    metformin repaglinide nateglinide glimepiride glipizide glyburide pioglitazone rosiglitazone
    glyburide-metformin insulin
""")
"""Those of the 23 that at least one encounter in 200 has."""
DIAGNOSES = ("diag_1", "diag_2", "diag_3")
CHAPTERS = common.listed("""
    circulatory respiratory digestive diabetes injury musculoskeletal genitourinary neoplasms other
""")
ICD9 = (
    (390, 459, "circulatory"),
    (460, 519, "respiratory"),
    (520, 579, "digestive"),
    (250, 250, "diabetes"),
    (800, 999, "injury"),
    (710, 739, "musculoskeletal"),
    (580, 629, "genitourinary"),
    (140, 239, "neoplasms"),
    (785, 785, "circulatory"),
    (786, 786, "respiratory"),
    (787, 787, "digestive"),
    (788, 788, "genitourinary"),
)
"""First and last code of each group of diagnoses in table 2 of Strack et al. 2014."""
CATEGORIES: dict[str, tuple[str, ...]] = {
    **common.columns("""
        race: Caucasian | AfricanAmerican | Hispanic | Asian | Other
        gender: Female | Male
        age: [0-10) | [10-20) | [20-30) | [30-40) | [40-50) | [50-60) | [60-70) | [70-80) |
            [80-90) | [90-100)
        admission_type_id: emergency | urgent | elective | other
        discharge_disposition_id: home | elsewhere | unknown
        admission_source_id: referral | emergency room | transfer | other
        medical_specialty: internal medicine | emergency | family practice | cardiology | surgery |
            other
    """),
    **dict.fromkeys(DIAGNOSES, CHAPTERS),
    "max_glu_serum": ("None", "Norm", ">200", ">300"),
    "A1Cresult": ("None", "Norm", ">7", ">8"),
    **dict.fromkeys(DRUGS, ("No", "Steady", "Up", "Down")),
    "change": ("No", "Ch"),
    "diabetesMed": ("No", "Yes"),
}

GROUPS: dict[str, tuple[dict[str, str], str]] = {
    "admission_type_id": ({"1": "emergency", "2": "urgent", "3": "elective"}, "other"),
    "discharge_disposition_id": (
        {"1": "home", **dict.fromkeys(("18", "25", "26"), "unknown")},
        "elsewhere",
    ),
    "admission_source_id": (
        {
            **dict.fromkeys(common.listed("1 2 3"), "referral"),
            "7": "emergency room",
            **dict.fromkeys(common.listed("4 5 6 10 18 22 25 26"), "transfer"),
        },
        "other",
    ),
    "medical_specialty": (
        {
            "InternalMedicine": "internal medicine",
            "Emergency/Trauma": "emergency",
            "Family/GeneralPractice": "family practice",
            "Cardiology": "cardiology",
            **dict.fromkeys(
                common.listed("""
                    Surgery-General Surgery-Cardiovascular/Thoracic Surgery-Neuro Surgery-Vascular
                    Surgery-Thoracic Surgery-Cardiovascular Surgery-Plastic Surgery-Colon&Rectal
                    Surgery-Maxillofacial Surgery-Pediatric Surgery-PlasticwithinHeadandNeck
                    SurgicalSpecialty Surgeon
                """),
                "surgery",
            ),
        },
        "other",
    ),
}
"""Codes of admission and discharge (IDs_mapping.csv) and medical specialties to the group they
become, and the group of all others."""
DEAD_OR_DYING = ("11", "13", "14", "19", "20", "21")
"""Discharges after which nobody comes back: died, or went to a hospice."""

LABELS = {
    "any": {"NO": "not readmitted", ">30": "readmitted", "<30": "readmitted"},
    "early": {
        "NO": "not within 30 days",
        ">30": "not within 30 days",
        "<30": "within 30 days",
    },
    "when": {"NO": "not readmitted", ">30": "after 30 days", "<30": "within 30 days"},
}
"""Option ``label`` to the class that each value of the column becomes."""


@dataclass(frozen=True)
class Diabetes130(DrawnTable):
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
            where it is hidden.
        label: ``any`` readmission, ``early`` (within 30 days), or ``when``, all three classes.
        records: patients who are drawn; None: all 70,000.
        table: which table of so many patients; see the base class.
        file: path below the data root of the archive.
    """

    sensitive: Literal["race", "gender", "insulin"] = "insulin"
    label: Literal["any", "early", "when"] = "any"
    records: Annotated[int, Ge(100)] | None = 8000
    file: str = "diabetes130/dataset_diabetes.zip"
    sha256: str | None = "2cc570fc34b09ba1169d94b68c27ce3802dce7dc4ab6082bed833a6c195507a5"

    sector: ClassVar[str] = "medical"
    name = "diabetes130"
    unit = "person"
    credit = "Diabetes 130-US Hospitals for Years 1999-2008, Clore, Cios, DeShazo, Strack, 2014"
    source = "https://archive.ics.uci.edu/dataset/296"
    terms = "none stated in the archive; see the UCI repository"
    target = "readmitted"
    numeric = common.listed("""
        time_in_hospital num_lab_procedures num_procedures num_medications number_outpatient
        number_emergency number_inpatient number_diagnoses
    """)
    categories: ClassVar = CATEGORIES
    gaps = ("race", "medical_specialty", *DIAGNOSES)
    sensitives: ClassVar = {
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
    secrets: ClassVar = {
        "race": "a patient's race",
        "gender": "a patient's gender",
        "insulin": "whether a patient is given insulin",
    }
    telling: ClassVar = {"insulin": ("change", "diabetesMed")}
    copies = "drop"
    protocol = "one encounter of each of {n} patients, stratified by readmission and {sensitive}"

    @property
    def classes(self) -> Mapping[Any, str]:  # type: ignore[override]
        """As ``label`` cuts readmission."""
        return LABELS[self.label]

    def _read(self, paths: Sequence[Path]) -> Records:
        encounters = _encounters(paths[0])
        first = _first_encounters(encounters)
        column, _ = self.sensitives[self.sensitive]
        frame = first[first["gender"].isin(("Female", "Male")) & first[column].notna()]
        return Records(_grouped(frame), {"encounters": len(encounters), "patients": len(frame)})


def _encounters(path: Path) -> pd.DataFrame:
    """The columns in use of all encounters."""
    wanted = {"encounter_id", "patient_nbr", "readmitted", *Diabetes130.numeric, *CATEGORIES}
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if Path(n).name == CSV]
            require(
                len(names) == 1,
                f"Data set 'diabetes130': archive '{path}' holds {len(names)} files '{CSV}'; it "
                "must hold one: get the original archive.",
            )
            with archive.open(names[0]) as file:
                frame = frames.read("diabetes130", file, gaps=["?"], keep=wanted)
    except zipfile.BadZipFile as error:
        raise UserError(
            f"Data set 'diabetes130': '{path}' is no zip archive ({error}); get it again."
        ) from error
    frames.require_columns("diabetes130", frame, sorted(wanted))
    return frames.numbers("diabetes130", frame, ("encounter_id", "patient_nbr"))


def _first_encounters(frame: pd.DataFrame) -> pd.DataFrame:
    """The first encounter of everybody who may come back; the index numbers the patients."""
    first = frame.sort_values("encounter_id", kind="stable").drop_duplicates("patient_nbr")
    alive = first[~first["discharge_disposition_id"].isin(DEAD_OR_DYING)]
    return frames.numbers("diabetes130", alive.reset_index(drop=True), Diabetes130.numeric)


def _grouped(frame: pd.DataFrame) -> pd.DataFrame:
    """Admission, discharge, specialty and diagnoses replaced by their groups; gaps stay."""
    grouped: dict[str, Any] = {}
    for column, (groups, rest) in GROUPS.items():
        grouped[column] = frame[column].map(groups).fillna(rest).where(frame[column].notna())
    for column in DIAGNOSES:
        grouped[column] = chapter(frame[column])
    return frame.assign(**grouped)


def chapter(codes: pd.Series[Any]) -> pd.Series[Any]:
    """The group of ICD-9 codes in table 2 of Strack et al. 2014; gaps stay gaps.

    Codes of external causes (E) and of other contacts (V) are "other".
    """
    number = pd.to_numeric(codes, errors="coerce").fillna(-1.0).astype(np.float64)
    whole = np.floor(number)
    conditions = [(whole >= low) & (whole <= high) for low, high, _ in ICD9]
    groups = np.select(conditions, [group for _, _, group in ICD9], "other")
    return pd.Series(groups, codes.index, dtype=object).where(codes.notna())
