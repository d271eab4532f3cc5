from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.contract import UserError
from bench.data.medmnist import CLASSES, MedMnist

REAL = os.environ.get("INVBENCH_DATA_ROOT")
SIZES = {"train": 60, "val": 10, "test": 20}


def arrays(colour: bool = False, flat: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    out = {}
    for part, n in SIZES.items():
        shape = (n, 28, 28, 3) if colour else (n, 28, 28)
        out[f"{part}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
        labels = (np.arange(n) % 3 == 0).astype(np.uint8)
        out[f"{part}_labels"] = labels if flat else labels[:, None]
    return out


def save(root: Path, content: dict[str, Any], flag: str = "breastmnist") -> Path:
    (root / "medmnist").mkdir(exist_ok=True)
    np.savez(root / f"medmnist/{flag}.npz", **content)
    return root


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("flat", [False, True])
def test_official_test_stays_and_train_is_shared_out(
    colour: bool, flat: bool, tmp_path: Path
) -> None:
    content = arrays(colour, flat)
    splits = MedMnist().load(0, save(tmp_path, content))
    assert splits.card.shape == ((3 if colour else 1), 28, 28)
    assert [len(s) for s in (splits.train, splits.test, splits.public)] == [30, 20, 40]
    images = content["test_images"]
    wanted = images.transpose(0, 3, 1, 2) if colour else images[:, None]
    assert torch.equal((splits.test.x * 255).round().byte(), torch.from_numpy(wanted.copy()))
    assert torch.equal(splits.test.y, torch.from_numpy(content["test_labels"].ravel().astype(int)))
    assert splits.train.y.float().mean() == pytest.approx(1 / 3)
    assert splits.card.shared_classes and splits.card.privacy_unit == "record"
    assert splits.train.x.is_contiguous()
    assert splits.facts["duplicates_dropped"] == 0


def test_the_way_labels_are_kept_does_not_change_the_hash(tmp_path: Path) -> None:
    hashes = set()
    for flat in (False, True):
        splits = MedMnist().load(0, save(tmp_path, arrays(flat=flat)))
        hashes.add(splits.facts["sha256"])
    assert len(hashes) == 1


def test_the_seed_decides(tmp_path: Path) -> None:
    root = save(tmp_path, arrays())
    a, b, c = (MedMnist().load(seed, root).train.x for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_copies_are_dropped_and_counted(tmp_path: Path) -> None:
    content = arrays()
    content["train_images"][:4] = content["test_images"][:4]
    content["val_images"][0] = content["train_images"][10]
    content["train_images"][20] = content["train_images"][21]
    for seed in range(4):
        splits = MedMnist().load(seed, save(tmp_path, content))
        assert len(splits.test) == 20, "test stays whole"
        # Two equal pictures may both be members; in two splits they may not.
        assert 4 <= splits.facts["duplicates_dropped"] <= 6
        assert splits.facts["duplicates_across_splits"] == 0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"val_labels": None}, "val_labels"),
        ({"test_images": np.zeros((20, 28, 28))}, "test_images is float64"),
        ({"test_images": np.zeros((20, 784), np.uint8)}, r"test_images is uint8 \(20, 784\)"),
        ({"train_labels": np.zeros((60, 14), np.uint8)}, "several labels"),
        ({"train_labels": np.full(60, 2, np.uint8)}, "outside 0 to 1"),
        ({"train_labels": np.eye(1, 60, dtype=np.uint8)[0]}, "cannot be split"),
        ({"test_labels": np.array([None] * 20)}, "cannot be read"),
    ],
)
def test_bad_files_are_explained(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    content = {k: v for k, v in (arrays() | change).items() if v is not None}
    with pytest.raises(UserError, match=match):
        MedMnist().load(0, save(tmp_path, content))


def test_no_archive(tmp_path: Path) -> None:
    (tmp_path / "medmnist").mkdir()
    (tmp_path / "medmnist/breastmnist.npz").write_bytes(b"hello")
    with pytest.raises(UserError, match="cannot be read"):
        MedMnist().load(0, tmp_path)
    for root in (None, tmp_path / "nowhere"):
        assert "data_root=" in (MedMnist().missing(root) or "")


def test_any_set_with_named_classes(tmp_path: Path) -> None:
    save(tmp_path, arrays(), "mine")
    dataset = MedMnist(flag="mine", classes=("ill", "well"))
    assert dataset.n_classes == 2
    assert dataset.load(0, tmp_path).card.class_names == ("ill", "well")
    assert MedMnist(flag="bloodmnist").n_classes == len(CLASSES["bloodmnist"]) == 8


def test_another_copy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sha256=null"):
        MedMnist(sha256="e" * 64).load(0, save(tmp_path, arrays()))


@pytest.mark.skipif(REAL is None, reason="INVBENCH_DATA_ROOT names no folder of data sets")
def test_the_real_file() -> None:
    assert REAL is not None
    splits = MedMnist().load(0, Path(REAL))
    assert splits.facts["n_rows"] == 780
    assert len(splits.test) == 156
