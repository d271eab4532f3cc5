from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import Card, UserError
from bench.data import tables

N = 100
PUBLIC = np.arange(50, N)


def frame(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.normal(50, 10, N),
            "sex": rng.choice(["f", "m"], N),
            "job": rng.choice(["a", "b", "c"], N),
        }
    )


def encode(table: pd.DataFrame, **changes: Any) -> tables.Encoded:
    options: dict[str, Any] = {
        "sensitive": "sex",
        "public": PUBLIC,
        "numeric": ["age"],
        "categories": {"job": ["a", "b", "c"], "sex": ["f", "m"]},
    }
    return tables.encode("toy", table, **{**options, **changes})


def test_numbers_are_standardised_with_public_statistics_alone() -> None:
    encoded = encode(frame())
    age = encoded.x[:, encoded.names.index("age")].double()
    assert age[PUBLIC].mean().abs() < 1e-6
    assert age[PUBLIC].std(correction=0) == pytest.approx(1.0, abs=1e-6)
    assert encoded.sensitive.columns == (0, 2)
    assert encoded.names[:2] == ("sex_f", "sex_m")


@settings(max_examples=25, deadline=None)
@given(
    row=st.integers(0, 49),
    age=st.floats(-1e6, 1e6),
    job=st.sampled_from(["a", "b", "c", "never seen"]),
    numeric=st.booleans(),
)
def test_a_private_value_moves_nobody_else(row: int, age: float, job: str, numeric: bool) -> None:
    options: dict[str, Any] = {"categories": {"job": None, "sex": ["f", "m"]}}
    if numeric:
        options["sensitive"] = "age"
    before, changed = encode(frame(), **options), frame()
    changed.loc[row, "age"], changed.loc[row, "job"] = age, job
    after = encode(changed, **options)
    others = torch.arange(N) != row
    assert torch.equal(after.x[others], before.x[others])
    assert torch.equal(after.s[others], before.s[others])
    assert after.sensitive == before.sensitive
    assert after.fields == before.fields


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1), st.sampled_from(["sex", "job", "age"]))
def test_hidden_values_are_among_the_candidates(seed: int, sensitive: str) -> None:
    encoded = encode(frame(seed), sensitive=sensitive)
    attribute, x = encoded.sensitive, encoded.x
    start, stop = attribute.columns
    hidden = attribute.hide(x)
    assert not hidden[:, start:stop].any()
    assert torch.equal(hidden[:, stop:], x[:, stop:])
    own = attribute.candidates(hidden)[torch.arange(N), encoded.s]
    assert torch.equal(own[:, stop:], x[:, stop:])
    if not attribute.numeric:
        assert torch.equal(own, x)
    else:
        distance = (attribute.candidates(x)[..., 0] - x[:, :1]).abs()
        assert torch.equal(distance.argmin(1), encoded.s)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(0.0, 0.3))
def test_fields_tell_the_table_back(seed: int, holes: float) -> None:
    table = frame(seed)
    rng = np.random.default_rng(seed)
    table["age"] = table["age"].mask(rng.random(N) < holes)
    table["job"] = table["job"].mask(rng.random(N) < holes)
    encoded = encode(table, gaps=True)
    assert [f.columns[0] for f in encoded.fields[1:]] == [f.columns[1] for f in encoded.fields[:-1]]
    assert encoded.fields[-1].columns[1] == encoded.x.shape[1] == len(encoded.names)
    assert torch.isfinite(encoded.x).all()
    for column in encoded.fields:
        part = encoded.x[:, slice(*column.columns)]
        if column.kind == "number":
            assert part.shape[1] == 1
            continue
        assert torch.equal(part.sum(1), torch.ones(N))
        told = np.array(column.values, dtype=object)[part.argmax(1)]
        if column.name in table:
            assert (told == table[column.name].fillna(tables.MISSING)).all()
        else:
            assert ((told == "missing") == table["age"].isna()).all()


def test_a_missing_number_is_the_public_median_and_marked() -> None:
    table = frame()
    table.loc[[0, 60], "age"] = np.nan
    encoded = encode(table, gaps=True)
    age = encoded.x[:, encoded.names.index("age")]
    known = [row for row in PUBLIC if row != 60]
    assert age[0] == age[60] == pytest.approx(float(age[known].median()), abs=0.05)
    flag = next(f for f in encoded.fields if f.name == "age given")
    assert flag.values == ("present", "missing")
    missing = encoded.x[:, flag.columns[0] + 1]
    assert missing.nonzero().flatten().tolist() == [0, 60]
    assert encoded.facts["gaps_filled"] == {"age": 2}
    assert not any(f.name == "age given" for f in encode(frame(), gaps=True).fields)


