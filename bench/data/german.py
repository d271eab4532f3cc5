"""Statlog German credit, Hofmann 1994."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd

from bench.contract import require
from bench.data import common
from bench.data.stored_table import Records, StoredTable

COLUMNS = common.listed("""
    checking duration history purpose amount savings employment installment_rate status_sex debtors
    residence_since property age other_plans housing existing_credits job dependents telephone
    foreign risk
""")
"""The 21 columns in the file's order; the codes of each are in UCI's german.doc."""


@dataclass(frozen=True)
class German(StoredTable):
    """1,000 loan applicants, 7 numbers and 13 categories, good (1) or bad (2) credit.

    With ``sex`` as the sensitive attribute, marital status goes too, since the file codes both in
    one column and only women are "divorced/separated/married".

    Attributes:
        sensitive: ``checking``: has a checking account, or none (the default:
            PROTOCOL 5.3 E3's attribute in two values, because AUC needs two; "none" against the
            rest is the most even cut, 39 % none, and far from the 5 % bound of PROTOCOL 2.3);
            ``overdrawn``: the account is below 0 DM (27 %); ``checking_status``: all four
            values; ``sex`` (31 % female).
        file: path below the data root, values separated by commas or blanks.
    """

    sensitive: Literal["checking", "overdrawn", "checking_status", "sex"] = "checking"
    file: str = "german/german.csv"
    sha256: str | None = "ec12a88b9fc14d74ba646ea0410cf7ff4533bec2eb61652f8ad76796bbfec017"

    sector: ClassVar[str] = "credit"
    name = "german"
    credit = "Statlog German credit, Hans Hofmann, Hamburg, 1994"
    source = (
        "https://archive.ics.uci.edu/dataset/144 (separated by commas: german.csv in "
        "https://github.com/jbrownlee/Datasets)"
    )
    terms = "none stated in the file; see the UCI repository"
    target = "risk"
    classes: ClassVar = {1: "good credit", 2: "bad credit"}
    numeric = common.listed(
        "duration amount installment_rate residence_since age existing_credits dependents"
    )
    categories: ClassVar = common.columns("""
        checking: A11 | A12 | A13 | A14
        history: A30 | A31 | A32 | A33 | A34
        purpose: A40 | A41 | A42 | A43 | A44 | A45 | A46 | A47 | A48 | A49 | A410
        savings: A61 | A62 | A63 | A64 | A65
        employment: A71 | A72 | A73 | A74 | A75
        status_sex: A91 | A92 | A93 | A94 | A95
        debtors: A101 | A102 | A103
        property: A121 | A122 | A123 | A124
        other_plans: A141 | A142 | A143
        housing: A151 | A152 | A153
        job: A171 | A172 | A173 | A174
        telephone: A191 | A192
        foreign: A201 | A202
    """)
    sensitives: ClassVar = {
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
    secrets: ClassVar = {
        "checking": "whether an applicant has a checking account",
        "overdrawn": "whether an applicant's account is overdrawn",
        "checking_status": "how much is on an applicant's account",
        "sex": "an applicant's sex",
    }
    distinct = True
    protocol = "records, stratified by credit and {sensitive}"

    def _read(self, paths: Sequence[Path]) -> Records:
        [path] = paths
        try:
            frame = pd.read_csv(path, sep=r"[,\s]+", header=None, engine="python", dtype=str)
            frame = frame.dropna(axis=1, how="all")  # A blank at the end of a line makes a column.
        except (ValueError, UnicodeDecodeError) as error:
            frame, why = pd.DataFrame(), f" ({error})"
        else:
            why = ""
        require(
            frame.shape[1] == len(COLUMNS),
            f"Data set 'german': file '{path}' has {frame.shape[1]} columns{why}; allowed: "
            f"{len(COLUMNS)} values a line separated by commas or blanks, no header. Get the "
            "original file.",
        )
        frame.columns = pd.Index(COLUMNS)
        for column in (*self.numeric, "risk"):
            frame[column] = pd.to_numeric(frame[column], errors="coerce")
        labels = sorted({str(value) for value in frame["risk"]})
        require(
            set(frame["risk"]) == {1, 2},
            f"Data set 'german': file '{path}' has labels {labels[:5]}; allowed: both 1 (good) and "
            "2 (bad) and no header line. It is an altered copy: get the original.",
        )
        return Records(frame)
