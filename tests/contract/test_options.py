from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Le, MinLen

from bench.contract import Component, Count, Fraction, Positive, Share, UserError
from bench.contract.options import allowed, options_of, type_hints


@dataclass(frozen=True)
class Example(Component):
    """An example.

    Attributes:
        steps: how many.
        rate: of something,
            over two lines.
        word: one of two.
        sizes: of layers.
        limit: most; null: none.
        pair: two shares.
    """

    steps: Count = 1
    rate: Positive = 0.5
    word: Literal["a", "b"] = "a"
    sizes: Annotated[tuple[Count, ...], MinLen(1)] = (8, 4)
    limit: Annotated[int, Ge(2), Le(9)] | None = None
    pair: tuple[Share, Share] = (0.0, 0.5)
    part: Fraction = 0.5


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"rate": 0.0}, "rate is 0.0"),
        ({"rate": float("inf")}, "rate is inf"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"word": "c"}, "word is 'c'"),
        ({"sizes": ()}, "sizes"),
        ({"sizes": (8, 0)}, "sizes"),
        ({"limit": 1}, "limit is 1"),
        ({"limit": 10}, "limit is 10"),
        ({"pair": (0.0, 1.0)}, "pair"),
        ({"pair": (0.0,)}, "pair"),
        ({"part": 1.0}, "part is 1.0"),
    ],
)
def test_what_a_type_does_not_allow_is_refused_by_name(options: dict[str, Any], name: str) -> None:
    with pytest.raises(UserError, match=name):
        Example(**options)


@pytest.mark.parametrize(
    "options", [{}, {"limit": None}, {"limit": 9}, {"sizes": (1,)}, {"rate": 3}, {"word": "b"}]
)
def test_what_it_allows_passes(options: dict[str, Any]) -> None:
    Example(**options)


def test_the_range_is_told_in_words() -> None:
    hints = type_hints(Example)
    assert allowed(hints["steps"]) == "a whole number of at least 1"
    assert allowed(hints["part"]) == "a number above 0 and below 1"
    assert allowed(hints["word"]) == "one of a, b"
    assert allowed(hints["limit"]) == "a whole number of at least 2 and at most 9, or null"


def test_options_are_described_from_their_types_and_the_docstring() -> None:
    docs = {doc.name: doc for doc in options_of(Example)}
    assert list(docs) == ["steps", "rate", "word", "sizes", "limit", "pair", "part"]
    assert docs["rate"].text == "of something, over two lines."
    assert (docs["sizes"].type, docs["sizes"].default) == ("list", "[8, 4]")
    assert (docs["limit"].type, docs["limit"].default) == ("whole number or null", "null")
