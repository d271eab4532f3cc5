from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.contract import UserError
from bench.data.lfw import Lfw, lfw_faces
from bench.data.orl import Orl
from bench.data.pictures import Look
from tests.data.test_orl import picture as orl_picture
from tests.data.trees import tree

REAL = os.environ.get("INVBENCH_DATA_ROOT")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    tree(root / "lfw", [1, 7, 8, 2, 9, 3])
    for person in range(1, 41):
        (root / f"orl_faces/s{person}").mkdir(parents=True)
        for number in range(1, 11):
            orl_picture(root / f"orl_faces/s{person}/{number}.pgm", person, number)
    return root


def test_people_with_many_pictures_are_private(root: Path) -> None:
    dataset = Lfw(people_private=2, images_train=4, images_test=2, min_images=7, size=16)
    for seed in range(4):
        splits = dataset.load(seed, root)
        assert set(splits.train.person.tolist()) < {1, 2, 4}
        assert torch.bincount(splits.test.y).tolist() == [2, 2]
        assert splits.card.shape == (1, 16, 16)
        assert splits.facts["n_people_public"] == 3
        assert splits.facts["n_people_fillers"] == 1
        assert not splits.card.publishable


def test_faces_of_other_people(root: Path) -> None:
    x, who, facts = lfw_faces(root, Look((16, 16)), None, 0)
    assert x.shape == (30, 1, 16, 16) and len(who) == 30
    assert facts["n_people_public"] == 6
    x, who, facts = lfw_faces(root, Look((16, 16)), 3, 0)
    assert np.unique(who).tolist() == [0, 1, 2] and facts["n_people_public"] == 3


@pytest.mark.parametrize(("size", "shape"), [(16, (1, 16, 16)), (None, (1, 112, 92))])
def test_all_of_orl_may_be_private_where_lfw_is_public(
    size: int | None, shape: tuple[int, ...], root: Path
) -> None:
    dataset = Orl(people_private=40, public="lfw", size=size, sha256=None)
    splits = dataset.load(0, root)
    assert splits.card.shape == shape and splits.card.n_classes == 40
    assert [len(s) for s in (splits.train, splits.test, splits.public)] == [240, 160, 30]
    assert splits.train.person.max() < splits.public.person.min() == 40
    assert splits.public.y.unique().tolist() == list(range(6))
    assert "Labeled Faces" in splits.card.source
    assert len(splits.facts["public_sha256"]) == 64


def test_orl_says_that_lfw_is_missing(root: Path, tmp_path: Path) -> None:
    (tmp_path / "orl_faces").symlink_to(root / "orl_faces")
    dataset = Orl(public="lfw", sha256=None)
    assert "'lfw' needs" in (dataset.missing(tmp_path) or "")
    with pytest.raises(UserError, match="data_root="):
        dataset.load(0, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(REAL is None, reason="INVBENCH_DATA_ROOT names no folder of data sets")
def test_the_real_folder_loads_in_seconds() -> None:
    assert REAL is not None
    started = time.process_time()
    splits = Lfw().load(0, Path(REAL))
    assert time.process_time() - started < 15
    assert splits.facts["n_files"] >= 7606
    assert splits.train.x.std() > 0.1
