"""Nearer to a member or to a held-out record?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.contract import (
    Card,
    Column,
    DivergedError,
    Reconstruction,
    Split,
    Splits,
    Truth,
    UserError,
    generator,
)
from bench.metrics import resampling
from bench.metrics.resampling import resampled
from bench.metrics.training_instance import DRAWS, matched, score


def records(n: int, seed: int) -> Tensor:
    g = generator(seed)
    code = torch.nn.functional.one_hot(torch.randint(4, (n,), generator=g), 4)
    return torch.cat([code.float(), torch.randn(n, 5, generator=g)], 1)


def truth(train: int = 60, test: int = 60, seed: int = 0) -> Truth:
    fields = (
        Column("c", "category", (0, 4), tuple("wxyz")),
        *(Column(f"n{i}", "number", (4 + i, 5 + i)) for i in range(5)),
    )
    card = Card("t", "credit", "table", (9,), ("a", "b"), "record", "", "", True, fields=fields)

    def split(n: int, seed: int) -> Split:
        return Split(records(n, seed), torch.arange(n) % 2, torch.arange(n))

    return Truth(
        Splits(card, split(train, seed), split(test, seed + 1), split(50, seed + 2)), None, None, {}
    )


def test_members_are_nearer_to_members_and_held_out_records_are_not() -> None:
    known = truth()
    stolen = score(Reconstruction(known.splits.train.x), known)
    assert (stolen.value, stolen.nonmembers, stolen.ceiling) == (1.0, 0.0, 1.0)
    assert stolen.extra["exact_members"] == 1.0 and stolen.extra["exact_heldout"] == 0.0
    assert stolen.extra["distance_members"] < 1e-6 and stolen.extra["distinct"] == 1.0
    other = score(Reconstruction(known.splits.test.x), known)
    assert (other.value, other.nonmembers) == (0.0, 1.0)
    public = score(Reconstruction(known.splits.public.x), known)
    assert public.extra["distance_public"] < 1e-6


@pytest.mark.parametrize(("modes", "spread"), [(20, 0.05), (300, 1.0)])
def test_who_knows_nothing_is_within_the_error_over_people(modes: int, spread: float) -> None:
    """Members and held-out people are drawn, too: they decide who is nearest to a cluster."""
    worlds, missed = 60, 0
    for seed in range(worlds):
        g = generator(seed)
        at = torch.randint(modes, (200,), generator=g)
        values = records(modes, 3 * seed + 1000)[at]
        values[:, 4:] += spread * torch.randn(200, 5, generator=g)
        result = score(Reconstruction(values), truth(100, 100, 3 * seed))
        draws = resampled(result, torch.arange(200))["value"]
        missed += abs(result.value - 0.5) > 1.96 * np.std(draws, ddof=1)
    assert missed <= 0.1 * worlds


def test_everybody_once_gives_the_share_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "weights", lambda person: np.ones((200, len(person))))
    values = records(50, 7)
    values[:10] = records(60, 0)[:10]
    result = score(Reconstruction(values), truth())
    drawn = resampled(result, torch.arange(50))
    assert drawn["value"] == [pytest.approx(result.value, abs=1e-6)] * 200
    assert drawn["nonmembers"] == [pytest.approx(result.nonmembers, abs=1e-6)] * 200


def test_records_all_near_one_person_have_no_error() -> None:
    values = records(60, 0)[:1].repeat(30, 1)
    assert resampled(score(Reconstruction(values), truth()), torch.arange(30)) == {}


@pytest.mark.parametrize(("train", "test"), [(60, 60), (240, 60), (60, 240)])
def test_a_larger_side_is_not_nearer_by_itself(train: int, test: int) -> None:
    values = records(400, 7)
    found = score(Reconstruction(values), truth(train, test))
    assert found.value == pytest.approx(0.5, abs=0.08)
    assert found.value + found.nonmembers == pytest.approx(1.0)
    assert {len(v) for v in found.outcomes.values()} == {400}
    again = score(Reconstruction(values), truth(train, test))
    assert torch.equal(found.outcomes["success"], again.outcomes["success"])


def test_a_tie_counts_half() -> None:
    known = truth()
    shared = Split(known.splits.train.x, known.splits.test.y, known.splits.test.person)
    same = Truth(
        Splits(known.splits.card, known.splits.train, shared, known.splits.public), None, None, {}
    )
    found = score(Reconstruction(records(20, 5)), same)
    assert found.value == found.nonmembers == 0.5


def test_subsets_are_as_large_as_the_smaller_side() -> None:
    large, small = matched(9, 4)
    assert len(large) == DRAWS and {len(rows) for rows in large} == {4}
    assert [rows.tolist() for rows in small] == [[0, 1, 2, 3]]
    assert [len(s) for s in matched(4, 4)] == [1, 1] and len(matched(3, 8)[1]) == DRAWS
    seen = torch.cat(large).unique()
    assert len(seen) == 9, "every member has a chance"


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(UserError, match="at least one record of shape"):
        score(Reconstruction(torch.zeros(3, 4)), truth())
    with pytest.raises(UserError, match="at least one record"):
        score(Reconstruction(torch.zeros(0, 9)), truth())
    with pytest.raises(DivergedError):
        score(Reconstruction(torch.full((2, 9), torch.nan)), truth())
