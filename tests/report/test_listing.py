from __future__ import annotations

import math

import pandas as pd
import pytest

from bench.report import listing


@pytest.mark.parametrize(
    ("rank", "tied", "expected"), [(4, 1, "4"), (1, 4, "1–4"), (math.nan, 1, "–")]
)
def test_places(rank: float, tied: int, expected: str) -> None:
    assert listing.places(rank, tied) == expected


def test_the_reference_comes_first_and_rows_of_one_rank_share_places() -> None:
    rows = pd.DataFrame({"defense": ["a", "b", "none", "c"], "rank": [1.0, 1.0, 3.0, math.nan]})
    listed = [(row["defense"], row["places"]) for row in listing.ordered(rows)]
    assert listed == [("none", "3"), ("a", "1–2"), ("b", "1–2"), ("c", "–")]


def test_shared_flags_are_those_of_every_measured_row() -> None:
    flags = [("few", "idle"), ("few",), ("lost",)]
    rows = pd.DataFrame({"flags": flags, "n_seeds": [3, 3, 0]})
    assert listing.shared_flags(rows) == {"few"}
