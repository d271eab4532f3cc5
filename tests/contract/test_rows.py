"""Encoded records come back as the rows of the file that they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal

from bench.contract import Splits
from bench.contract.rows import rows_of
from tests.models.external.grids import loaded, written

PARTS = ("members", "holdout", "public")
COLUMNS = {
    "whole": "number",
    "money": "number",
    "holes": "number",
    "secret": "category",
    "code": "category",
    "truth": "category",
    "text": "category",
    "gaps": "category",
    "coded holes": "category",
}


def frame(seed: int, rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    holes = rng.random((3, rows)) < 0.2
    pick = lambda values: np.array(values, dtype=object)[rng.integers(len(values), size=rows)]  # noqa: E731
    made = pd.DataFrame(
        {
            "whole": rng.integers(-5, 100_000, rows),
            "money": np.round(rng.normal(0, 900, rows), 2),
            "holes": np.where(holes[0], np.nan, np.round(rng.random(rows), 3)),
            "secret": pick(["x", "y"]),
            "code": rng.integers(1, 5, rows),
            "truth": pick([True, False]),
            "text": pick(["a", "b,c", 'say "d"', "ß"]),
            "gaps": pick(["u", "v", None]),
            "coded holes": np.where(holes[1], np.nan, rng.integers(1, 4, rows)),
            "y": pick(["n", "p"]),
        }
    )
    return made


def splits_of(folder: Path, columns: dict[str, str] = COLUMNS, **keys: Any) -> Splits:
    frames = {part: frame(seed) for seed, part in enumerate(PARTS)}
    keys = {"sensitive": "secret", "preprocessing": "model", **keys}
    return loaded(written(folder, frames=frames, columns=columns, **keys))


def as_read(folder: Path, part: str) -> pd.DataFrame:
    """The file as a user reads it, whose model was trained on that."""
    return pd.read_csv(folder / f"{part}.csv")[list(COLUMNS)]


def test_rows_come_back_exactly_as_they_were(tmp_path: Path) -> None:
    splits = splits_of(tmp_path)
    parts = zip(PARTS, (splits.train, splits.test, splits.public), strict=True)
    for part, split in parts:
        rows, file = rows_of(splits.card, split.x), as_read(tmp_path, part)
        assert list(rows) == list(COLUMNS)
        for name, kind in COLUMNS.items():
            mine, theirs = rows[name], file[name]
            assert (mine.isna() == theirs.isna()).all(), name
            if kind == "number":
                theirs = theirs.astype(float)
            assert mine.dtype == theirs.dtype or theirs.dtype != object, name
            known = theirs.notna()
            assert mine[known].tolist() == theirs[known].tolist(), name
        gaps = rows["gaps"].isna()
        assert all(isinstance(value, float) for value in rows["gaps"][gaps]), "NaN as of pandas"


def test_categories_have_the_types_of_a_file(tmp_path: Path) -> None:
    splits = splits_of(tmp_path)
    rows = rows_of(splits.card, splits.train.x)
    assert rows["code"].dtype == np.int64
    assert rows["truth"].dtype == bool
    assert rows["coded holes"].dtype == np.float64
    assert rows["text"].dtype == as_read(tmp_path, "members")["text"].dtype
    assert {type(value) for value in rows["text"]} == {str}


def test_a_rare_category_of_a_single_record_comes_back(tmp_path: Path) -> None:
    frames = {part: frame(seed) for seed, part in enumerate(PARTS)}
    frames["holdout"].loc[3, "text"] = "nowhere else"
    card = written(
        tmp_path, frames=frames, columns=COLUMNS, sensitive="secret", preprocessing="model"
    )
    splits = loaded(card)
    assert rows_of(splits.card, splits.test.x)["text"][3] == "nowhere else"


def test_a_sensitive_number_comes_back_and_its_candidates_are_legal(tmp_path: Path) -> None:
    splits = splits_of(tmp_path, sensitive="whole")
    file = as_read(tmp_path, "members")
    rows = rows_of(splits.card, splits.train.x)
    assert rows["whole"].tolist() == file["whole"].tolist()
    assert splits.card.sensitive is not None
    tried = splits.card.sensitive.candidates(splits.train.x[:3]).flatten(0, 1)
    guessed = rows_of(splits.card, tried)
    assert (guessed["whole"] == guessed["whole"].round()).all()
    others = [name for name in COLUMNS if name != "whole"]
    whole = len(splits.card.sensitive.values)
    same = rows.iloc[np.repeat(range(3), whole)].reset_index(drop=True)
    assert_frame_equal(guessed[others], same[others])


@pytest.mark.parametrize("spread", [0.1, 1.0, 100.0])
def test_any_encoded_point_is_a_legal_row(spread: float, tmp_path: Path) -> None:
    splits = splits_of(tmp_path)
    x = spread * torch.randn(
        200, splits.train.x.shape[1], generator=torch.Generator().manual_seed(1)
    )
    rows = rows_of(splits.card, x)
    known = {field.name: field for field in splits.card.fields}
    seen = pd.concat([as_read(tmp_path, part) for part in PARTS])
    for name, kind in COLUMNS.items():
        if kind == "category":
            assert set(rows[name].dropna()) <= set(seen[name].dropna()), name
        else:
            decimals = known[name].decimals
            present = rows[name].dropna().to_numpy()
            assert np.array_equal(np.round(present, decimals), present)
    assert rows["holes"].isna().any()
    assert not rows[["whole", "money", "secret", "text"]].isna().any().any()


def test_hidden_secrets_and_blank_records_are_legal(tmp_path: Path) -> None:
    splits = splits_of(tmp_path)
    assert splits.card.sensitive is not None
    hidden = rows_of(splits.card, splits.card.sensitive.hide(splits.train.x))
    assert set(hidden["secret"]) <= {"x", "y"}
    blank = rows_of(splits.card, torch.zeros(2, splits.train.x.shape[1]))
    assert len(blank) == 2
    assert len(rows_of(splits.card, splits.train.x[:0])) == 0


def test_minus_zero_is_zero(tmp_path: Path) -> None:
    splits = splits_of(tmp_path)
    column = next(field for field in splits.card.fields if field.name == "money")
    x = splits.train.x[:2].clone()
    x[:, column.columns[0]] = torch.tensor(
        [-column.mean / column.scale, (-0.001 - column.mean) / column.scale]
    )
    values = rows_of(splits.card, x)["money"].to_numpy()
    assert values.tolist() == [0.0, 0.0]
    assert not np.signbit(values).any(), "a model behind HTTP would be asked about another text"


def test_what_single_precision_cannot_hold_is_counted(tmp_path: Path) -> None:
    assert "numbers_not_restored" not in splits_of(tmp_path / "fine").facts
    frames = {part: frame(seed) for seed, part in enumerate(PARTS)}
    frames["members"].loc[5, "money"] = 12_345_678.91
    card = written(
        tmp_path, frames=frames, columns=COLUMNS, sensitive="secret", preprocessing="model"
    )
    splits = loaded(card)
    assert splits.facts["numbers_not_restored"] == {"money": 1}
    back = rows_of(splits.card, splits.train.x)["money"][5]
    assert back == pytest.approx(12_345_678.91, rel=1e-6)
