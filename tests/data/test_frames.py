from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import UserError
from bench.data import common, frames


def test_text_is_read_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("code,n\n007,1\nNone,?\n", encoding="utf-8")
    frame = frames.read("toy", path, gaps=["?"])
    assert frame["code"].tolist() == ["007", "None"]
    assert frame["n"].isna().tolist() == [False, True]


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2,3,4\n5\n1,2,3,4,5\n", b"\xff\xfe\x00"])
def test_what_is_no_table_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.csv'"):
        frames.read("toy", path)


def test_a_missing_column_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no column 'incme'.*Did you mean 'income'"):
        frames.require_columns("toy", pd.DataFrame({"income": [1]}), ["incme"])


@pytest.mark.parametrize("bad", ["many", "inf"])
def test_text_among_numbers_is_named_by_column_and_row(bad: str) -> None:
    frame = pd.DataFrame({"age": ["1", None, bad, "4"]})
    with pytest.raises(UserError, match=f"column 'age', record 3 holds '{bad}'"):
        frames.numbers("toy", frame, ["age"])
    good = frames.numbers("toy", frame.drop(2), ["age"])
    assert good["age"].dtype == np.float64
    assert good["age"].isna().tolist() == [False, True, False]


def test_codes_are_replaced_or_refused() -> None:
    frame = pd.DataFrame({"c": ["b", "a", "c"]})
    told, values, s = frames.recode("toy", frame, "c", {"a": "x", "b": "y", "c": "x"})
    assert (told["c"].tolist(), values, s.tolist()) == (["y", "x", "x"], ("x", "y"), [1, 0, 0])
    assert frame["c"].tolist() == ["b", "a", "c"]
    with pytest.raises(UserError, match=r"holds .'c'"):
        frames.recode("toy", frame, "c", {"a": "x", "b": "y"})
    with pytest.raises(UserError, match=r"holds .'nan'"):
        frames.recode("toy", pd.DataFrame({"c": ["a", np.nan]}), "c", {"a": "x"})


def test_a_draw_keeps_shares_and_order() -> None:
    strata = np.repeat([0, 1], [3000, 1000])
    rows = frames.draw(strata, 400, 0)
    assert len(rows) == 400
    assert strata[rows].mean() == 0.25
    assert (np.diff(rows) > 0).all()
    assert not np.array_equal(rows, frames.draw(strata, 400, 1))
    assert len(frames.draw(strata, None, 0)) == len(frames.draw(strata, 9999, 0)) == 4000


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(60, 200))
def test_people_stand_in_one_split(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    person = pd.factorize(rng.integers(0, n // 2, n))[0]
    strata = rng.integers(0, 2, n)
    parts = frames.stratified_people("toy", strata, person, 0.4, 0.3, seed)
    assert sorted(np.concatenate(parts)) == list(range(n))
    owners = [set(person[part]) for part in parts]
    assert not owners[0] & owners[1] and not owners[0] & owners[2] and not owners[1] & owners[2]


def test_people_of_one_record_are_split_as_records() -> None:
    strata = np.arange(90) % 3
    people = frames.stratified_people("toy", strata, np.arange(90), 0.4, 0.3, 5)
    records = common.stratified("toy", strata, 0.4, 0.3, 5)
    assert all(np.array_equal(a, b) for a, b in zip(people, records, strict=True))


def test_halves_keep_shares_and_survive_lonely_strata() -> None:
    strata = np.array([0] * 50 + [1] * 30 + [2])
    one, two = frames.halves(np.arange(81), strata, 0)
    assert sorted([*one, *two]) == list(range(81))
    assert abs(len(one) - len(two)) <= 1
    assert (strata[one] == 1).sum() == 15
