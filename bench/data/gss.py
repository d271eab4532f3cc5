"""General Social Survey, as cleaned by Mehnaz et al. 2022: happiness of a marriage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.data import common
from bench.data.mehnaz import MehnazTable


@dataclass(frozen=True)
class Gss(MehnazTable):
    """20,314 married people asked between 1973 and 2018 how happy their marriage is.

    The target is ``hapmar`` (three classes; "not too happy" is 3 %). ``marital`` is left out: it
    is "married" for all but one. The survey's codes for "no answer" (age 99, 9 children, 98 and
    99 years of education), numbers in the paper, are gaps here. A table of few values repeats
    naturally: equal records may stand in two splits and are counted.

    Attributes:
        sensitive: ``xmovie``, saw an X-rated movie in the last year (the paper's; 20 %), or
            ``sex``.
    """

    sensitive: Literal["xmovie", "sex"] = "xmovie"
    sha256: str | None = "487b3ebacea1648d80104758a45241ad2a0a0d356157e5cc3b4b19111cfe60a7"

    sector: ClassVar[str] = "survey"
    name = "gss"
    names = ("GSS_15235.csv", "GSS_5079.csv")
    target = "hapmar"
    classes: ClassVar = {
        "nottoohappy": "not too happy",
        "prettyhappy": "pretty happy",
        "veryhappy": "very happy",
    }
    numeric = ("year", "childs", "age", "educ")
    unknown_numbers: ClassVar = {"childs": (9,), "age": (98, 99), "educ": (98, 99)}
    categories: ClassVar = common.columns("""
        divorce: ds_no | ds_yes | noanswer
        sex: female | male
        race: white | black | other
        relig: protestant | catholic | jewish | none | other | buddhism | hinduism | othereastern |
            muslim | orthodoxchristian | christian | nativeamerican | internondenominational |
            dontknow | noanswer
        xmovie: x_no | x_yes
        pornlaw: illegalillegal8 | illegal | legal | dontknow | noanswer
    """)
    sensitives: ClassVar = {
        "xmovie": ("xmovie", {"x_no": "no", "x_yes": "yes"}),
        "sex": ("sex", {"male": "male", "female": "female"}),
    }
    secrets: ClassVar = {
        "xmovie": "whether a respondent saw an X-rated movie",
        "sex": "a respondent's sex",
    }
    credit = "General Social Survey, NORC at the University of Chicago"
