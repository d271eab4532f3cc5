from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.contract import Splits, UserError
from bench.data.image_folder import ImageFolder
from tests.data.trees import picture, tree

COUNTS = [6, 3, 5, 1, 4, 6, 2, 5]
SMALL = ImageFolder(people_private=3, images_train=2, size=16)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    tree(root / "images", COUNTS)
    return root


def people_in(split_x: torch.Tensor) -> torch.Tensor:
    return (split_x[:, 0, 0, 0] * 255 / 5).round().long() - 1


def check(splits: Splits) -> None:
    for name in ("train", "test", "public"):
        split = getattr(splits, name)
        assert torch.equal(people_in(split.x), split.person), "a picture is of the person named"
    assert not set(splits.train.person.tolist()) & set(splits.public.person.tolist())
    assert not set(splits.test.person.tolist()) & set(splits.public.person.tolist())
    names = [splits.card.class_names[y] for y in splits.test.y]
    assert names == [f"p{who:02d}" for who in splits.test.person.tolist()]
    assert splits.facts["duplicates_across_splits"] == 0


def test_the_split_is_of_people(root: Path) -> None:
    splits = SMALL.load(0, root)
    check(splits)
    assert splits.card.shape == (3, 16, 16)
    assert not splits.card.publishable and not splits.card.shared_classes
    assert splits.facts["n_files"] == sum(COUNTS)
    assert len(splits.train) == 6


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    private=st.integers(2, 4),
    train=st.integers(1, 3),
    public=st.none() | st.integers(2, 4),
)
def test_nobody_is_on_both_sides(
    root: Path, seed: int, private: int, train: int, public: int | None
) -> None:
    dataset = ImageFolder(people_private=private, images_train=train, people_public=public, size=16)
    check(dataset.load(seed, root))


def test_the_seed_decides_but_not_the_hash(root: Path) -> None:
    a, b, c = (SMALL.load(seed, root) for seed in (0, 0, 1))
    assert torch.equal(a.train.x, b.train.x) and torch.equal(a.public.x, b.public.x)
    assert not torch.equal(a.train.x, c.train.x)
    assert a.facts["sha256"] == c.facts["sha256"]


def test_shapes(root: Path) -> None:
    for size, colour, shape in (
        (16, False, (1, 16, 16)),
        ((20, 16), True, (3, 20, 16)),
        (None, False, (1, 20, 24)),
    ):
        dataset = ImageFolder(people_private=3, images_train=2, size=size, colour=colour)
        assert dataset.load(0, root).card.shape == shape


@pytest.mark.parametrize("ending", ["jpg", "bmp", "JPEG"])
def test_other_formats(ending: str, tmp_path: Path) -> None:
    tree(tmp_path / "images", [4] * 5, ending)
    assert SMALL.load(0, tmp_path).facts["n_rows"] == 20


def test_a_copy_in_another_split_is_dropped_and_counted(tmp_path: Path) -> None:
    tree(tmp_path / "images", [3, 3, 3, 3, 3])
    # The same picture under every name: whoever is private, it stands in several splits.
    for person in range(5):
        picture(tmp_path / f"images/p{person:02d}/9.png", 40, 9)
    splits = ImageFolder(people_private=2, images_train=3, size=16).load(0, tmp_path)
    assert splits.facts["duplicates_dropped"] > 0
    assert splits.facts["duplicates_across_splits"] == 0


def refused(root: Path, match: str, dataset: ImageFolder = SMALL) -> None:
    with pytest.raises(UserError, match=match):
        dataset.load(0, root)


def test_what_is_missing_is_explained(tmp_path: Path) -> None:
    for root in (None, tmp_path):
        assert "data_root=" in (SMALL.missing(root) or "")
    refused(tmp_path, "data_root=")
    (tmp_path / "images").mkdir()
    refused(tmp_path, "no folder with pictures")


def test_too_few_people_or_pictures(tmp_path: Path, root: Path) -> None:
    tree(tmp_path / "images", [9])
    refused(tmp_path, "has 1 people")
    refused(root, "people_private=7", ImageFolder(people_private=7, images_train=1))
    refused(root, "0 of them", ImageFolder(people_private=2, images_train=6))
    refused(root, "0 of them", ImageFolder(people_private=2, min_images=50))


def test_a_damaged_picture_is_named(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    for number in range(6):
        (tmp_path / f"images/p05/{number}.png").write_bytes(b"hello")
    refused(tmp_path, r"p05/\d\.png' cannot be read as a picture")


def test_pictures_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    tree(tmp_path / "images", [4] * 5)
    picture(tmp_path / "images/p00/9.png", 0, 9, (30, 30))
    refused(tmp_path, "set 'size'", ImageFolder(people_private=3, images_train=2, size=None))


def test_another_copy_is_refused(root: Path) -> None:
    dataset = ImageFolder(people_private=3, images_train=2, size=16, sha256="e" * 64)
    refused(root, "dataset.image_folder.sha256=null", dataset)


def test_what_was_decided_or_left_out_stands_in_the_facts(tmp_path: Path) -> None:
    tree(tmp_path / "images", [4] * 5)
    (tmp_path / "images/p00/a.heic").touch()
    for person in range(5):
        path = tmp_path / f"images/p{person:02d}/0.png"
        with Image.open(path) as image:
            image.putalpha(0)
            image.save(path)
    facts = ImageFolder(people_private=3, images_train=3, size=16).load(0, tmp_path).facts
    assert facts["files_not_read"] == {"ending .heic": 1}
    assert facts["pictures_on_white"] == 5
