"""Warfarin doses with genotypes: International Warfarin Pharmacogenetics Consortium, 2009."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from bench.contract import Task, require
from bench.data import common, frames
from bench.data.stored_table import Records, StoredTable

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
DECADES = {f"{low} - {low + 9}": low // 10 for low in range(10, 90, 10)} | {"90+": 9, "19-Oct": 1}
"""Age groups as the algorithm counts them. A spreadsheet has read "10 - 19" as a date."""
CYP2C9 = ("*1/*1", "*1/*2", "*1/*3", "other")
MOST_DOSE = 1000.0
"""mg a week; above it a number is no dose."""


@dataclass(frozen=True)
class Iwpc(StoredTable):
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
            no headroom) or ``cyp2c9_variant``, any other than *1/*1.
        file: path below the data root.
    """

    sensitive: Literal["vkorc1", "cyp2c9", "cyp2c9_variant"] = "vkorc1"
    file: str = "iwpc/warfarin.csv"
    sha256: str | None = "6e6296143a32de451afc1d885b97e9c694bfe703c7214c359d6f5a52ee9bf31d"

    sector: ClassVar[str] = "medical"
    goals: ClassVar[tuple[str, ...]] = ("attribute",)
    tasks: ClassVar[tuple[Task, ...]] = ("regression",)
    utility_metric: ClassVar[str] = "within_20pct"
    name = "iwpc"
    unit = "person"
    credit = (
        "International Warfarin Pharmacogenetics Consortium, Estimation of the Warfarin Dose with "
        "Clinical and Pharmacogenetic Data, NEJM 360:753, 2009"
    )
    source = "https://www.pharmgkb.org/downloads (IWPC data)"
    terms = "none stated in the file; see PharmGKB"
    target = "dose"
    outcome = ("warfarin dose", "mg/week", 2.0)
    numeric = ("age_decade", "height", "weight")
    categories: ClassVar = common.columns("""
        vkorc1: A/A | A/G | G/G
        cyp2c9: *1/*1 | *1/*2 | *1/*3 | other
        race: White | Asian | Black or African American | Unknown
        enzyme_inducer: no | yes
        amiodarone: no | yes
    """)
    gaps = True
    sensitives: ClassVar = {
        "vkorc1": ("vkorc1", {genotype: genotype for genotype in ("A/A", "A/G", "G/G")}),
        "cyp2c9": ("cyp2c9", {genotype: genotype for genotype in CYP2C9}),
        "cyp2c9_variant": ("cyp2c9", {"*1/*1": "no", **dict.fromkeys(CYP2C9[1:], "yes")}),
    }
    secrets: ClassVar = {
        "vkorc1": "a patient's VKORC1 genotype",
        "cyp2c9": "a patient's CYP2C9 genotype",
        "cyp2c9_variant": "whether a patient carries a variant of CYP2C9",
    }
    distinct = True
    protocol = "patients, stratified by {sensitive} and quartile of dose"

    def _read(self, paths: Sequence[Path]) -> Records:
        frame = read_patients(paths[0])
        known = frame[["dose", "vkorc1", "cyp2c9"]].notna().all(axis=1)
        return Records(frame[known], {"patients_in_file": len(frame)})


def read_patients(path: Path) -> pd.DataFrame:
    """The inputs and ``dose`` of patients, gaps as NaN.

    Raises:
        UserError: another table, or values that are no doses, ages or genotypes.
    """
    wanted = [DOSE, STABLE, *ENZYME_INDUCERS, *RENAMED]
    raw = frames.read("iwpc", path, gaps=("NA", ""), keep=wanted)
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
