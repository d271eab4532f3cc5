from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract.documents import parse_yaml
from bench.contract.understood import Understands
from bench.data.table_card import replacing
from tests.data.test_table import CARD, loans, table


def warnings(folder: Path, frame: pd.DataFrame, **changes: Any) -> str:
    kinds = {**CARD["columns"], **changes.pop("kinds", {})}
    dataset = table(folder, frame, columns=kinds, **changes)
    return "\n".join(map(str, dataset.understood(None).get("warnings", ())))


def test_a_sound_table_has_no_warnings_and_is_plain_data(tmp_path: Path) -> None:
    dataset = table(tmp_path)
    assert isinstance(dataset, Understands)
    sections = dataset.understood(None)
    assert "warnings" not in sections
    assert json.loads(json.dumps(sections)) == sections
    columns = {line["column"]: line for line in sections["columns"]}  # type: ignore[index]
    assert columns["age"]["kind"] == "number"
    assert columns["illness"]["role"] == "sensitive"
    assert "'ignored'" in str(sections["read"])


def column(kind: str) -> pd.Series[Any]:
    n = len(loans())
    rng = np.random.default_rng(1)
    made: dict[str, Any] = {
        "all different": np.arange(n),
        "one value": ["x"] * n,
        "copy of the target": loans()["repaid"].map({"no": 0, "yes": 1}),
        "copy of the secret": loans()["illness"].str.upper(),
        "few numbers": rng.integers(0, 3, n),
        "many values": [f"v{i % 60}" for i in range(n)],
        "numbers as text": rng.normal(0, 1, n).round(6),
        "names": [f"Mr {i}" for i in range(n)],
        "sentinel": np.where(np.arange(n) % 9 == 0, 999, rng.integers(18, 80, n)),
        "minus one": np.where(np.arange(n) % 9 == 0, -1, rng.integers(18, 80, n)),
        "case": rng.choice(["North", "north", "south"], n),
        "full stop": rng.choice(["<=50K", "<=50K.", ">50K"], n),
        "line breaks": ["a\nb", *["c"] * (n - 1)],
        "gaps": [None] * (n - 20) + ["a", "b"] * 10,
    }
    return pd.Series(made[kind], dtype=object)


@pytest.mark.parametrize(
    ("kind", "card_kind", "words"),
    [
        ("all different", "number", "an id?"),
        ("one value", "category", "tells nothing"),
        ("copy of the target", "number", "gives the target 'repaid' away"),
        ("copy of the secret", "category", "gives the sensitive attribute 'illness' away"),
        ("few numbers", "number", "3 different values: a category?"),
        ("many values", "category", "60 values: group them"),
        ("numbers as text", "category", "'number' in the card?"),
        ("names", "category", "names?"),
        ("sentinel", "number", "is 999 in 34 records"),
        ("minus one", "number", "is -1 in 34 records"),
        ("case", "category", "'North'"),
        ("full stop", "category", "'<=50K.'"),
        ("line breaks", "category", "quotation mark"),
        ("gaps", "category", "not given in 93%"),
    ],
)
def test_what_looks_like_a_mistake_is_said(
    kind: str, card_kind: str, words: str, tmp_path: Path
) -> None:
    lines = warnings(tmp_path, loans().assign(extra=column(kind)), kinds={"extra": card_kind})
    assert words in lines
    assert "'extra'" in lines


def test_labels_and_repeated_records(tmp_path: Path) -> None:
    frame = loans()
    frame.loc[::3, "repaid"] = frame.loc[::3, "repaid"].str.upper()
    assert '{"YES": "yes"}' in warnings(tmp_path, frame, classes=None)
    twice = pd.concat([loans(), loans()], ignore_index=True)
    assert "300 of 600 records repeat" in warnings(tmp_path, twice)
    assert not warnings(tmp_path, twice, repeats=True)


LABEL = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=8)


@settings(max_examples=30, deadline=None)
@given(LABEL, LABEL, LABEL)
def test_a_line_that_is_proposed_can_be_pasted(column: str, old: str, new: str) -> None:
    line = replacing(column, old, new)
    assert parse_yaml(line, "card") == {"labels": {column: {old: new}}}


def test_the_sensitive_attribute_may_not_be_the_target_in_disguise(tmp_path: Path) -> None:
    frame = loans()
    frame["illness"] = frame["repaid"].map({"no": "ill", "yes": "well"})
    assert "say the same" in warnings(tmp_path, frame)


def test_a_rare_pair_is_shown_although_it_cannot_be_split(tmp_path: Path) -> None:
    frame = loans()
    frame.loc[0, "illness"] = "odd"
    assert "only 1 of 300 records" in warnings(tmp_path, frame)
