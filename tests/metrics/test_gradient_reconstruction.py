"""Matched PSNR of leaked records."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from bench.contract import (
    Card,
    Column,
    DivergedError,
    Federation,
    Reconstruction,
    Split,
    Splits,
    Truth,
    UserError,
    Victims,
    generator,
)
from bench.metrics.gradient_reconstruction import nearest_other, score

N, SHAPE = 8, (1, 10, 10)


def truth(batch: int = 1) -> Truth:
    x = torch.rand(5 * N, *SHAPE, generator=generator(0))
    y = torch.arange(5 * N) % 4
    full = Split(x, y, torch.arange(5 * N))
    parts = [full.take(torch.arange(i, i + n)) for i, n in ((0, N), (N, N), (2 * N, 3 * N))]
    card = Card("t", "medical", "image", SHAPE, tuple("abcd"), "record", "s", "t", True)
    order = torch.tensor([0, 9, 1, 10, 2, 11, 3, 12])
    victims = Victims(full.take(order), order < N)
    return Truth(Splits(card, *parts), victims, None, {}, Federation(batch, records=N))


def test_the_truth_has_the_ceiling() -> None:
    victims = truth().victims
    assert victims is not None
    perfect = score(Reconstruction(victims.records.x, labels=victims.records.y), truth())
    assert (perfect.value, perfect.members, perfect.nonmembers, perfect.ceiling) == (1, 1, 1, 1)
    assert perfect.extra["exact"] == perfect.extra["label_recovery"] == 1
    assert perfect.extra["psnr_median"] == pytest.approx(100)


def test_the_order_within_a_client_does_not_matter_and_between_clients_does() -> None:
    victims = truth().victims
    assert victims is not None
    x, y = victims.records.x, victims.records.y
    within = torch.tensor([2, 0, 3, 1, 5, 4, 7, 6])
    found = score(Reconstruction(x[within], labels=y[within]), truth(batch=4))
    assert found.value == found.extra["label_matched"] == 1
    between = torch.arange(N).flip(0)
    assert score(Reconstruction(x[between], labels=y[between]), truth(batch=4)).value == 0


def test_labels_are_compared_as_multisets() -> None:
    victims = truth().victims
    assert victims is not None
    x, y = victims.records.x, victims.records.y
    sorted_y = y.view(2, 4).sort(1).values.flatten()
    found = score(Reconstruction(x, labels=sorted_y), truth(batch=4))
    assert found.extra["label_recovery"] == 1 > found.extra["label_matched"]


def test_failures_stay_in_the_mean() -> None:
    victims = truth().victims
    assert victims is not None
    values = victims.records.x.clone()
    values[:2] = 0.5
    found = score(Reconstruction(values), truth())
    assert found.value == pytest.approx(6 / 8)
    assert found.members == found.nonmembers == pytest.approx(3 / 4)
    assert len(found.outcomes["success"]) == N and "label_recovery" not in found.extra


def test_a_blurry_likeness_of_a_common_picture_is_no_recovery() -> None:
    # A second picture of the same thing at 30 dB: 28 dB is above 25 dB, yet no nearer than that.
    known = truth()
    victims = known.victims
    assert victims is not None
    x = victims.records.x
    noise = torch.randn(x.shape, generator=generator(1))
    crowd = known.splits.test.x.clone()
    crowd[0] = x[0] + 10 ** (-30 / 20) * noise[0]
    test = dataclasses.replace(known.splits.test, x=crowd)
    busy = dataclasses.replace(known, splits=dataclasses.replace(known.splits, test=test))
    guess = Reconstruction((x + 10 ** (-28 / 20) * noise).clamp(0, 1))
    assert bool(score(guess, known).outcomes["success"][0])
    assert not bool(score(guess, busy).outcomes["success"][0])


def test_the_record_itself_is_no_other_record() -> None:
    pool = torch.rand(6, *SHAPE, generator=generator(2))
    twice = torch.cat([pool, pool[:1]])
    torch.testing.assert_close(nearest_other(pool, pool), nearest_other(pool, twice))
    assert float(nearest_other(pool, pool).max()) < 20


def test_what_is_refused() -> None:
    victims = truth().victims
    assert victims is not None
    x = victims.records.x
    with pytest.raises(UserError, match="one image per victim"):
        score(Reconstruction(x[:4]), truth())
    with pytest.raises(UserError, match="returned 3 labels"):
        score(Reconstruction(x, labels=torch.zeros(3, dtype=torch.int64)), truth())
    with pytest.raises(DivergedError):
        score(Reconstruction(x * torch.nan), truth())
    with pytest.raises(UserError, match="needs victims"):
        score(Reconstruction(x), dataclasses.replace(truth(), federation=None))


# ---------------------------------------------------------------- tables
def table(batch: int = 1) -> Truth:
    known = table_truth(Federation(batch, records=8))
    assert known.victims is not None
    return known


def table_truth(federation: Federation) -> Truth:
    fields = (
        Column("c", "category", (0, 3), ("x", "y", "z")),
        Column("n", "number", (3, 4)),
        Column("m", "number", (4, 5)),
    )
    card = Card("t", "credit", "table", (5,), ("a", "b"), "record", "s", "t", True, fields=fields)
    g = generator(0)
    codes = torch.nn.functional.one_hot(torch.randint(3, (60,), generator=g), 3).float()
    x = torch.cat([codes, 3 * torch.randn(60, 2, generator=g)], 1)
    full = Split(x, torch.arange(60) % 2, torch.arange(60))
    parts = [full.take(torch.arange(i, i + 20)) for i in (0, 20, 40)]
    victims = Victims(full.take(torch.arange(16, 24)), torch.arange(8) < 4)
    return Truth(Splits(card, *parts), victims, None, {}, federation)


def test_columns_of_a_table_are_counted() -> None:
    known = table()
    assert known.victims is not None
    x = known.victims.records.x
    scale = known.splits.public.x[:, 3].std(correction=0)
    guess = x.clone()
    guess[:, 3] += 0.31 * scale  # within the tolerance
    guess[:, 4] += 10.0  # far off
    guess[:4, :3] = guess[:4, :3].roll(1, 1)  # members: the wrong category
    found = score(Reconstruction(guess), known)
    assert (found.metric, found.ceiling) == ("columns_recovered", 1.0)
    assert found.members == pytest.approx(1 / 3) and found.nonmembers == pytest.approx(2 / 3)
    assert found.extra["categorical"] == pytest.approx(0.5)
    assert found.extra["numeric"] == pytest.approx(0.5) and found.extra["exact"] == 0.0
    guess[:, 3] += 0.02 * scale
    assert score(Reconstruction(guess), known).extra["numeric"] == 0.0


def test_a_batch_of_rows_is_matched_within_its_client() -> None:
    known = table(batch=4)
    assert known.victims is not None
    x, y = known.victims.records.x, known.victims.records.y
    within = torch.tensor([2, 0, 3, 1, 5, 4, 7, 6])
    found = score(Reconstruction(x[within], labels=y[within]), known)
    assert found.value == found.extra["exact"] == found.extra["label_matched"] == 1.0
    swapped = torch.arange(8).roll(4)
    assert score(Reconstruction(x[swapped]), known).value < 0.8
    with pytest.raises(UserError, match="one record per victim"):
        score(Reconstruction(x[:4]), known)
