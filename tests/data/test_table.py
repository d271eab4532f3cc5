from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from bench.contract import Splits, UserError
from bench.data.table import Table

CARD: dict[str, Any] = {
    "name": "loans",
    "sector": "credit",
    "source": "our branch in Kiel, 2024",
    "terms": "internal",
    "target": "repaid",
    "classes": ["no", "yes"],
    "sensitive": "illness",
    "columns": {
        "age": "number",
        "income": "number",
        "district": "category",
        "illness": "category",
    },
}


def loans(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "income": rng.normal(3000, 500, n).round(2),
            "district": rng.choice(["north", "south", "east"], n),
            "illness": rng.choice(["ill", "well"], n),
            "customer": rng.integers(0, n // 2, n),
            "repaid": rng.choice(["no", "yes"], n),
            "amount": rng.normal(100, 20, n).round(2),
            "ignored": "x",
        }
    )
    return frame.astype(object)


def table(
    folder: Path, frame: pd.DataFrame | None = None, suffix: str = "csv", **changes: Any
) -> Table:
    """The data set of ``frame`` and the card with ``changes``; None takes a key out."""
    card = {k: v for k, v in {**CARD, **changes}.items() if v is not None}
    (folder / "card.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    frame = loans() if frame is None else frame
    path = folder / f"loans.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.infer_objects().to_parquet(path)
    return Table(file=path.name, card=str(folder / "card.yaml"))


def load(folder: Path, *args: Any, **changes: Any) -> Splits:
    return table(folder, *args, **changes).load(0, None)


def test_a_table_is_what_its_card_says(tmp_path: Path) -> None:
    frame = loans()
    dataset = table(tmp_path, frame)
    splits = dataset.load(0, None)
    assert [len(s) for s in (splits.train, splits.test, splits.public)] == [120, 90, 90]
    card = splits.card
    assert (card.name, card.sector, card.terms) == ("loans", "credit", "internal")
    assert (dataset.sector, dataset.n_classes) == (card.sector, card.n_classes) == ("credit", 2)
    assert dataset.tasks == card.tasks == ("classification",)
    assert dataset.utility_metric == "balanced_accuracy"
    assert card.privacy_unit == "record" and not card.publishable
    assert [f.name for f in card.fields] == ["illness", "district", "age", "income"]
    row = frame.iloc[splits.train.person.numpy()]
    assert splits.train.y.tolist() == [CARD["classes"].index(v) for v in row["repaid"]]
    assert card.sensitive is not None and splits.train.s is not None
    assert card.sensitive.values == ("ill", "well"), "learned from all, so nothing is '(other)'"
    assert [card.sensitive.values[s] for s in splits.train.s] == row["illness"].tolist()
    again, other = dataset.load(0, None), dataset.load(1, None)
    assert torch.equal(again.train.x, splits.train.x)
    assert not torch.equal(other.train.person, splits.train.person)


def test_parquet_is_the_same_table(tmp_path: Path) -> None:
    a, b = load(tmp_path), load(tmp_path, loans(), "parquet")
    assert torch.equal(a.train.x, b.train.x)
    assert a.facts == b.facts
    (tmp_path / "loans.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        Table(file="loans.parquet", card=str(tmp_path / "card.yaml")).load(0, None)


def test_the_file_may_be_below_the_data_root(tmp_path: Path) -> None:
    dataset = table(tmp_path)
    root = tmp_path / "data"
    root.mkdir()
    (tmp_path / "loans.csv").rename(root / "loans.csv")
    assert dataset.missing(root) is None
    assert len(dataset.load(0, root).train) == 120
    assert "dataset.table.file" in (dataset.missing(None) or "")


def test_labels_may_be_the_files_own(tmp_path: Path) -> None:
    dataset = table(tmp_path, classes=None)
    assert dataset.n_classes == 2
    assert dataset.load(0, None).card.class_names == ("no", "yes")
    (tmp_path / "below").mkdir()
    (tmp_path / "loans.csv").rename(tmp_path / "below/loans.csv")
    with pytest.raises(UserError, match="lists no 'classes'"):
        _ = dataset.n_classes
    assert dataset.count_classes(tmp_path / "below") == 2


def test_a_number_may_be_the_target(tmp_path: Path) -> None:
    changes = {"target": "amount", "task": "regression", "classes": None, "unit": "EUR"}
    frame = loans()
    dataset = table(tmp_path, frame, **changes)
    splits = dataset.load(0, None)
    assert dataset.tasks == splits.card.tasks == ("regression",)
    assert dataset.n_classes == splits.card.n_classes == 0
    assert dataset.utility_metric == "within_20pct"
    outcome = splits.card.outcome
    assert outcome is not None and outcome.unit == "EUR"
    amount = frame["amount"].to_numpy(float)[splits.test.person.numpy()]
    assert np.allclose(outcome.natural(splits.test.y).numpy(), amount, rtol=1e-4)


def test_a_number_may_be_sensitive(tmp_path: Path) -> None:
    splits = load(tmp_path, sensitive="income")
    assert splits.card.sensitive is not None and splits.card.sensitive.numeric
    assert "sensitive_imputer_r2" in splits.facts


def test_records_of_a_person_stay_together(tmp_path: Path) -> None:
    splits = load(tmp_path, person="customer")
    owners = [set(s.person.tolist()) for s in (splits.train, splits.test, splits.public)]
    assert not owners[0] & owners[1] and not owners[0] & owners[2] and not owners[1] & owners[2]
    assert splits.card.privacy_unit == "person"
    assert splits.facts["n_rows"] == 300


def test_gaps(tmp_path: Path) -> None:
    frame = loans()
    frame.loc[0:4, "age"] = np.nan
    frame.loc[5:9, "district"] = "?"
    frame.loc[10:11, "illness"] = np.nan
    frame.loc[12, "repaid"] = "NA"
    splits = load(tmp_path, frame)
    assert splits.facts["incomplete_dropped"] == 3
    assert splits.facts["gaps_filled"] == {"age": 5}
    fields = {f.name: f for f in splits.card.fields}
    assert fields["district"].values[-1] == "(missing)"
    assert fields["age given"].values == ("present", "missing")


@pytest.mark.parametrize("name", ["(other)", "(missing)"])
def test_values_may_have_the_names_of_ours(name: str, tmp_path: Path) -> None:
    frame = loans()
    frame.loc[0:99, "district"] = name
    frame.loc[100:104, "district"] = ""
    splits = load(tmp_path, frame, gaps=["none"])
    district = next(f for f in splits.card.fields if f.name == "district")
    assert district.values == ("east", "north", "south", "(other)", "(missing)")
    assert len(set(splits.card.columns)) == splits.card.shape[0]


def test_two_encoded_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    frame = loans().assign(district_x="a", district=np.resize(["x_a", "b"], 300))
    columns = {**CARD["columns"], "district_x": "category"}
    with pytest.raises(UserError, match="same name"):
        load(tmp_path, frame, columns=columns)


def test_rare_values_are_other(tmp_path: Path) -> None:
    frame = loans()
    frame.loc[0:2, "district"] = ["p", "q", "r"]
    district = next(f for f in load(tmp_path, frame).card.fields if f.name == "district")
    assert district.values == ("east", "north", "south", "(other)")


def test_repeated_records_are_dropped_or_counted(tmp_path: Path) -> None:
    frame = pd.concat([loans(), loans()], ignore_index=True)
    dropped = load(tmp_path, frame).facts
    assert dropped["duplicates_across_splits"] == 0 < dropped["copies_dropped"]
    with pytest.raises(UserError, match="repeats: true"):
        few = {"district": "category", "illness": "category"}
        load(tmp_path, frame, columns=few)
    counted = load(tmp_path, frame, repeats=True).facts
    assert counted["duplicates_across_splits"] > 100
    assert counted["n_train"] + counted["n_test"] + counted["n_public"] == 600


def test_a_known_attribute_is_said_to_have_no_headroom(tmp_path: Path) -> None:
    frame = loans()
    frame["district"] = frame["illness"]
    assert "AUC without the model" in load(tmp_path, frame).facts["no_headroom"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clases": ["a", "b"]}, "unknown key 'clases'.*Did you mean 'classes'"),
        ({"terms": None}, r"lacks \['terms'\]"),
        ({"name": 5}, "'name' is 5; allowed: a text"),
        ({"classes": [False, True]}, "Put each in quotes"),
        ({"classes": ["no"]}, "two different labels"),
        ({"classes": ["no", "maybe"]}, "holds .'yes'.; the card's classes are"),
        ({"task": "regresion"}, "Did you mean 'regression'"),
        ({"task": "regression"}, "none of a regression"),
        ({"sensitive": "ilness"}, "Did you mean 'illness'"),
        ({"target": "age"}, "'age' is the target and cannot be a column"),
        ({"target": "repayed"}, "no column 'repayed'.*Did you mean 'repaid'"),
        ({"person": "client"}, "no column 'client'"),
        ({"columns": {"age": "number"}}, "'columns' must name two columns"),
        ({"columns": {**CARD["columns"], "incme": "number"}}, "Did you mean 'income'"),
        ({"columns": {**CARD["columns"], "age": "int"}}, "column 'age' is 'int'"),
        (
            {"columns": {**CARD["columns"], "district": "number"}},
            "column 'district', line 2 holds '(north|south|east)', which is no number",
        ),
        ({"publishable": "yes"}, "'publishable' is 'yes'; allowed: true or false"),
    ],
)
def test_a_wrong_card_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        load(tmp_path, **changes)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("repaid", "no", r"target 'repaid' is \['no'\] in every record"),
        ("illness", "ill", "sensitive column 'illness' is the same"),
        ("age", np.nan, r"no value at all in \['age'\]"),
        ("district", "", r"no value at all in \['district'\]"),
    ],
)
def test_a_column_without_content_is_refused(
    column: str, value: object, words: str, tmp_path: Path
) -> None:
    frame = loans()
    frame[column] = value
    with pytest.raises(UserError, match=words):
        load(tmp_path, frame)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    dataset = table(tmp_path)
    (tmp_path / "loans.csv").write_bytes(b"a,b\n1,2,3,4\n\xff\xfe\n")
    with pytest.raises(UserError, match="line 3 is no utf-8 text"):
        dataset.load(0, None)
    (tmp_path / "loans.csv").write_text(",".join(loans().columns) + "\n")
    with pytest.raises(UserError, match="a header but no records"):
        dataset.load(0, None)
    (tmp_path / "card.yaml").write_text("name: [")
    with pytest.raises(UserError, match="cannot be read as YAML"):
        dataset.load(0, None)
    (tmp_path / "card.yaml").write_text("just text")
    with pytest.raises(UserError, match="holds no keys"):
        _ = dataset.sector


def test_a_missing_card_is_explained(tmp_path: Path) -> None:
    dataset = Table(card=str(tmp_path / "none.yaml"))
    assert "dataset.table.card" in (dataset.missing(tmp_path) or "")
    assert dataset.sector == "not stated"
    with pytest.raises(UserError, match="needs a card"):
        dataset.load(0, tmp_path)