def test_named_gaps_are_marked_whether_or_not_one_occurs() -> None:
    table = frame()
    whole = encode(table, gaps=["age", "job"])
    table.loc[0, "age"], table.loc[1, "job"] = np.nan, None
    holed = encode(table, gaps=["age", "job"])
    assert whole.fields == holed.fields
    assert whole.fields[1].values == ("a", "b", "c", tables.MISSING)
    assert torch.equal(whole.x[2:], holed.x[2:])
    with pytest.raises(UserError, match="gaps"):
        encode(table, gaps=["age"])


def test_categories_are_one_hot_whatever_the_split_holds() -> None:
    table = frame()
    table["job"] = "a"
    encoded = encode(table)
    assert encoded.x.shape == (N, 6)
    assert encoded.x[:, encoded.names.index("job_c")].sum() == 0


def test_unseen_and_rare_values_are_other() -> None:
    table = frame()
    table.loc[[1, 2], "job"] = "z"
    table.loc[70, "job"] = "once"
    encoded = encode(table, categories={"job": None, "sex": ["f", "m"]}, rare=2)
    job = next(f for f in encoded.fields if f.name == "job")
    assert job.values == ("a", "b", "c", tables.OTHER)
    other = encoded.x[:, job.columns[1] - 1]
    assert other.nonzero().flatten().tolist() == [1, 2, 70]
    assert encoded.facts["values_unseen_in_public"] == {"job": 2}


def test_candidates_of_a_number_are_public_quantiles() -> None:
    table = frame()
    encoded = encode(table, sensitive="age", called="years")
    attribute = encoded.sensitive
    assert (attribute.name, attribute.numeric, attribute.columns) == ("years", True, (0, 1))
    assert len(attribute.values) == len(attribute.codes) == tables.GRID
    counts = torch.bincount(encoded.s[PUBLIC], minlength=tables.GRID)
    assert counts.min() >= 1 and counts.max() <= 8, "50 records in 15 equal bands"
    table["age"] = [20.0, 40.0] * 50
    assert encode(table, sensitive="age").sensitive.values == ("20", "30", "40")


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("age", np.nan, "NaN"),
        ("age", np.inf, "NaN or Inf"),
        ("job", "z", "'z'"),
        ("job", None, "gaps"),
        ("sex", None, "gaps"),
    ],
)
def test_bad_values_are_refused_by_name(column: str, value: object, words: str) -> None:
    table = frame()
    table.loc[3, column] = value
    with pytest.raises(UserError, match=words) as error:
        encode(table)
    assert column in str(error.value)


@pytest.mark.parametrize("sensitive", ["sex", "age"])
def test_the_sensitive_column_never_has_gaps(sensitive: str) -> None:
    table = frame()
    table[sensitive] = table[sensitive].mask(np.arange(N) == 3)
    with pytest.raises(UserError, match=r"gaps|NaN"):
        encode(table, sensitive=sensitive, gaps=True)


def test_a_number_without_public_values_is_refused() -> None:
    table = frame()
    table.loc[PUBLIC, "age"] = np.nan
    with pytest.raises(UserError, match=r"no value at all in .'age'"):
        encode(table, gaps=True)


def test_an_outcome_is_standardised_on_its_learnt_scale() -> None:
    values = np.random.default_rng(0).uniform(4.0, 100.0, N)
    y, outcome = tables.outcome("toy", "dose", "mg", values, PUBLIC, power=2.0)
    assert y.dtype == torch.float32
    assert y[PUBLIC].mean().abs() < 1e-6
    assert outcome.mean == pytest.approx(np.sqrt(values[PUBLIC]).mean())
    assert torch.allclose(outcome.natural(y), torch.from_numpy(values), rtol=1e-4)
    with pytest.raises(UserError, match="nothing to learn"):
        tables.outcome("toy", "dose", "mg", np.ones(N), PUBLIC)


@pytest.mark.parametrize("copies", ["refuse", "drop", "count"])
def test_equal_records_in_two_splits(copies: Any) -> None:
    table = frame()
    table.loc[[40, 90]] = table.loc[[0, 0]].to_numpy()
    card = Card("toy", "medical", "table", (), ("no", "yes"), "record", "", "", False)
    y, rows = torch.arange(N) % 2, (np.arange(30), np.arange(30, 50), PUBLIC)

    def finish() -> Any:
        return tables.finish(
            card,
            encode(table),
            y,
            torch.arange(N),
            rows,
            copies=copies,
            sha256="",
            split_protocol="",
            more=1,
        )

    if copies == "refuse":
        with pytest.raises(UserError, match="1 records in more than one split"):
            finish()
        return
    splits = finish()
    assert splits.card.shape == (6,) and len(splits.card.columns) == 6
    assert splits.card.sensitive is not None and splits.card.fields[0].name == "sex"
    assert splits.facts["more"] == 1
    dropped = copies == "drop"
    assert splits.facts["duplicates_across_splits"] == (0 if dropped else 1)
    assert len(splits.train) == 30
    assert (len(splits.test), len(splits.public)) == ((19, 49) if dropped else (20, 50))
