"""The catalogue of ways to get a PASS that is not deserved, and what comes of each.

Every one differs from a case that passes by one change. ``python -m tests.decide.false_pass``
prints the table.
"""

from __future__ import annotations

from tests.decide.attempt import RERUN, Change, known, outcome, says
from tests.decide.ways_of_evidence import PACK, RECORDS
from tests.decide.ways_of_words import DESCRIPTION, PEOPLE, POLICY, signed, waiver

WAYS = (*RECORDS, *PACK, *DESCRIPTION, *PEOPLE, *POLICY)
HONEST_WAYS: tuple[tuple[str, tuple[Change, ...]], ...] = (
    ("as it is", ()),
    ("with a waiver", waiver()),
    ("signed", (signed(("dpo", "Ada Ng"), ("model owner", "risk team")),)),
    ("without options", (says("defense.params", {}),)),
    ("run again by two", (known(reruns={**RERUN, "A third lab": ""}),)),
)
"""What differs as little and passes."""


def table() -> list[tuple[str, str, str]]:
    """Name, outcome and rule of every way."""
    rows = []
    for one in WAYS:
        verdict, broken, sentence = outcome(*one.changes)
        rule = one.rule if one.rule in broken else "; ".join(sorted(broken))
        rows.append((one.name, verdict, rule or sentence.split(":")[-1].strip()[:70]))
    return rows


if __name__ == "__main__":
    for name, verdict, rule in [("what was tried", "outcome", "rule"), *table()]:
        print(f"{name:<58} {verdict:<12} {rule}")
