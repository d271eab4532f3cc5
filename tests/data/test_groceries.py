from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.contract import UserError
from bench.data.groceries import Groceries

SMALL = Groceries(segments=3, min_size=2, sha256=None)
REAL = os.environ.get("INVBENCH_DATA_ROOT")


def receipts(n: int = 200) -> list[list[str]]:
    rng = np.random.default_rng(0)
    shelves = [[f"{kind} {i}" for i in range(8)] for kind in ("bread", "fruit", "liquor")]
    shelves[2][0] = "rum"
    lines = [
        sorted(str(good) for good in rng.choice(shelves[i % 3], 2 + i % 4, replace=False))
        for i in range(n)
    ]
    return [["bread 0 ", "bread 1"], ["bread 7"], *lines]


def write(root: Path, lines: list[list[str]]) -> Path:
    (root / "groceries").mkdir()
    text = "\n".join(",".join(line) for line in lines) + "\n"
    (root / "groceries/groceries.csv").write_text(text, encoding="utf-8")
    return root


def test_receipts_become_baskets(tmp_path: Path) -> None:
    lines = receipts()
    splits = SMALL.load(0, write(tmp_path, lines))
    assert splits.card.shape == (24,), "a blank after a name makes no new item"
    assert splits.facts["n_receipts"] == 202
    assert splits.facts["n_rows"] == 201, "the receipt of one good is left out"
    for split in (splits.train, splits.test, splits.public):
        for x, line in zip(split.x, split.person.tolist(), strict=True):
            bought = [splits.card.columns[i] for i in x.nonzero().flatten().tolist()]
            assert bought == sorted(good.strip() for good in lines[line])
    assert [splits.card.columns[i] for i in splits.card.sensitive_items] == ["rum"]


def test_segments_are_kinds_of_shopping(tmp_path: Path) -> None:
    splits = SMALL.load(0, write(tmp_path, receipts()))
    kind = torch.stack([splits.train.x[:, i : i + 8].sum(1) for i in range(0, 24, 8)], 1).argmax(1)
    for segment in range(3):
        assert len(kind[splits.train.y == segment].unique()) == 1


def test_segments_come_from_the_public_split_alone(tmp_path: Path) -> None:
    lines = receipts()
    before = SMALL.load(0, write(tmp_path, lines))
    changed = list(lines)
    victim = int(before.train.person[0])
    changed[victim] = ["bread 0", "fruit 0"]
    other = tmp_path / "other"
    other.mkdir()
    after = SMALL.load(0, write(other, changed))
    assert torch.equal(after.public.y, before.public.y)
    assert torch.equal(after.train.y[1:], before.train.y[1:])
    assert torch.equal(after.test.y, before.test.y)


def test_repeated_receipts_are_counted(tmp_path: Path) -> None:
    splits = SMALL.load(0, write(tmp_path, receipts(20) * 10))
    assert splits.facts["duplicates_across_splits"] > 5


def test_the_seed_decides(tmp_path: Path) -> None:
    root = write(tmp_path, receipts())
    a, b, c = (SMALL.load(seed, root).train for seed in (0, 0, 1))
    assert torch.equal(a.x, b.x) and torch.equal(a.y, b.y)
    assert not torch.equal(a.person, c.person)


def test_another_copy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"groceries\.csv' has sha256 .* expected ff1be892"):
        Groceries().load(0, write(tmp_path, receipts()))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 receipts"),
        (b"\xff\xfe\x00bread", "0 receipts"),
        (b"bread\n" * 50, "1 different goods"),
        ("\n".join(f"a{i},b{i}" for i in range(2000)).encode(), "4000 different goods"),
        (b"bread,milk\n" * 50, "too few for segments=3"),
        (b"bread,milk\nbread,eggs\n", "cannot be split"),
    ],
)
def test_a_corrupt_file_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    root = write(tmp_path, [])
    (root / "groceries/groceries.csv").write_bytes(content)
    with pytest.raises(UserError, match=words):
        SMALL.load(0, root)


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    for root in (None, tmp_path):
        assert "data_root=" in (SMALL.missing(root) or "")
        with pytest.raises(UserError, match=r"groceries\.csv"):
            SMALL.load(0, root)


@pytest.mark.skipif(REAL is None, reason="INVBENCH_DATA_ROOT names no folder of data sets")
def test_the_real_file() -> None:
    assert REAL is not None
    splits = Groceries().load(0, Path(REAL))
    assert splits.card.shape == (169,)
    assert splits.facts["n_receipts"] == 9835
    assert splits.facts["n_rows"] == 4734
    assert len(splits.card.sensitive_items) == 13
    assert min(splits.facts["class_counts"]) >= 100
