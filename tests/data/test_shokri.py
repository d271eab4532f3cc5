from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import UserError
from bench.data.lock import lock_of, note
from bench.data.shokri import BinaryRecords, Location30, Purchase100, Texas100
from bench.data.stored_baskets import rare
from tests.data import archives

REAL = os.environ.get("INVBENCH_DATA_ROOT")


class NarrowTexas(Texas100):
    """The layout of Texas-100 with fewer and other numbers."""

    width, classes = 50, 20


class NarrowPurchase(Purchase100):
    """The layout of Purchase-100 with fewer and other numbers."""

    width, classes = 40, 20


ALL = (
    replace(Location30(), sha256=None),
    NarrowPurchase(records=None),
    NarrowTexas(records=None),
)


def write(root: Path, data: BinaryRecords, per_class: int = 10) -> tuple[np.ndarray, np.ndarray]:
    x, y = archives.bits(per_class * data.classes, data.width, data.classes)
    if data.labels:
        files = {data.member: archives.rows(x, None), data.labels: "\n".join(map(str, y)) + "\n"}
    else:
        files = {data.member: archives.rows(x, y, quoted=data.name == "location30")}
    archives.tgz(root / data.file, files)
    return x, y


@pytest.mark.parametrize("data", ALL, ids=lambda data: data.name)
def test_rows_become_records(data: BinaryRecords, tmp_path: Path) -> None:
    x, y = write(tmp_path, data, per_class=6)
    splits = data.load(0, tmp_path)
    assert splits.card.shape == (data.width,)
    assert splits.card.n_classes == data.n_classes == data.classes
    for split in (splits.train, splits.test, splits.public):
        line = split.person.numpy()
        assert np.array_equal(split.x.numpy(), x[line])
        assert np.array_equal(split.y.numpy(), y[line] - 1)
    people = torch.cat([splits.train.person, splits.test.person, splits.public.person])
    assert people.sort().values.tolist() == list(range(len(y)))
    assert splits.facts["n_file"] == len(y)
    assert splits.facts["sha256_checked"] == "nothing"
    assert splits.card.tasks == data.tasks


def test_records_are_drawn_by_the_seed(tmp_path: Path) -> None:
    data = replace(Location30(), sha256=None, records=300)
    write(tmp_path, data, per_class=20)
    a, b, c = (data.load(seed, tmp_path) for seed in (0, 0, 1))
    assert a.facts["n_rows"] == 300
    assert a.facts["n_file"] == 600
    assert torch.equal(a.train.x, b.train.x)
    drawn = [
        {*s.train.person.tolist(), *s.test.person.tolist(), *s.public.person.tolist()}
        for s in (a, c)
    ]
    assert len(drawn[0]) == 300
    assert drawn[0] != drawn[1]


@given(seed=st.integers(0, 2**31 - 1), items=st.integers(2, 40))
@settings(max_examples=25, deadline=None)
def test_rare_items_are_rare_and_known_from_the_public_records(seed: int, items: int) -> None:
    x = (torch.rand(60, items, generator=torch.Generator().manual_seed(seed)) < 0.2).float()
    x[:, 0] = 0.0
    listed, count = rare(x), x.sum(0)
    held = count[count > 0]
    assert all(0 < count[i] <= held.median() + 1 for i in listed)
    assert 0 not in listed
    assert len(listed) == len(set(listed)) <= -(-len(held) // 8) + 1


def test_sensitive_items_do_not_depend_on_private_records(tmp_path: Path) -> None:
    data = replace(Location30(), sha256=None)
    x, y = write(tmp_path, data)
    before = data.load(0, tmp_path)
    x[before.train.person.numpy()] = 1
    archives.tgz(tmp_path / data.file, {data.member: archives.rows(x, y)})
    after = data.load(0, tmp_path)
    assert torch.equal(before.public.x, after.public.x)
    assert before.card.sensitive_items == after.card.sensitive_items


def test_the_note_of_the_first_fetch_is_compared(tmp_path: Path) -> None:
    data = ALL[1]
    write(tmp_path, data, per_class=5)
    path = tmp_path / data.file
    found = data.load(0, tmp_path).facts["sha256"]
    note(path, found)
    assert data.load(0, tmp_path).facts["sha256_checked"] == "first use"
    note(path, "0" * 64)
    with pytest.raises(UserError, match=f"has sha256 {found}, and 000.* when it was fetched"):
        data.load(0, tmp_path)
    lock_of(path).write_text("nonsense")
    with pytest.raises(UserError, match="holds no SHA-256; remove it"):
        data.load(0, tmp_path)


def test_another_copy_is_refused(tmp_path: Path) -> None:
    write(tmp_path, Location30())
    with pytest.raises(UserError, match=r"dataset_location\.tgz' has sha256 .* expected 927203f8"):
        Location30().load(0, tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a row of 0 features, expected 446"),
        ("1,0,1\n" * 40, "a row of 2 features, expected 446"),
        ("1," + ",".join(["2"] * 446) + "\n", "features other than 0 and 1"),
        ("1," + ";".join(["1"] * 446) + "\n", "features other than 0 and 1"),
        ("x," + ",".join(["1"] * 446) + "\n", "a label that is no number"),
        ("31," + ",".join(["1"] * 446) + "\n", "labels outside 1 to 30"),
        ("1," + ",".join(["1"] * 446) + "\n", "cannot be split"),
    ],
)
def test_a_corrupt_row_is_refused(text: str, words: str, tmp_path: Path) -> None:
    archives.tgz(tmp_path / ALL[0].file, {"bangkok": text})
    with pytest.raises(UserError, match=words):
        ALL[0].load(0, tmp_path)


def test_a_corrupt_archive_is_refused(tmp_path: Path) -> None:
    path = archives.tgz(tmp_path / ALL[0].file, {"elsewhere": "1,0\n"})
    with pytest.raises(UserError, match=r"cannot be read .*it must hold 'bangkok'"):
        ALL[0].load(0, tmp_path)
    write(tmp_path, ALL[0])
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"<html>not found</html>", b""):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read"):
            ALL[0].load(0, tmp_path)


def test_labels_and_features_must_be_as_many(tmp_path: Path) -> None:
    data = ALL[2]
    x, y = archives.bits(300, data.width, data.classes)
    labels = "\n".join(map(str, y)) + "\n"
    archives.tgz(
        tmp_path / data.file, {data.member: archives.rows(x[:200], None), data.labels: labels}
    )
    with pytest.raises(UserError, match="300 labels for fewer rows"):
        data.load(0, tmp_path)


@pytest.mark.parametrize("data", ALL, ids=lambda data: data.name)
def test_a_missing_file_is_explained(data: BinaryRecords, tmp_path: Path) -> None:
    assert f"invbench data fetch {data.name}" in (data.missing(tmp_path) or "")
    with pytest.raises(UserError, match="which is missing"):
        data.load(0, tmp_path)


@pytest.mark.skipif(REAL is None, reason="INVBENCH_DATA_ROOT names no folder of data sets")
def test_the_real_location30() -> None:
    assert REAL is not None
    splits = Location30().load(0, Path(REAL))
    assert splits.facts["n_rows"] == 5010
    assert splits.facts["duplicates_across_splits"] == 0
    assert splits.facts["mean_basket"] == pytest.approx(53.7, abs=0.1)
    assert len(splits.card.sensitive_items) == 56
