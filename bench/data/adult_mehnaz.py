"""Adult in the exact split of Mehnaz et al. 2022."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.data.adult import CATEGORIES, CLASSES
from bench.data.mehnaz import MehnazTable


@dataclass(frozen=True)
class AdultMehnaz(MehnazTable):
    """45,222 people of the census of 1994 without gaps, 35,222 of them the paper's members.

    The paper's ten inputs: no age, country or relationship, education in three steps, and the
    census weight ``fnlwgt``. 193 records are copies of another in their own file; copies of a
    member are dropped from ``test`` and ``public``, so that both are held out.

    Attributes:
        sensitive: ``marital``: married or single (the paper's), or ``sex``.
    """

    sensitive: Literal["marital", "sex"] = "marital"
    sha256: str | None = "85bd5d011bee3970a8b10771ba2fc16beaa1e3ff5eaceebb1d59643b8154798e"

    sector: ClassVar[str] = "credit"
    name = "adult_mehnaz"
    names = ("Adult_35222.csv", "Adult_10000.csv")
    target = "income"
    classes: ClassVar = CLASSES
    numeric = ("fnlwgt", "capitalgain", "capitalloss", "hoursperweek")
    categories: ClassVar = {
        "work": CATEGORIES["workclass"],
        "education": ("edu1", "edu2", "edu3"),
        "marital": ("Married", "Single"),
        "occupation": CATEGORIES["occupation"],
        "sex": CATEGORIES["sex"],
        "race": CATEGORIES["race"],
    }
    sensitives: ClassVar = {
        "marital": ("marital", {"Married": "married", "Single": "single"}),
        "sex": ("sex", {"Male": "male", "Female": "female"}),
    }
    secrets: ClassVar = {
        "marital": "whether a person is married",
        "sex": "a person's sex",
    }
    copies = "drop"
    credit = "Adult (Census Income), Barry Becker and Ronny Kohavi, 1996"
