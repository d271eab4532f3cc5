from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bench.contract import Splits, UserError
from bench.data.table import Table
from bench.data.table_card import read_card
from tests.data.test_table import CARD, loans, table


def fold(frame: pd.DataFrame, *parts: str) -> pd.DataFrame:
    return frame.assign(fold=np.resize(parts, len(frame)))


def people(splits: Splits) -> list[set[int]]:
    return [set(s.person.tolist()) for s in (splits.train, splits.test, splits.public)]


@pytest.mark.parametrize(
    ("parts", "split"),
    [
        (("members", "holdout", "public"), "fold"),
        (
            ("a", "1", "x"),
            {"column": "fold", "members": ["a"], "holdout": "1", "public": ["x", "y"]},
        ),
        ((" a", "1.0", "x"), {"column": "fold", "members": "a", "holdout": "1.0", "public": "x"}),
    ],
)
def test_a_column_may_split_the_table(parts: tuple[str, ...], split: Any, tmp_path: Path) -> None:
    dataset = table(tmp_path, fold(loans(), *parts), split=split)
    assert dataset.fixed_split
    one, other = dataset.load(0, None), dataset.load(1, None)
    assert people(one) == people(other) == [set(range(i, 300, 3)) for i in range(3)]
    assert "owner" in one.facts["split_protocol"]
    assert "fold" not in " ".join(one.card.columns)


def test_without_public_records_the_seed_halves_the_held_out_ones(tmp_path: Path) -> None:
    dataset = table(tmp_path, fold(loans(), "members", "holdout"), split="fold")
    one, other = (people(dataset.load(seed, None)) for seed in (0, 1))
    assert one[0] == other[0] == set(range(0, 300, 2))
    assert one[1] != other[1]
    assert one[1] | one[2] == other[1] | other[2] == set(range(1, 300, 2))
    assert not one[1] & one[2]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_files_are_the_same_as_a_column(suffix: str, tmp_path: Path) -> None:
    frame = loans().infer_objects()
    parts = {"members": frame[:150], "holdout": frame[150:220], "public": frame[220:]}
    files = {}
    for name, part in parts.items():
        files[name] = f"{name}.{suffix}"
        path = tmp_path / files[name]
        part.to_csv(path, index=False) if suffix == "csv" else part.to_parquet(path)
    column = frame.assign(fold=np.repeat(list(parts), [len(part) for part in parts.values()]))
    one = table(tmp_path, column, split="fold").load(0, None)
    other = table(tmp_path, frame, files=files)
    with pytest.raises(UserError, match="take one of them out"):
        other.load(0, None)
    other = Table(card=other.card)
    assert other.fixed_split
    assert sorted(other.files(None)) == ["card", "file holdout", "file members", "file public"]
    splits = other.load(0, None)
    assert torch.equal(one.train.x, splits.train.x)
    assert one.facts == splits.facts
    (tmp_path / files["public"]).unlink()
    assert "'files' in the card" in (other.missing(None) or "")


def test_a_person_stands_in_one_part(tmp_path: Path) -> None:
    frame = fold(loans(), "members", "holdout")
    with pytest.raises(UserError, match="both in 'members' and in 'holdout'"):
        table(tmp_path, frame, split="fold", person="customer").load(0, None)
    frame["fold"] = np.where(frame["customer"] % 2, "members", "holdout")
    parts = people(table(tmp_path, frame, split="fold", person="customer").load(0, None))
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"split": "fald"}, "no column 'fald'.*Did you mean 'fold'"),
        ({"split": {"column": "fold", "members": "members"}}, "'split' must name a column"),
        ({"split": {"column": "fold", "members": "a", "holdout": "a"}}, "'split' must name"),
        ({"split": "repaid"}, "splits the table and cannot be the target"),
        ({"split": {"column": "fold", "members": "members", "holdout": "x"}}, "does not know"),
        ({"split": "fold", "files": {"members": "a.csv", "holdout": "b.csv"}}, "both"),
        ({"files": {"members": "a.csv"}}, "'files' must name"),
        ({"files": {"members": "a.csv", "holdout": "a.csv"}}, "'files' must name"),
        ({"labels": ["a"]}, "'labels' must say"),
        ({"labels": {"ilness": {"a": "b"}}}, "Did you mean 'illness'"),
        ({"labels": {"a": "b", "b": "c"}}, "write the last label"),
        ({"labels": {"a": 1}}, "Put labels in quotes"),
        ({"gaps": [1]}, "'gaps' is .1.; allowed: a list of texts"),
        ({"encoding": "latin"}, "Did you mean 'latin-1'"),
        ({"delimiter": "x"}, "'delimiter' is 'x'"),
        ({"decimal": ",", "delimiter": ","}, "only one"),
        ({"positive": "maybe"}, "'positive' is 'maybe'"),
        ({"positive": True}, "Put it in quotes"),
        ({"columns": {**CARD["columns"], "age given": "category"}}, "'age given'.*rename it"),
        ({"person": "repaid"}, "both the target and the person"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        table(tmp_path, fold(loans(), "members", "holdout", "public"), **changes).load(0, None)


def test_the_positive_class_is_the_second(tmp_path: Path) -> None:
    splits = table(tmp_path, positive="no").load(0, None)
    assert splits.card.class_names == ("yes", "no")


@pytest.mark.parametrize("text", ["a: b", "- a", "name: 5"])
def test_half_a_card_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(UserError, match=r"card\.yaml"):
        read_card(tmp_path / "card.yaml")


def test_a_rare_pair_is_named_with_what_helps(tmp_path: Path) -> None:
    frame = loans()
    frame.loc[0, ["illness", "repaid"]] = ["odd", "no"]
    with pytest.raises(UserError) as error:
        table(tmp_path, frame).load(0, None)
    assert "1 of 300 records with 'repaid' = 'no' and 'illness' = 'odd'" in str(error.value)
    advice = {"illness": {"odd": ""}}
    assert 'labels: {"illness": {"odd": ""}}' in str(error.value)
    splits = table(tmp_path, frame, labels=advice).load(0, None)
    assert splits.facts["incomplete_dropped"] == 1
    assert table(tmp_path, frame, labels={"illness": {"odd": "ill"}}).load(0, None)
