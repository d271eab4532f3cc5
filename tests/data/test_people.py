from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import UserError
from bench.data.people import FILLERS, draw


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 12), min_size=4, max_size=15),
    private=st.integers(2, 12),
    train=st.integers(1, 8),
    test=st.none() | st.integers(1, 4),
    least=st.integers(0, 10),
    public=st.none() | st.integers(2, 6),
    seed=st.integers(0, 2**31 - 1),
)
def test_nobody_is_both_private_and_public(
    counts: list[int],
    private: int,
    train: int,
    test: int | None,
    least: int,
    public: int | None,
    seed: int,
) -> None:
    person = np.repeat(np.arange(len(counts)), counts)
    enough = sum(n >= max(least, train + 1) for n in counts)

    def drawn():
        return draw(
            "toy",
            person,
            people_private=private,
            images_train=train,
            images_test=test,
            min_images=least,
            people_public=public,
            seed=seed,
        )

    if private > min(enough, len(counts) - 2):
        with pytest.raises(UserError, match="people_private="):
            drawn()
        return
    found = drawn()
    of_train, of_test, of_public = (person[rows] for rows in found.rows)
    assert set(of_train) == set(of_test) == set(found.private)
    assert not set(found.private) & set(of_public)
    assert set(of_public) == set(found.public)
    assert len(found.private) == private
    others = len(counts) - private
    assert len(found.fillers) == int(FILLERS * others)
    assert len(found.public) == min(public or 99, others - len(found.fillers)) >= 2
    of_fillers = person[found.filler_rows]
    assert set(of_fillers) == set(found.fillers)
    assert not set(found.fillers) & {*found.private, *found.public}
    rows = np.concatenate([*found.rows, found.filler_rows])
    assert len(rows) == len(set(rows)), "no picture stands in two splits"
    for who in found.private:
        assert counts[who] >= least
        assert (of_train == who).sum() == train
        assert (of_test == who).sum() == min(counts[who] - train, test or 99)
    labels = found.labels(person)
    assert sorted(set(labels[found.rows[0]])) == list(range(private))
    assert (found.private[labels[found.rows[1]]] == of_test).all()
    assert (found.public[labels[found.rows[2]]] == of_public).all()
    assert (found.fillers[labels[found.filler_rows]] == of_fillers).all()
    again = drawn()
    assert all(np.array_equal(a, b) for a, b in zip(found.rows, again.rows, strict=True))


def test_every_person_and_picture_may_be_drawn() -> None:
    person = np.repeat(np.arange(5), 4)
    seen: list[set[int]] = [set(), set(), set()]
    for seed in range(40):
        rows = draw("toy", person, people_private=2, images_train=2, seed=seed).rows
        for part, index in zip(seen, rows, strict=True):
            part |= set(index.tolist())
    assert all(part == set(range(20)) for part in seen)
