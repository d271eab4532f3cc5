"""Detectors against hand-worked streams; audits that see the same however they are asked."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import shapiro

from bench.contract import Card, Gateway, Owner, Stream, Traffic, UserError, generator
from bench.data.traffic import benign
from defenses.common.detectors import DETECTORS, Concentration, Ood, Prada, Stateful, Volume
from defenses.common.streams import Queries as Asked
from defenses.common.streams import alarm, largest, threshold
from defenses.probe_audit import ProbeAudit
from tests.models.records import table

SPLITS = table(n=300)
CARD: Card = SPLITS.card


def scores(x: torch.Tensor) -> torch.Tensor:
    up = x.flatten(1)[:, :2].sum(1)
    return torch.stack([-up, up], 1).softmax(1)


OWNER = Owner(
    CARD,
    "classification",
    SPLITS.train,
    SPLITS.public,
    scores,
    lambda count, seed: benign(SPLITS.train, CARD, count, seed),
    "cpu",
)
MONTH = benign(SPLITS.test, CARD, 120, 5)
NAMES = sorted(DETECTORS)


def asked(x: torch.Tensor, label: torch.Tensor | None = None) -> Asked:
    return Asked(torch.arange(len(x), dtype=torch.float64), label, x)


def noise(n: int, width: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, width, generator=generator(seed))


# ---------------------------------------------------------------- thresholds
def test_a_threshold_promises_its_rate_whatever_the_number_of_accounts() -> None:
    peaks = torch.arange(1.0, 100.0)  # 99 accounts
    assert float(threshold(peaks, 0.05)) == pytest.approx(95, rel=1e-5)
    assert float(threshold(peaks, 0.01)) == pytest.approx(99, rel=1e-5)
    assert float(threshold(peaks, 0.009)) == math.inf  # 1 in 100 is the least 99 can promise
    rng, high = generator(0), []
    for _ in range(4000):
        limit = threshold(torch.randn(39, generator=rng), 0.05)
        high.append(float(torch.randn(1, generator=rng)) > limit)
    assert float(np.mean(high)) == pytest.approx(0.05, abs=0.012)


def test_accounts_never_judged_calibrate_nothing() -> None:
    silent = torch.full((200,), -math.inf)
    assert float(threshold(silent, 0.05)) == math.inf
    few = torch.cat([silent, torch.tensor([0.3, 0.5])])
    assert float(threshold(few, 0.05)) == pytest.approx(0.5, rel=1e-5)


# ---------------------------------------------------------------- statistics by hand
def test_volume_counts_the_last_days() -> None:
    times = torch.tensor([0.0, 1.0, 2.0, 2.5, 9.0], dtype=torch.float64) * 86400
    assert Volume(days=2.0).watch({}).see(Asked(times)).tolist() == [1, 2, 2, 3, 1]


def test_concentration_is_the_share_of_the_most_frequent_answer() -> None:
    label = torch.tensor([3, 3, 1, 3, 0, 1, 1, 1])
    statistic = Concentration(window=4).watch({}).see(Asked(torch.zeros(8), label))
    assert statistic.tolist() == [-math.inf] * 3 + [0.75, 0.5, 0.5, 0.5, 0.75]


def test_ood_is_a_mean_of_distances_in_and_beside_the_space() -> None:
    # References on a line, one unit apart; what is asked lies beside it.
    reference = torch.stack([torch.arange(5.0), torch.zeros(5), torch.zeros(5)], 1)
    detector = Ood(window=2, components=1)
    fitted = detector.fit(reference)
    assert fitted["units"][0] == pytest.approx(1.0)
    x = torch.tensor([[2.0, 0, 0], [2.5, 0, 0], [2.0, 3.0, 4.0]])
    inside, beside = 0.5, 5.0 / float(fitted["units"][1])
    statistic = detector.watch(fitted).see(asked(x)).tolist()
    assert statistic == pytest.approx([-math.inf, inside / 2, (inside + beside) / 2])


def test_stateful_is_the_mean_distance_to_the_nearest_earlier_queries() -> None:
    x = torch.tensor([[0.0], [3.0], [4.0], [4.0], [10.0], [0.5]])
    detector = Stateful(neighbours=2, components=None, history=3)
    statistic = detector.watch(detector.fit(x)).see(asked(x)).tolist()
    # The fourth repeats the third; the last sees 3, 4 and 10, no more the first.
    assert statistic == pytest.approx([-math.inf, -math.inf, -2.5, -math.inf, -6.5, -3.0])


def growing_sets(x: np.ndarray, label: list[int]) -> list[float]:
    """Algorithm 3 of the paper, word for word."""
    sets: dict[int, list[Any]] = {}
    grown: dict[int, list[float]] = {}
    limit: dict[int, float] = {}
    distances: list[float] = []
    for row, c in zip(x, label, strict=True):
        if c not in sets:
            sets[c], grown[c], limit[c] = [row], [0.0], 0.0
            continue
        nearest = min(float(np.linalg.norm(row - y)) for y in sets[c])
        distances.append(nearest)
        if nearest > limit[c]:
            sets[c].append(row)
            grown[c].append(nearest)
            limit[c] = max(limit[c], float(np.mean(grown[c]) - np.std(grown[c])))
    return distances


def test_prada_tests_the_distances_to_growing_sets() -> None:
    x, label = noise(173), torch.arange(173) % 3
    statistic = Prada(least=100, every=10).watch({}).see(asked(x, label))
    tested = torch.isfinite(statistic).nonzero().squeeze(1)
    d = np.array(growing_sets(x.double().numpy(), label.tolist()))
    assert (tested + 1).tolist() == [113, 123, 133, 143, 153, 163, 173]  # three open their sets
    for place in tested.tolist():
        seen = d[: place + 1 - 3]
        kept = seen[np.abs(seen - seen.mean()) <= 3 * seen.std()]
        assert float(statistic[place]) == pytest.approx(
            1 - float(shapiro(kept).statistic), abs=1e-9
        )


def test_prada_tells_distances_of_two_kinds_from_those_of_one() -> None:
    steps = torch.cat([noise(150, 64), noise(150, 64, 1) * 0.02]) + 5.0
    one, label = noise(300, 64), torch.zeros(300, dtype=torch.long)
    usual = Prada().watch({}).see(asked(one, label)).max()
    odd = (
        Prada()
        .watch({})
        .see(asked(steps[torch.randperm(300, generator=generator(3))], label))
        .max()
    )
    assert float(odd) > 0.15 > float(usual)


@pytest.mark.parametrize("name", ["prada", "stateful"])
def test_repeats_are_not_counted(name: str) -> None:
    detector = DETECTORS[name]()
    x = noise(200)
    twice = x.repeat_interleave(2, 0)
    label = torch.zeros(400, dtype=torch.long)
    fitted = detector.fit(SPLITS.public.x)
    plain = detector.watch(fitted).see(asked(x, label[:200]))
    statistic = detector.watch(fitted).see(asked(twice, label))
    torch.testing.assert_close(statistic[0::2], plain)
    assert bool(torch.isinf(statistic[1::2]).all())


@pytest.mark.parametrize("name", ["prada", "stateful"])
def test_what_is_remembered_has_an_end(name: str) -> None:
    detector = DETECTORS[name](history=50)
    x, label = noise(1500), torch.zeros(1500, dtype=torch.long)
    watch = detector.watch(detector.fit(SPLITS.public.x))
    for rows in torch.arange(1500).split(100):
        watch.see(asked(x, label).take(rows))
    assert len(watch.held) <= 50  # type: ignore[attr-defined]


# ---------------------------------------------------------------- pieces
@pytest.mark.parametrize("name", NAMES)
def test_a_stream_in_pieces_is_the_same_stream(name: str) -> None:
    detector = DETECTORS[name](**({"least": 30} if name == "prada" else {}))
    fitted = detector.fit(SPLITS.public.x)
    stream = asked(noise(260), torch.randint(3, (260,), generator=generator(2)))
    whole = detector.watch(fitted).see(stream)
    assert bool(torch.isfinite(whole).any())
    for sizes in (1, 7, 64):
        watch = detector.watch(fitted)
        parts = [watch.see(stream.take(rows)) for rows in torch.arange(260).split(sizes)]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_accounts_together_are_treated_as_each_alone_and_in_pieces(name: str) -> None:
    # A rate so high that some of few accounts are blocked.
    defense = ProbeAudit(detector=name, fpr=0.3, accounts=60, least=20)  # type: ignore[arg-type]
    fitted = defense.prepare(OWNER, 1)
    answers = scores(MONTH.x)
    together = defense.watch(fitted).admit(MONTH, answers).admitted
    if name != "concentration":  # customers of one class only are too many
        assert bool(together.any()) and not bool(together.all())
    alone = defense.watch(fitted)
    for rows in torch.arange(len(MONTH)).split(9):
        part = Traffic(MONTH.x[rows], MONTH.account[rows], MONTH.time[rows])
        assert torch.equal(alone.admit(part, answers[rows]).admitted, together[rows])
    by_label = defense.watch(fitted).admit(MONTH, answers.argmax(1)).admitted
    assert torch.equal(by_label, together)


def test_a_blocked_account_stays_blocked_and_others_do_not() -> None:
    defense = ProbeAudit(fpr=0.05, accounts=60)
    monitor = defense.watch(defense.prepare(OWNER, 1))
    assert monitor.detects
    gate = Gateway([monitor], Stream(accounts=2))
    far = torch.cat([SPLITS.test.x[:30], 50 + noise(100)])
    _, answered = gate.serve(far, scores)
    assert 30 <= int(answered.sum()) < 100
    assert [refusal[2] for refusal in gate.refusals] == [True, True]
    tame = Traffic(SPLITS.test.x[:5], torch.tensor([0, 0, 9, 1, 0]), torch.arange(5.0) + 1e6)
    admitted = monitor.admit(tame, scores(tame.x)).admitted
    assert admitted.tolist() == [False, False, True, False, False]


# ---------------------------------------------------------------- calibration
@pytest.mark.parametrize("name", ["ood", "stateful", "volume", "prada"])
def test_fresh_customers_of_other_records_are_seldom_blocked(name: str) -> None:
    defense = ProbeAudit(detector=name, fpr=0.05, accounts=200)  # type: ignore[arg-type]
    fitted = defense.prepare(OWNER, 1)
    month = benign(SPLITS.test, CARD, 200, 77)
    admitted = defense.watch(fitted).admit(month, scores(month.x)).admitted
    blocked = len(month.account[~admitted].unique()) / 200
    assert blocked <= 0.11  # 0.05 and three standard errors of two samples of 200


def test_references_and_calibration_are_of_different_records() -> None:
    drawn: list[int] = []
    poison = torch.full_like(SPLITS.train.x, torch.nan)

    def traffic(count: int, seed: int) -> Traffic:
        drawn.append(count)
        return benign(SPLITS.train, CARD, count, seed)

    train = type(SPLITS.train)(poison, SPLITS.train.y, SPLITS.train.person)
    owner = Owner(CARD, "classification", train, SPLITS.public, scores, traffic, "cpu")
    fitted = ProbeAudit(fpr=0.05, accounts=40).prepare(owner, 1)
    assert drawn == [40]
    assert all(bool(torch.isfinite(v).all()) for v in fitted.values())


def test_nothing_is_refused_at_zero() -> None:
    defense = ProbeAudit(fpr=0.0)
    fitted = defense.prepare(OWNER, 1)
    far = Traffic(99 + noise(300), torch.zeros(300, dtype=torch.long), torch.arange(300.0))
    assert bool(defense.watch(fitted).admit(far, scores(far.x)).admitted.all())


def test_an_alarm_ends_the_looking() -> None:
    stream = asked(noise(5000), torch.zeros(5000, dtype=torch.long))
    detector = Concentration(window=10)
    watch = detector.watch({})
    assert alarm(watch, stream, torch.tensor(0.5)) == (9, 1.0)
    peaks = largest(detector, {}, stream, torch.arange(5000) // 2500)
    assert peaks.tolist() == [1.0, 1.0]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_long_attack_takes_seconds(name: str) -> None:
    detector = DETECTORS[name]()
    x = noise(20_000, 256)
    stream = asked(x, torch.arange(20_000) % 7)
    started = time.perf_counter()
    fitted = detector.fit(x[:500])
    assert alarm(detector.watch(fitted), stream, torch.tensor(math.inf)) is None
    assert time.perf_counter() - started < 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fpr": 0.001, "accounts": 998}, "accounts is 998.* at least 999"),
        ({"history": 5}, "history is 5.* 10"),
    ],
)
def test_options_that_do_not_fit_each_other_are_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        ProbeAudit(**options)


def test_a_detector_refuses_an_impossible_window() -> None:
    with pytest.raises(UserError, match="window is 1"):
        Concentration(window=1)
