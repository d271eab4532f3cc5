"""Tables of a model that was given: rows as it reads them, and members that nobody names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from bench.contract import Splits, UserError
from bench.contract.rows import rows_of
from bench.data.table import Table
from bench.data.table_card import read_card
from tests.data.test_table import loans, table


def given(folder: Path, frames: dict[str, pd.DataFrame], **changes: Any) -> Table:
    """A data set with a file for each part."""
    for part, frame in frames.items():
        frame.to_csv(folder / f"{part}.csv", index=False)
    files = {part: f"{part}.csv" for part in frames}
    one = table(folder, next(iter(frames.values())), files=files, **changes)
    return Table(card=one.card)


def people(splits: Splits) -> list[set[int]]:
    return [set(s.person.tolist()) for s in (splits.train, splits.test, splits.public)]


def test_rows_are_restored_only_where_the_card_says_so(tmp_path: Path) -> None:
    ours = table(tmp_path).load(0, None).card
    assert ours.raw == ()
    assert ours.members_known
    assert table(tmp_path, preprocessing="ours").load(0, None).card == ours
    model = table(tmp_path, preprocessing="model").load(0, None).card
    assert sorted(model.raw) == ["age", "district", "illness", "income"]
    assert {column.name: column.decimals for column in model.fields if column.kind == "number"} == {
        "age": 0,
        "income": 2,
    }


@pytest.mark.parametrize("wrong", ["theirs", "Model", 1, True])
def test_another_preprocessing_is_refused(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="preprocessing"):
        read_card(Path(table(tmp_path, preprocessing=wrong).card))


def test_columns_stay_in_the_order_of_the_card(tmp_path: Path) -> None:
    order = {"illness": "category", "income": "number", "district": "category", "age": "number"}
    frame = loans()
    dataset = table(tmp_path, frame, preprocessing="model", columns=None)
    with Path(dataset.card).open("a", encoding="utf-8") as card:
        yaml.safe_dump({"columns": order}, card, sort_keys=False)
    splits = dataset.load(0, None)
    rows = rows_of(splits.card, splits.train.x)
    assert list(rows) == list(order)
    assert rows["age"].tolist() == frame["age"].iloc[splits.train.person].tolist()
    assert rows["illness"].tolist() == frame["illness"].iloc[splits.train.person].tolist()


def test_no_value_is_too_rare_where_the_model_reads_rows(tmp_path: Path) -> None:
    frame = loans()
    frame.loc[7, "district"] = "Heligoland"
    values = {}
    for preprocessing in ("ours", "model"):
        card = table(tmp_path, frame, preprocessing=preprocessing).load(0, None).card
        values[preprocessing] = next(c.values for c in card.fields if c.name == "district")
    assert "Heligoland" not in values["ours"]
    assert "Heligoland" in values["model"]
    assert "(other)" not in values["model"]


@pytest.mark.parametrize("public", [True, False])
def test_members_that_nobody_names_are_half_of_the_records(public: bool, tmp_path: Path) -> None:
    frame = loans()
    frames = {"holdout": frame[:200]} | ({"public": frame[200:]} if public else {})
    dataset = given(tmp_path, frames)
    assert dataset.goals == ("attribute",)
    assert not dataset.load(0, None).card.members_known
    one, other = (people(dataset.load(seed, None)) for seed in (0, 1))
    assert one != other
    for parts in (one, other):
        train, test, rest = parts
        assert not (train & test or train & rest or test & rest)
        assert train | test | rest == set(range(300 if public else 200))
        sizes = sorted(map(len, parts))
        assert sizes == ([100, 100, 100] if public else [50, 50, 100])
    if public:
        assert one[2] == other[2] == set(range(200, 300))


def test_members_are_known_where_a_file_or_nothing_names_them(tmp_path: Path) -> None:
    frame = loans()
    named = given(tmp_path, {"members": frame[:150], "holdout": frame[150:]})
    assert "training_instance" in named.goals
    assert named.load(0, None).card.members_known
    assert "training_instance" in table(tmp_path).goals


def test_a_person_stays_in_one_of_the_three_parts(tmp_path: Path) -> None:
    frame = loans()
    dataset = given(tmp_path, {"holdout": frame}, person="customer")
    splits = dataset.load(0, None)
    train, test, public = people(splits)
    assert not (train & test or train & public or test & public)
    records = [len(s) for s in (splits.train, splits.test, splits.public)]
    assert sum(records) == 300
    assert max(map(len, (train, test, public))) < max(records), "some have several records"


def test_records_without_a_file_of_held_out_ones_are_refused(tmp_path: Path) -> None:
    frame = loans()
    with pytest.raises(UserError):
        given(tmp_path, {"members": frame[:150], "public": frame[150:]}).load(0, None)
    with pytest.raises(UserError):
        given(tmp_path, {"holdout": frame[:1], "public": frame[1:]}).load(0, None)


def test_a_regression_keeps_its_rows(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"target": "amount", "task": "regression", "classes": None}
    frame = loans()
    splits = table(tmp_path, frame, preprocessing="model", **changes).load(0, None)
    rows = rows_of(splits.card, splits.test.x)
    assert rows["income"].tolist() == frame["income"].iloc[splits.test.person].tolist()
    assert splits.card.outcome is not None
    natural = splits.card.outcome.natural(splits.test.y).numpy()
    known = frame["amount"].iloc[splits.test.person].to_numpy(float)
    np.testing.assert_allclose(natural, known, rtol=1e-5)
    assert torch.isfinite(splits.train.y).all()
