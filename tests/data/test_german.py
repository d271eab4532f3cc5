from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.contract import Splits, UserError
from bench.data.german import COLUMNS, German

ANY = {"sha256": None}
REAL = os.environ.get("INVBENCH_DATA_ROOT")


def table(n: int = 200) -> list[list[str]]:
    rng = np.random.default_rng(0)
    return [
        [
            str(rng.choice(German.categories[column]))
            if column in German.categories
            else str(1 + i % 2 if column == "risk" else rng.integers(1, 5000))
            for column in COLUMNS
        ]
        for i in range(n)
    ]


def write(root: Path, rows: list[list[str]], separator: str = ",") -> Path:
    (root / "german").mkdir()
    text = "\n".join(separator.join(row) for row in rows) + "\n"
    (root / "german/german.csv").write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def splits(tmp_path: Path) -> Splits:
    return German(**ANY).load(0, write(tmp_path, table()))


def test_splits_and_facts(splits: Splits) -> None:
    assert [len(s) for s in (splits.train, splits.test, splits.public)] == [80, 60, 60]
    assert splits.facts["class_counts"] == [70, 70]
    assert len(splits.facts["sha256"]) == 64
    assert splits.facts["duplicates_dropped"] == 0
    assert splits.card.shape == (61,)
    everybody = torch.cat([splits.train.person, splits.test.person, splits.public.person])
    assert sorted(everybody.tolist()) == list(range(200))


def test_records_keep_their_row(splits: Splits) -> None:
    rows = table()
    for i in (0, 10):
        row = rows[int(splits.train.person[i])]
        assert splits.train.y[i] == int(row[-1]) - 1
        assert splits.train.s is not None
        assert splits.train.s[i] == int(row[0] == "A14")
        on = {c for c, v in zip(splits.card.columns, splits.train.x[i], strict=True) if v == 1.0}
        assert f"history_{row[2]}" in on


@pytest.mark.parametrize("sensitive", list(German.sensitives))
def test_nothing_else_tells_the_sensitive_value(sensitive: str, tmp_path: Path) -> None:
    splits = German(sensitive=sensitive, sha256=None).load(0, write(tmp_path, table()))
    column, values = German.sensitives[sensitive]
    start, stop = splits.card.sensitive.columns  # type: ignore[union-attr]
    assert stop - start == len(set(values.values()))
    known = splits.card.columns[stop:]
    assert not any(name.startswith(column) for name in known)
    assert splits.train.s is not None
    assert torch.equal(splits.train.x[:, start:stop].argmax(1), splits.train.s)


def test_the_original_with_blanks_is_read_too(tmp_path: Path) -> None:
    rows = [[*row, ""] for row in table()]
    splits = German(**ANY).load(0, write(tmp_path, rows, " "))
    assert splits.facts["n_rows"] == 200


def test_equal_applicants_are_dropped(tmp_path: Path) -> None:
    rows = table()
    splits = German(**ANY).load(0, write(tmp_path, rows + rows[:7]))
    assert splits.facts["duplicates_dropped"] == 7
    assert splits.facts["n_rows"] == 200


def test_the_seed_decides(tmp_path: Path) -> None:
    root = write(tmp_path, table())
    a, b, c = (German(**ANY).load(seed, root).train.x for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_another_copy_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path, table())
    with pytest.raises(UserError, match=r"german\.csv' has sha256 .* expected ec12a88b"):
        German().load(0, root)


def altered(change: str) -> list[list[str]]:
    rows = table()
    if change == "header":
        rows.insert(0, list(COLUMNS))
    elif change == "labels 0 and 1":
        rows = [[*row[:-1], str(int(row[-1]) - 1)] for row in rows]
    elif change == "constant label":
        rows = [[*row[:-1], "1"] for row in rows]
    elif change == "NaN":
        rows[5][4] = "nan"
    elif change == "gap":
        rows[5][0] = ""
    elif change == "unknown code":
        rows[5][2] = "A99"
    elif change == "unknown sensitive code":
        rows[5][0] = "A15"
    elif change == "a column less":
        rows = [row[1:] for row in rows]
    elif change == "ragged":
        rows[5] = [*rows[5], "1", "2"]
    elif change == "rare class":
        rows = [[*row[:-1], "2" if i == 0 else "1"] for i, row in enumerate(rows)]
    return rows


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("header", "labels"),
        ("labels 0 and 1", "labels"),
        ("constant label", "labels"),
        ("NaN", "NaN or Inf in .'amount'"),
        ("gap", "column 'checking' holds .'nan'"),
        ("unknown code", "column 'history' holds .'A99'"),
        ("unknown sensitive code", "column 'checking' holds .'A15'"),
        ("a column less", "has 20 columns"),
        ("ragged", "0 columns .*line 6"),
        ("rare class", "cannot be split"),
    ],
)
def test_altered_copies_are_refused(change: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        German(**ANY).load(0, write(tmp_path, altered(change)))


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe\x89PNG" * 50])
def test_a_corrupt_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "german").mkdir()
    (tmp_path / "german/german.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"german\.csv"):
        German(**ANY).load(0, tmp_path)


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    for root in (None, tmp_path):
        assert "data_root=" in (German().missing(root) or "")
        with pytest.raises(UserError, match=r"german\.csv"):
            German().load(0, root)


@pytest.mark.skipif(REAL is None, reason="INVBENCH_DATA_ROOT names no folder of data sets")
def test_the_real_file() -> None:
    assert REAL is not None
    for sensitive in ("checking", "sex"):
        facts = German(sensitive=sensitive).load(0, Path(REAL)).facts
        assert facts["n_rows"] == 1000
        assert facts["class_counts"] == [490, 210]
        assert all(0.05 < share < 0.95 for share in facts["sensitive_prevalence"].values())
        assert facts["sensitive_imputer_auc"] < 0.85
