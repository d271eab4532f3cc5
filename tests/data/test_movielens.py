from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.contract import UserError
from bench.data.movielens import MovieLens
from tests.data import archives

REAL = os.environ.get("INVBENCH_DATA_ROOT")
SMALL = MovieLens(segments=2, min_users=5, min_items=2, sha256=None)


def ratings(people: int = 80) -> list[tuple[int, int, float]]:
    """Two tastes of twelve films each; film 99 is liked by three people."""
    rng = np.random.default_rng(0)
    out = [
        (10 + u, int(film) + 12 * (u % 2), float(rng.choice([4.0, 4.5, 5.0])))
        for u in range(people)
        for film in rng.choice(12, 5, replace=False)
    ]
    out += [(10 + u, (u + 1) % 12 + 12 * ((u + 1) % 2), 3.5) for u in range(people)]
    return [*out, *((10 + u, 99, 5.0) for u in range(3)), (500, 1, 5.0), (501, 1, 2.0)]


TAGS = [(3, "Religion"), (14, "aids"), (5, "funny"), (99, "gay")]


def write(root: Path, rows: list[tuple[int, int, float]]) -> Path:
    archives.movielens(root / SMALL.file, rows, TAGS)
    return root


def test_high_ratings_become_baskets(tmp_path: Path) -> None:
    rows = ratings()
    splits = SMALL.load(0, write(tmp_path, rows))
    assert splits.card.shape == (24,), "film 99 is liked by too few"
    assert splits.facts["n_rows"] == 80, "500 likes one film, 501 none"
    assert splits.facts["n_users"] == 82
    for split in (splits.train, splits.test, splits.public):
        for x, person in zip(split.x, split.person.tolist(), strict=True):
            liked = {splits.card.columns[i] for i in x.nonzero().flatten().tolist()}
            assert liked == {f"Film, {m}" for u, m, r in rows if u == person and r >= 4 and m != 99}
    assert [splits.card.columns[i] for i in splits.card.sensitive_items] == ["Film, 3", "Film, 14"]
    assert splits.card.privacy_unit == "person"
    assert not splits.card.publishable


def test_segments_are_tastes(tmp_path: Path) -> None:
    train = SMALL.load(0, write(tmp_path, ratings())).train
    taste = train.person % 2
    assert torch.equal(train.y == train.y[0], taste == taste[0])


def test_the_least_rating_decides(tmp_path: Path) -> None:
    root = write(tmp_path, ratings())
    sizes = [
        replace(SMALL, least_rating=least).load(0, root).facts["mean_basket"]
        for least in (3.5, 4.0, 5.0)
    ]
    assert sizes[0] > sizes[1] == 5.0 > sizes[2]


def test_the_seed_decides(tmp_path: Path) -> None:
    root = write(tmp_path, ratings())
    a, b, c = (SMALL.load(seed, root).train for seed in (0, 0, 1))
    assert torch.equal(a.x, b.x) and torch.equal(a.y, b.y)
    assert not torch.equal(a.person, c.person)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "ratings.csv in .* is empty or holds no numbers"),
        ([(1, 1, 5.0)], "0 people and 0 films are left"),
        (ratings(12), "people and .* films are left with min_users=5"),
    ],
)
def test_too_few_are_refused(
    rows: list[tuple[int, int, float]], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        SMALL.load(0, write(tmp_path, rows))


def test_a_corrupt_archive_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, ratings()) / SMALL.file
    for content in (b"", b"<html>", path.read_bytes()[:500]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"has no table ratings\.csv"):
            SMALL.load(0, tmp_path)
    with pytest.raises(UserError, match="expected 696d65a3"):
        MovieLens().load(0, tmp_path)


def test_a_missing_file_is_explained() -> None:
    assert "invbench data fetch movielens" in (SMALL.missing(None) or "")


@pytest.mark.skipif(REAL is None, reason="INVBENCH_DATA_ROOT names no folder of data sets")
def test_the_real_file() -> None:
    assert REAL is not None
    splits = MovieLens().load(0, Path(REAL))
    assert splits.card.shape == (605,)
    assert splits.facts["n_rows"] == 583
    assert splits.facts["n_ratings"] == 100836
    assert len(set(splits.card.columns)) == 605
    assert len(splits.card.sensitive_items) >= 20
