from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.contract import Splits, UserError
from bench.data.orl import Orl

SMALL = Orl(sha256=None)
REAL = os.environ.get("INVBENCH_DATA_ROOT")


def picture(path: Path, person: int, number: int, size: tuple[int, int] = (92, 112)) -> None:
    pixels = np.full(size[::-1], 5 * person, dtype=np.uint8)
    pixels[:, : 4 * number] = 255
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for person in range(1, 41):
        folder = root / f"orl_faces/s{person}"
        folder.mkdir(parents=True)
        for number in range(1, 11):
            picture(folder / f"{number}.pgm", person, number)
    return root


@pytest.fixture(scope="module")
def splits(original: Path) -> Splits:
    return SMALL.load(0, original)


@pytest.fixture
def damaged(original: Path, tmp_path: Path) -> Path:
    """A folder of links to the pictures, to be damaged."""
    for folder in (original / "orl_faces").iterdir():
        (tmp_path / "orl_faces" / folder.name).mkdir(parents=True)
        for file in folder.iterdir():
            (tmp_path / "orl_faces" / folder.name / file.name).symlink_to(file)
    return tmp_path


def test_people_are_disjoint_and_labelled(splits: Splits) -> None:
    assert splits.train.x.shape == (120, 1, 32, 32)
    assert splits.test.x.shape == (80, 1, 32, 32)
    assert splits.public.x.shape == (140, 1, 32, 32)
    assert torch.bincount(splits.train.y).tolist() == [6] * 20
    assert torch.bincount(splits.test.y).tolist() == [4] * 20
    assert torch.bincount(splits.public.y).tolist() == [10] * 14
    assert splits.fillers is not None and splits.fillers.x.shape == (60, 1, 32, 32)
    assert torch.bincount(splits.fillers.y).tolist() == [10] * 6
    private = splits.train.person.unique()
    everyone = [s.person.unique() for s in (splits.train, splits.public, splits.fillers)]
    assert sorted(torch.cat(everyone).tolist()) == list(range(40))
    assert torch.equal(private[splits.test.y], splits.test.person)


def test_a_picture_is_of_the_person_named(splits: Splits) -> None:
    for split in (splits.train, splits.test, splits.public, splits.fillers):
        assert split is not None
        person = (split.x[:, 0, :, -1].mean(1) * 255 / 5).round().long()
        assert torch.equal(person, split.person + 1)
    names = [f"s{p + 1}" for p in splits.train.person.unique().tolist()]
    assert list(splits.card.class_names) == names


def test_full_size_is_what_the_file_holds(original: Path) -> None:
    splits = Orl(size=None, sha256=None).load(0, original)
    assert splits.card.shape == (1, 112, 92)
    assert splits.train.x[0, 0, 0, -1] == pytest.approx(5 * (int(splits.train.person[0]) + 1) / 255)


def test_the_seed_decides_people_and_pictures(original: Path, splits: Splits) -> None:
    assert torch.equal(SMALL.load(0, original).train.x, splits.train.x)
    other = SMALL.load(1, original)
    assert not torch.equal(other.train.person.unique(), splits.train.person.unique())


def test_other_numbers_of_people_and_pictures(original: Path) -> None:
    dataset = Orl(people_private=30, images_train=9, size=16, sha256=None)
    splits = dataset.load(0, original)
    assert dataset.n_classes == splits.card.n_classes == 30
    assert [len(s) for s in (splits.train, splits.test, splits.public)] == [270, 30, 70]


def test_another_copy_is_refused(original: Path) -> None:
    with pytest.raises(UserError, match=r"orl_faces' has sha256 .* expected d81dc0ce"):
        Orl().load(0, original)


def test_a_missing_picture_is_named(damaged: Path) -> None:
    (damaged / "orl_faces/s7/3.pgm").unlink()
    assert "s7/3.pgm" in (SMALL.missing(damaged) or "")
    with pytest.raises(UserError, match="data_root="):
        SMALL.load(0, damaged)


@pytest.mark.parametrize("damage", ["no picture", "cut off", "another size"])
def test_a_damaged_picture_is_named(damage: str, damaged: Path) -> None:
    path = damaged / "orl_faces/s7/3.pgm"
    content = path.read_bytes()
    path.unlink()
    if damage == "another size":
        picture(path, 7, 3, (64, 64))
    else:
        path.write_bytes(b"hello" if damage == "no picture" else content[:500])
    with pytest.raises(UserError, match=r"s7/3\.pgm' (cannot be read|has 64 x 64)"):
        SMALL.load(0, damaged)


def test_equal_pictures_in_two_splits_are_refused(damaged: Path) -> None:
    for number in range(1, 11):
        path = damaged / f"orl_faces/s7/{number}.pgm"
        path.unlink()
        picture(path, 7, 1)
    with pytest.raises(UserError, match="more than one split"):
        Orl(people_private=38, sha256=None).load(0, damaged)


def test_a_missing_folder_is_explained(tmp_path: Path) -> None:
    for root in (None, tmp_path):
        assert "data_root=" in (SMALL.missing(root) or "")


@pytest.mark.skipif(REAL is None, reason="INVBENCH_DATA_ROOT names no folder of data sets")
def test_the_real_folder() -> None:
    assert REAL is not None
    splits = Orl().load(0, Path(REAL))
    assert splits.facts["n_rows"] == 400
    assert splits.facts["duplicates_across_splits"] == 0
