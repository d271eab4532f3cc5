from __future__ import annotations

import os
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch

from bench.contract import UserError
from bench.data.olivetti import FILE, Olivetti
from bench.data.orl import Orl

SMALL = Olivetti(sha256=None)
REAL = os.environ.get("INVBENCH_DATA_ROOT")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    (root / "olivetti").mkdir()
    pixels = np.zeros((400, 64, 64), dtype=np.uint8)
    pixels += (np.arange(400) // 10 * 5).astype(np.uint8)[:, None, None]  # 0 to 195: the person
    pixels[:, :, 32:] = (np.arange(400) % 10 * 25).astype(np.uint8)[:, None, None]
    joblib.dump(pixels.reshape(400, 4096), root / "olivetti" / FILE, compress=6)
    return root


def person_in(x: torch.Tensor) -> torch.Tensor:
    return (x[:, 0, 0, 0] * 225 / 5).round().long()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [64, 32])
def test_people_are_disjoint_and_labelled(seed: int, size: int, root: Path) -> None:
    splits = Olivetti(sha256=None, size=size).load(seed, root)
    assert splits.card.shape == (1, size, size)
    assert [len(s) for s in (splits.train, splits.test, splits.public)] == [120, 80, 140]
    for split in (splits.train, splits.test, splits.public):
        assert torch.equal(person_in(split.x), split.person)
    assert not torch.isin(splits.public.person, splits.train.person).any()


def test_the_split_is_that_of_orl(root: Path) -> None:
    splits = SMALL.load(3, root)
    assert splits.card.class_names == tuple(f"s{i + 1}" for i in splits.train.person.unique())
    assert isinstance(SMALL, Orl.__mro__[1])


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    for root in (None, tmp_path):
        assert "download=true" in (SMALL.missing(root) or "")
    assert Olivetti(download=True).missing(tmp_path) is None
    assert "data_root=" in (Olivetti(download=True).missing(None) or "")


def test_a_download_happens_only_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(data_home: Path, download_if_missing: bool) -> None:
        asked.append(download_if_missing)
        raise OSError("no network")

    monkeypatch.setattr("bench.data.olivetti.fetch_olivetti_faces", fetch)
    with pytest.raises(UserError, match="no network"):
        Olivetti(download=True).load(0, tmp_path)
    with pytest.raises(UserError, match="download=true"):
        SMALL.load(0, tmp_path)
    assert asked == [True]


def test_a_damaged_or_other_file_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.olivetti\.sha256=null"):
        Olivetti().load(0, root)
    (tmp_path / "olivetti").mkdir()
    (tmp_path / "olivetti" / FILE).write_bytes(b"hello")
    with pytest.raises(UserError, match="cannot be read or fetched"):
        SMALL.load(0, tmp_path)


@pytest.mark.skipif(REAL is None, reason="INVBENCH_DATA_ROOT names no folder of data sets")
def test_the_real_file() -> None:
    assert REAL is not None
    splits = Olivetti().load(0, Path(REAL))
    assert splits.facts["n_rows"] == 400
    assert splits.train.x.is_contiguous()
