"""No way of the catalogue gets a PASS that is not deserved; the honest case passes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.decide.rulebook import RULES
from tests.decide.attempt import HONEST, Way, outcome, says
from tests.decide.false_pass import HONEST_WAYS, WAYS
from tests.decide.ways_of_evidence import RECORDS


@pytest.mark.parametrize("changes", [pytest.param(c, id=name) for name, c in HONEST_WAYS])
def test_the_honest_case_passes(changes) -> None:
    assert outcome(*changes) == ("PASS", set(), "")


SLOW = {way.name for way in RECORDS[8:]} - {
    "labels leak more than scores do, in another pack",
    "another attack than the named one leaks",
}
"""New evidence takes a second each; most rules on figures have tests of their own besides."""


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, id=way.name, marks=[pytest.mark.slow] if way.name in SLOW else [])
        for way in WAYS
    ],
)
def test_every_way_is_caught_by_its_rule(way: Way) -> None:
    verdict, broken, sentence = outcome(*way.changes)
    assert verdict == way.verdict, (sentence, broken)
    assert len(sentence) < 1000 and "\n" not in sentence
    if way.rule:
        assert way.rule in broken, broken


def test_the_catalogue_is_large_and_its_names_differ() -> None:
    assert len({way.name for way in WAYS}) == len(WAYS) >= 40
    assert {way.rule for way in WAYS} - {"", "shown"} <= set(RULES)


def _places(tree, before: str = ""):
    for key, value in tree.items():
        yield f"{before}{key}"
        if isinstance(value, dict):
            yield from _places(value, f"{before}{key}.")


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)
_SAID_LESS = st.sampled_from([None, "", " ", "-", "none", "TODO", "\u200b", [], {}])
_MAY_BE_EMPTY = {"defense.params"}
"""Saying nothing of options is saying that they are those of the row's name."""


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(_places(HONEST))), _ANYTHING)
def test_whatever_a_field_says_there_is_a_verdict_or_one_sentence(place: str, value) -> None:
    verdict, _, sentence = outcome(says(place, value))
    assert verdict in ("PASS", "CONDITIONAL", "BLOCK", "refused")
    assert len(sentence) < 2000


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted({*_places(HONEST)} - _MAY_BE_EMPTY)), _SAID_LESS)
def test_who_says_less_does_not_pass_for_it(place: str, value) -> None:
    assert outcome(says(place, value))[0] != "PASS"
