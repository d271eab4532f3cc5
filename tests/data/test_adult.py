from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.contract import Splits, UserError
from bench.data.adult import CATEGORIES, CLASSES, COLUMNS, MARRIED, Adult
from bench.data.tables import MISSING

INCOME = list(CLASSES)
REAL = os.environ.get("INVBENCH_DATA_ROOT")
real = pytest.mark.skipif(REAL is None, reason="INVBENCH_DATA_ROOT names no folder of data sets")


def lines(n: int, seed: int, stop: str = "") -> list[list[str]]:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        row = {c: str(rng.integers(0, 999)) for c in COLUMNS}
        row |= {c: str(rng.choice(v)) for c, v in CATEGORIES.items()}
        row |= {"relationship": "Wife", "income": INCOME[i % 4 == 0] + stop}
        rows.append([row[c] for c in COLUMNS])
    return rows


def write(root: Path, first: list[list[str]], second: list[list[str]]) -> Path:
    (root / "adult").mkdir()
    for name, rows in (("adult.data", first), ("adult-test.csv", second)):
        text = "\n".join(", ".join(row) for row in rows) + "\n\n"
        (root / "adult" / name).write_text(text, encoding="utf-8")
    return root


def load(root: Path, seed: int = 0, **options: object) -> Splits:
    return Adult(sha256=None, **options).load(seed, root)  # type: ignore[arg-type]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path, lines(300, 0), lines(200, 1, "."))


def test_both_files_are_one_table(root: Path) -> None:
    splits = load(root)
    assert splits.facts["records_in_files"] == splits.facts["n_rows"] == 500
    assert [len(s) for s in (splits.train, splits.test, splits.public)] == [200, 150, 150]
    rows = lines(300, 0) + lines(200, 1)
    for i in range(0, 200, 20):
        row = dict(zip(COLUMNS, rows[int(splits.train.person[i])], strict=True))
        assert splits.train.y[i] == INCOME.index(row["income"])
        assert splits.train.s is not None
        married = splits.card.sensitive.values.index("married")  # type: ignore[union-attr]
        assert (splits.train.s[i] == married) == (row["marital_status"] in MARRIED)


@pytest.mark.parametrize("sensitive", list(Adult.sensitives))
def test_what_gives_it_away_is_left_out(sensitive: str, root: Path) -> None:
    fields = {f.name for f in load(root, sensitive=sensitive).card.fields}
    assert fields == {*Adult.numeric, *CATEGORIES}


def test_gaps_are_a_value(tmp_path: Path) -> None:
    rows = lines(300, 0)
    rows[7][COLUMNS.index("occupation")] = "?"
    splits = load(write(tmp_path, rows, lines(100, 1, ".")))
    job = next(f for f in splits.card.fields if f.name == "occupation")
    assert job.values[-1] == MISSING
    everybody = torch.cat([splits.train.x, splits.test.x, splits.public.x])
    total = everybody[:, job.columns[1] - 1].sum()
    assert total == 1


def test_records_are_drawn_by_the_seed(root: Path) -> None:
    drawn = load(root, records=200)
    assert drawn.facts["n_rows"] == 200
    assert drawn.facts["class_counts"][1] / 140 == pytest.approx(0.25, abs=0.02)
    assert torch.equal(drawn.train.x, load(root, records=200).train.x)
    other = load(root, seed=1, records=200)
    assert not torch.equal(drawn.train.person, other.train.person)


def test_people_who_share_all_values_are_kept_once(tmp_path: Path) -> None:
    rows = lines(300, 0)
    copy = list(rows[0])
    copy[COLUMNS.index("fnlwgt")] = "1"
    splits = load(write(tmp_path, [*rows, copy], lines(100, 1, ".")))
    assert splits.facts["duplicates_dropped"] == 1


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("income", "1", "labels"),
        ("age", "old", r"column 'age', record 4 holds 'old'"),
        ("marital_status", "Engaged", r"'marital_status' holds .'Engaged'"),
        ("race", "Elf", r"'race' holds .'Elf'"),
    ],
)
def test_altered_copies_are_refused(column: str, value: str, words: str, tmp_path: Path) -> None:
    rows = lines(300, 0)
    rows[3][COLUMNS.index(column)] = value
    with pytest.raises(UserError, match=words):
        load(write(tmp_path, rows, lines(100, 1, ".")))


def test_another_number_of_columns_is_refused(tmp_path: Path) -> None:
    rows = [row[1:] for row in lines(300, 0)]
    with pytest.raises(UserError, match="14 columns; allowed: 15"):
        load(write(tmp_path, rows, lines(100, 1)))


def test_missing_files_and_other_copies(root: Path) -> None:
    with pytest.raises(UserError, match=r"expected ca4df263"):
        Adult().load(0, root)
    (root / "adult/adult-test.csv").unlink()
    for where in (None, root):
        assert "data_root=" in (Adult().missing(where) or "")


@real
def test_the_real_files() -> None:
    assert REAL is not None
    facts = Adult().load(0, Path(REAL)).facts
    assert (facts["records_in_files"], facts["n_train"]) == (48842, 4800)
    assert facts["sensitive_imputer_auc"] < 0.85 and "no_headroom" not in facts
    assert facts["class_counts"] == [6266, 2134]
