"""Adult: income in the census of 1994, Kohavi 1996."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pandas as pd
from annotated_types import Ge

from bench.contract import require
from bench.data import common, frames
from bench.data.stored_table import DrawnTable, Records

COLUMNS = common.listed("""
    age workclass fnlwgt education education_num marital_status occupation relationship race sex
    capital_gain capital_loss hours_per_week native_country income
""")
"""The 15 columns in the files' order."""
CATEGORIES = common.columns("""
    workclass: Private | Self-emp-not-inc | Self-emp-inc | Federal-gov | Local-gov | State-gov |
        Without-pay | Never-worked
    education: Preschool | 1st-4th | 5th-6th | 7th-8th | 9th | 10th | 11th | 12th | HS-grad |
        Some-college | Assoc-voc | Assoc-acdm | Bachelors | Masters | Prof-school | Doctorate
    marital_status: Married-civ-spouse | Divorced | Never-married | Separated | Widowed |
        Married-spouse-absent | Married-AF-spouse
    occupation: Tech-support | Craft-repair | Other-service | Sales | Exec-managerial |
        Prof-specialty | Handlers-cleaners | Machine-op-inspct | Adm-clerical | Farming-fishing |
        Transport-moving | Priv-house-serv | Protective-serv | Armed-Forces
    race: White | Asian-Pac-Islander | Amer-Indian-Eskimo | Other | Black
    sex: Female | Male
    native_country: United-States | Cambodia | England | Puerto-Rico | Canada | Germany |
        Outlying-US(Guam-USVI-etc) | India | Japan | Greece | South | China | Cuba | Iran |
        Honduras | Philippines | Italy | Poland | Jamaica | Vietnam | Mexico | Portugal | Ireland |
        France | Dominican-Republic | Laos | Ecuador | Taiwan | Haiti | Columbia | Hungary |
        Guatemala | Nicaragua | Scotland | Thailand | Yugoslavia | El-Salvador | Trinadad&Tobago |
        Peru | Hong | Holand-Netherlands
""")
CLASSES = {"<=50K": "income at most 50,000 dollars", ">50K": "income above 50,000 dollars"}
MARRIED = ("Married-civ-spouse", "Married-spouse-absent", "Married-AF-spouse")


@dataclass(frozen=True)
class Adult(DrawnTable):
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
            two of them by less than 1 %).
        records: how many are drawn; None: all.
        table: which table of so many records; see the base class.
        folder: path below the data root with ``adult.data`` and ``adult-test.csv``.
    """

    sensitive: Literal["marital", "sex", "race"] = "marital"
    records: Annotated[int, Ge(100)] | None = 12000
    folder: str = "adult"
    sha256: str | None = "ca4df26312a5f31310ce10db316acc31018a469630dab90797a9ebc2f97dfcfe"

    sector: ClassVar[str] = "credit"
    name = "adult"
    credit = "Adult (Census Income), Barry Becker and Ronny Kohavi, 1996"
    source = "https://archive.ics.uci.edu/dataset/2"
    terms = "none stated in the files; see the UCI repository"
    place = "folder"
    names = ("adult.data", "adult-test.csv")
    target = "income"
    classes: ClassVar = CLASSES
    numeric = ("age", "capital_gain", "capital_loss", "hours_per_week")
    categories: ClassVar = CATEGORIES
    gaps = ("workclass", "occupation", "native_country")
    sensitives: ClassVar = {
        "marital": (
            "marital_status",
            {
                status: "married" if status in MARRIED else "single"
                for status in reversed(CATEGORIES["marital_status"])
            },
        ),
        "sex": ("sex", {"Male": "male", "Female": "female"}),
        "race": (
            "race",
            {race: "White" if race == "White" else "not White" for race in CATEGORIES["race"]},
        ),
    }
    secrets: ClassVar = {
        "marital": "whether a person is married",
        "sex": "a person's sex",
        "race": "a person's race",
    }
    distinct = True
    protocol = "{n} distinct records, stratified by income and {sensitive}"

    def _read(self, paths: Sequence[Path]) -> Records:
        parts = [
            frames.read("adult", path, header=False, gaps=["?"], comment="|") for path in paths
        ]
        for path, part in zip(paths, parts, strict=True):
            require(
                part.shape[1] == len(COLUMNS),
                f"Data set 'adult': file '{path}' has {part.shape[1]} columns; allowed: "
                f"{len(COLUMNS)} values a line separated by commas, no header. Get the original "
                "file.",
            )
        frame = pd.concat(parts, ignore_index=True)
        frame.columns = pd.Index(COLUMNS)
        frame["income"] = frame["income"].str.removesuffix(".")
        labels = set(frame["income"])
        require(
            labels == set(CLASSES),
            f"Data set 'adult' has labels {sorted(map(str, labels))[:5]}; allowed: both '<=50K' "
            "and '>50K', with or without a full stop. It is an altered copy: get the original.",
        )
        frame = frames.numbers("adult", frame, self.numeric)
        return Records(frame, {"records_in_files": len(frame)})
