"""A data set made of one's own interactions: what is kept, what is counted, how it is kept."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import Splits, UserError, check_splits, sparse
from bench.data.events import Events
from bench.data.interactions import Interactions, core, select
from bench.data.victims import draw

Pairs = list[tuple[int, int]]


def by_hand(pairs: Pairs, min_items: int, min_users: int) -> set[tuple[int, int]]:
    """The core by its definition: one user or item that has too little goes, until none does."""
    left = set(pairs)
    while True:
        users, items = Counter(u for u, _ in left), Counter(i for _, i in left)
        user = next((u for u, n in users.items() if n < min_items), None)
        item = next((i for i, n in items.items() if n < min_users), None)
        if user is not None:
            left = {(u, i) for u, i in left if u != user}
        elif item is not None:
            left = {(u, i) for u, i in left if i != item}
        else:
            return left


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), unique=True, max_size=60),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_the_core_is_the_one_of_its_definition(
    pairs: Pairs, min_items: int, min_users: int
) -> None:
    user, item = np.array(pairs, np.int32).reshape(-1, 2).T
    kept = core(user, item, min_items, min_users)
    left = {pair for pair, inside in zip(pairs, kept, strict=True) if inside}
    assert left == by_hand(pairs, min_items, min_users)


def test_what_is_left_out_is_counted_step_by_step() -> None:
    user = np.repeat(np.arange(12, dtype=np.int32), 3)
    item = np.tile(np.array([0, 1, 2], np.int32), 12)
    extra_user, extra_item = np.array([0, 0, 1, 2], np.int32), np.array([0, 3, 4, 4], np.int32)
    rating = np.concatenate([np.full(36, 4.0), [4.0, 1.0, 5.0, 5.0]])
    events = Events(
        tuple(map(str, range(12))),
        tuple("abcde"),
        np.concatenate([user, extra_user]),
        np.concatenate([item, extra_item]),
        rating,
    )
    bought = select(events, 2.0, None, 3, 2)
    assert bought.items == ("a", "b", "c") and bought.matrix.shape == (12, 3)
    facts = bought.facts
    assert facts["removed_by_least_rating"] == {"users": 0, "items": 1, "interactions": 1}
    assert facts["duplicates_collapsed"] == 1
    assert facts["removed_by_core"] == {"users": 0, "items": 1, "interactions": 2}
    assert facts["interactions_read"] == 40 and facts["interactions_kept"] == 36
    capped = select(events, None, 2, 1, 1)
    assert capped.items == ("a", "b")
    assert capped.facts["removed_by_item_cap"] == {"users": 0, "items": 3, "interactions": 15}
    with pytest.raises(UserError, match="0 users and 0 items are left"):
        select(events, None, None, 13, 1)
    with pytest.raises(UserError, match="the file has no rating"):
        select(Events(events.users, events.items, user, item), 3.0, None, 1, 1)


def write(root: Path, n: int = 300) -> Path:
    rng = np.random.default_rng(0)
    shelves = np.arange(24).reshape(3, 8)
    lines = [
        " ".join(map(str, sorted(rng.choice(shelves[i % 3], 2 + i % 5, replace=False))))
        for i in range(n)
    ]
    path = root / "shop.dat"
    path.write_text("\n".join(lines) + "\n")
    return path


def loaded(path: Path, dense_gib: float) -> Splits:
    dataset = Interactions(file=str(path), segments=3, dense_gib=dense_gib, name="our shop")
    return dataset.load(0, None)


def test_kept_sparse_or_dense_it_is_the_same_data(tmp_path: Path) -> None:
    path = write(tmp_path)
    plain, kept = loaded(path, 1.0), loaded(path, 0.0)
    assert plain.card == kept.card and kept.card.name == "our shop"
    for name in ("train", "test", "public"):
        one, other = getattr(plain, name), getattr(kept, name)
        assert sparse.is_sparse(other.x) and not sparse.is_sparse(one.x)
        assert torch.equal(one.x, sparse.dense(other.x))
        assert torch.equal(one.y, other.y) and torch.equal(one.person, other.person)
    assert plain.facts == {**kept.facts, "kept_sparse": False}
    assert kept.facts["duplicates_across_splits"] > 0
    check_splits(kept)
    victims = [draw(splits, 3, 20).records.x for splits in (plain, kept)]
    assert torch.equal(*victims)


def test_names_and_facts(tmp_path: Path) -> None:
    dataset = Interactions(file=str(write(tmp_path)), segments=3, sensitive_items=("23", "2"))
    splits = dataset.load(0, None)
    assert [splits.card.columns[i] for i in splits.card.sensitive_items] == ["2", "23"]
    assert splits.facts["users_read"] == splits.facts["users_kept"] == 300
    assert dataset.called is None and dataset.kept_sparse(None) is None
    for options, words in (
        ({"sensitive_items": ("99",)}, "names '99'"),
        ({"least_rating": 3.0}, "has no rating"),
    ):
        with pytest.raises(UserError, match=words):
            Interactions(file=dataset.file, **options).load(0, None)  # type: ignore[arg-type]


def test_too_few_baskets_for_the_segments_are_refused_in_either_form(tmp_path: Path) -> None:
    path = write(tmp_path, 12)
    for dense_gib in (1.0, 0.0):
        with pytest.raises(UserError, match="too few for segments=40"):
            Interactions(file=str(path), segments=40, dense_gib=dense_gib).load(0, None)


def test_what_was_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"{u},{i},{r}" for u in range(20) for i, r in ((u, 5), (99, 1), (99, 4))]
    path.write_text("user,item,rating\n" + "\n".join(rows) + "\n")
    sections = Interactions(file=str(path), least_rating=2.0, item_cap=15).understood(None)
    steps = {row["step"]: row for row in sections["steps"] if isinstance(row, dict)}
    assert steps["read"]["interactions"] == 60
    assert steps["removed by least_rating"]["interactions"] == 20
    assert steps["removed by item_cap"]["items"] == 6
    assert steps["kept"]["users"] == 20
    assert "warnings" not in sections
    alone = Interactions(file=str(path), item_cap=2, min_users=5).understood
    with pytest.raises(UserError, match="1 items are left"):
        alone(None)


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    for root in (None, tmp_path):
        assert "dataset.interactions.file=" in (Interactions().missing(root) or "")
    with pytest.raises(UserError, match=r"interactions\.csv"):
        Interactions().load(0, tmp_path)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path)
    before = loaded(path, 1.0).facts["interactions_read"]
    path.write_text(path.read_text() + "1 2 3\n")
    assert loaded(path, 1.0).facts["interactions_read"] == before + 3
