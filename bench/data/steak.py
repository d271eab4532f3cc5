"""FiveThirtyEight's steak survey, as cleaned by Mehnaz et al. 2022."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.data import common
from bench.data.mehnaz import MehnazTable

AGES = ("18-29", "30-44", "45-60", "> 60")
YES_NO = ("No", "Yes")
HABITS = ("smoking", "alcohol", "gambling", "skydiving", "speeding", "infidelity")


@dataclass(frozen=True)
class Steak(MehnazTable):
    """How 401 people like their steak, from what they smoke, drink, risk and earn.

    Fredrikson et al. 2015 inverted a tree on this survey to learn who had cheated on a partner.
    ``fte_full.csv`` is the paper's training file: the 331 who answered everything. The paper has
    no test file. ``fte_322.csv`` is an earlier draw of 322 from the 430 steak eaters; the 70 in it
    who are not members have skipped questions, mostly income. So with ``split: paper`` only 35
    are ``test`` and 35 ``public``, and members and non-members differ by their gaps: take
    ``random`` (all 401) to compare the two. Who stands in both files is taken once. Different
    people may answer alike: equal records are counted.

    Attributes:
        sensitive: ``infidelity`` (17 % yes), or the paper's ``alcohol`` (20 % no) and ``age``
            (four groups; who did not tell is left out).
    """

    split: Literal["paper", "random"] = "random"
    sensitive: Literal["infidelity", "alcohol", "age"] = "infidelity"
    sha256: str | None = "eb84f803187e438ac4cd9c17f8a24ac33f058cfd72def5d70c26eeb62dab6d13"

    sector: ClassVar[str] = "survey"
    name = "steak"
    names = ("fte_full.csv", "fte_322.csv")
    target = "steak_type"
    classes: ClassVar = {
        "Rare": "rare",
        "Medium rare": "medium rare",
        "Medium": "medium",
        "Medium Well": "medium well",
        "Well": "well",
    }
    categories: ClassVar = {
        "lottery": ("Lottery A", "Lottery B"),
        **dict.fromkeys(HABITS, YES_NO),
        "gender": ("Male", "Female"),
        "age": AGES,
        **common.columns("""
            income: $0 - $24,999 | $25,000 - $49,999 | $50,000 - $99,999 | $100,000 - $149,999 |
                $150,000+
            education: Less than high school degree | High school degree |
                Some college or Associate degree | Bachelor degree | Graduate degree
            location: East North Central | East South Central | Middle Atlantic | Mountain |
                New England | Pacific | South Atlantic | West North Central | West South Central
        """),
    }
    sensitives: ClassVar = {
        "infidelity": ("infidelity", {"No": "no", "Yes": "yes"}),
        "alcohol": ("alcohol", {"Yes": "yes", "No": "no"}),
        "age": ("age", {age: age for age in AGES}),
    }
    secrets: ClassVar = {
        "infidelity": "whether a respondent cheated on a partner",
        "alcohol": "whether a respondent drinks alcohol",
        "age": "a respondent's age",
    }
    person = "response_id"
    credit = "FiveThirtyEight, How Americans Like Their Steak, 2014"
    terms = "FiveThirtyEight publishes the survey under CC BY 4.0; none stated by Mehnaz et al."
