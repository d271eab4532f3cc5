from __future__ import annotations

import pytest
import torch

from bench.contract import DivergedError, Reconstruction, Splits, Truth, UserError, Victims
from bench.metrics.deleted_record import score
from tests.attacks import rows

N = 40


def truth() -> Truth:
    train, test, public = (rows.split(rows.rows(N, seed)) for seed in (1, 2, 3))
    half = 8
    joined = rows.split(torch.cat([train.x[:half], test.x[:half]]))
    victims = Victims(joined, torch.arange(2 * half) < half)
    return Truth(Splits(rows.card(), train, test, public, {}), victims, None, {})


def test_the_truth_is_the_ceiling() -> None:
    known = truth()
    assert known.victims is not None
    found = score(Reconstruction(known.victims.records.x, labels=known.victims.records.y), known)
    assert found.value == found.members == found.nonmembers == found.ceiling == 1.0
    assert all(figure == pytest.approx(1.0) for figure in found.extra.values())


def test_only_deleted_records_count() -> None:
    known = truth()
    assert known.victims is not None
    values = known.victims.records.x.clone()
    values[~known.victims.member] = known.splits.public.x.mean(0)
    found = score(Reconstruction(values), known)
    assert found.value == found.members == 1.0 > found.nonmembers
    assert found.extra["identified"] == 1.0 and "label_matched" not in found.extra


def test_one_record_for_all_is_the_public_mean() -> None:
    known = truth()
    found = score(Reconstruction(known.splits.public.x.mean(0, keepdim=True)), known)
    assert found.extra["cosine_centred"] == pytest.approx(0.0, abs=1e-5)
    assert found.extra["exact"] == found.extra["identified"] == 0.0
    assert 0.0 < found.value < 0.7


def test_another_persons_record_identifies_nobody() -> None:
    known = truth()
    assert known.victims is not None
    found = score(Reconstruction(known.victims.records.x.roll(1, 0)), known)
    assert found.extra["identified"] == 0.0


def test_what_is_no_reconstruction_is_refused() -> None:
    known = truth()
    assert known.victims is not None
    x = known.victims.records.x
    with pytest.raises(UserError, match="one record per victim"):
        score(Reconstruction(x[:3]), known)
    with pytest.raises(UserError, match="as many labels"):
        score(Reconstruction(x, labels=torch.zeros(3, dtype=torch.int64)), known)
    with pytest.raises(DivergedError):
        score(Reconstruction(torch.full_like(x, torch.nan)), known)
