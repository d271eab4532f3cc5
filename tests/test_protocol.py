"""What code, options, README and documentation cite of the protocol is there, in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.goals import goals
from bench.report.controls import CHECKS

ROOT = Path(__file__).parents[1]
PROTOCOL = ROOT / "bench" / "PROTOCOL.md"
PLACES = ("attacks", "bench", "conf", "defenses", "tests")

_ITEM = r"(?:[Ff]inding \d+|[CDEGKOS]\d+\b|\d+(?:\.\d+)?)"
_CITED = re.compile(
    rf"(?:PROTOCOL(?:\.md)?|protocol\.md)\)?,?[\s#]+({_ITEM}(?:(?:,? and |, | ){_ITEM})*)"
)
_SECTION = re.compile(r"^(?:#{2,3} |(?:- )?\*\*)(\d+(?:\.\d+)?) ", re.MULTILINE)
_ENTRY = re.compile(
    r"^(?:\| |(?:- )?\*\*|\*\*\d\.\d .+?\*\* \*\*)(Finding \d+|[CDEGKOS]\d+)\b", re.MULTILINE
)


def sections(text: str) -> list[str]:
    """Numbers of the sections, in the order of the text."""
    return _SECTION.findall(text)


def entries(text: str) -> set[str]:
    """Codes and findings that have an entry: first cell of a table's row, or bold at a line's
    start.
    """
    return {name.lower() for name in _ENTRY.findall(text)}


def cited(text: str) -> set[str]:
    """Sections, codes and findings that some file cites."""
    return {
        name
        for found in _CITED.findall(text)
        for name in re.findall(_ITEM, found.replace("\n", " "))
    }


def faults(text: str, names: set[str]) -> list[str]:
    """What is wrong with the protocol's ``text``, given what is cited of it."""
    numbers = sections(text)
    places = [tuple(map(int, number.split("."))) for number in numbers]
    wrong = [
        f"section {number} stands after {before}"
        for before, number, low, high in zip(numbers, numbers[1:], places, places[1:], strict=False)
        if high <= low
    ]
    known = {*numbers, *entries(text)}
    return wrong + [f"{name} is not there" for name in sorted(names) if name.lower() not in known]


def files() -> Iterator[Path]:
    for place in PLACES:
        for kind in ("*.py", "*.yaml"):
            yield from sorted((ROOT / place).rglob(kind))
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").rglob("*.md"))


def test_all_that_is_cited_is_there_and_in_order() -> None:
    names = {
        name
        for path in files()
        if path != Path(__file__)
        for name in cited(path.read_text(encoding="utf-8"))
    }
    assert {"0", "1.1", "3.6", "4.5", "8.4", "C7", "finding 4", "S3"} <= names, "nothing was read"
    names |= {check.code for check in CHECKS.values()}
    names |= {code for code in (goal.words.code for goal in goals().values()) if "_" not in code}
    assert faults(PROTOCOL.read_text(encoding="utf-8"), names) == []


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ('"""One scale (PROTOCOL 2.0)."""', {"2.0"}),
        ("(PROTOCOL 3.4, 3.7):", {"3.4", "3.7"}),
        ("the label-aware variant (PROTOCOL 2.0 and 2.4).", {"2.0", "2.4"}),
        ("PROTOCOL 5.3 E3's attribute", {"5.3", "E3"}),
        ("(PROTOCOL 0, finding 4)", {"0", "finding 4"}),
        ("(PROTOCOL 3.6, C9), and (PROTOCOL C11).", {"3.6", "C9", "C11"}),
        ("# they say (bench/PROTOCOL.md 8). A copy", {"8"}),
        ("[protocol](bench/PROTOCOL.md), 8): of", {"8"}),
        (
            "The [protocol](../protocol.md), 3.2, and ([protocol](../protocol.md) 4.6",
            {"3.2", "4.6"},
        ),
        ("only one of them (PROTOCOL\n    # 2.0, leakage)", {"2.0"}),
        ("PROTOCOL 3.1: five seeds, ten", {"3.1"}),
        ('{"protocol": PROTOCOL_VERSION, 7: 1}', set()),
    ],
)
def test_citations_are_read(code: str, names: set[str]) -> None:
    assert cited(code) == names


GOOD = """## 1 First
**1.1 Axes.** Words.
| Code | What |
| --- | --- |
| C1* | a check |
### 1.2 More
- **C2** another check, beside C3.
## 2 Second
**2.1 Sub.** **E1.** A figure.
- **Finding 4.** A finding.
"""


def test_a_sound_text_has_no_fault() -> None:
    assert faults(GOOD, {"1", "1.1", "1.2", "2", "2.1", "C1", "C2", "E1", "finding 4"}) == []


@pytest.mark.parametrize(
    ("text", "names", "wrong"),
    [
        (GOOD, {"1.3"}, ["1.3 is not there"]),
        (GOOD, {"C1", "C3"}, ["C3 is not there"]),
        (GOOD, {"finding 5"}, ["finding 5 is not there"]),
        (GOOD.replace("### 1.2 More", "### More"), {"1.2"}, ["1.2 is not there"]),
        (GOOD.replace("## 1 First", "### 1.6 Late\n"), {"1.6"}, ["section 1.1 stands after 1.6"]),
        (GOOD + "### 2.1 Again\n", set(), ["section 2.1 stands after 2.1"]),
        ("## 3.9 Nine\n## 3.10 Ten\n", {"3.10"}, []),
    ],
)
def test_a_fault_is_found(text: str, names: set[str], wrong: list[str]) -> None:
    assert faults(text, names) == wrong
