"""The interval of the largest leakage of several attacks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from bench.report import stats, worst_of

RNG = np.random.default_rng(0)


def test_one_attack_of_middling_leakage_has_the_t_interval() -> None:
    x = RNG.normal(0.5, 0.1, (1, 10))
    expected = scipy_stats.t.interval(0.95, 9, loc=x.mean(), scale=scipy_stats.sem(x[0]))
    low, high = worst_of.interval(x, [1000])
    assert (low, high) == pytest.approx(expected, abs=0.01)
    assert low <= expected[0] and high >= expected[1]


def test_without_any_success_the_end_is_that_of_so_many_victims() -> None:
    # PROTOCOL 3.2: nobody of 10 x 20 people named; 1 - .025 ** (1 / 200)
    assert worst_of.interval(np.zeros((1, 10)), [20]) == pytest.approx((0, 0.01828), abs=1e-4)
    low, high = worst_of.interval(np.full((1, 10), -0.1), [20])
    assert (low, high) == pytest.approx((-0.1, 0.01828), abs=1e-4)
    assert worst_of.interval(np.ones((1, 10)), [20]) == pytest.approx((0.98172, 1), abs=1e-4)


def test_no_interval_is_empty() -> None:
    for level in (0.0, 0.3, 1.0):
        low, high = worst_of.interval(np.full((2, 5), level), [30, 30])
        assert low < high


def test_an_unknown_number_of_victims_counts_as_one_a_seed() -> None:
    x = np.zeros((1, 6))
    assert worst_of.interval(x, [np.nan]) == worst_of.interval(x, [1])
    assert worst_of.interval(x, [np.nan])[1] > 0.4


def test_few_seeds_of_a_clustered_share_are_worth_few_victims() -> None:
    # One target in six gives everybody away, the others nobody.
    _, clustered = worst_of.interval(np.array([[0, 0, 0, 0, 0, 0.6]]), [20])
    _, spread = worst_of.interval(np.full((1, 6), 0.1), [20])
    assert clustered > 2 * spread


def test_one_seed_has_no_interval() -> None:
    assert np.isnan(worst_of.interval(np.array([[0.4, np.nan]]), [20])).all()
    both = np.array([[0.4, np.nan, np.nan], [0.1, 0.2, 0.15]])
    assert worst_of.interval(both, [20, 20]) == worst_of.interval(both[1:], [20])


def test_the_correction_lies_between_none_and_bonferroni() -> None:
    x = RNG.normal(0, 1, (8, 10))
    copies = np.repeat(x[:1], 8, axis=0) + RNG.normal(0, 0.01, (8, 10))
    unrelated, alike = worst_of.joint_tail(x, 0.025), worst_of.joint_tail(copies, 0.025)
    assert unrelated * 1.3 > 0.025 / 8 and unrelated < 0.01 < alike <= 0.025
    assert worst_of.joint_tail(np.repeat(x[:1], 8, axis=0), 0.025) == pytest.approx(0.025, rel=0.15)


def test_an_attack_that_is_far_below_the_worst_hardly_matters() -> None:
    strong = RNG.normal(0.6, 0.05, (1, 10))
    weak = RNG.normal(0.1, 0.05, (1, 10))
    low, high = worst_of.interval(np.vstack([strong, weak]), [100, 100])
    alone = worst_of.interval(strong, [100])
    assert low == pytest.approx(alone[0], abs=0.02) and high == pytest.approx(alone[1], abs=0.02)


def test_ends_of_a_figure_that_may_be_negative_are_not_cut() -> None:
    x = RNG.normal(-0.2, 0.01, (1, 8))
    expected = scipy_stats.t.interval(0.95, 7, loc=x.mean(), scale=scipy_stats.sem(x[0]))
    assert worst_of.ends(x) == pytest.approx(expected)


@pytest.mark.parametrize("attacks", [1, 5])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.5, 0.97])
def test_the_interval_holds_the_worst_case(attacks: int, rate: float) -> None:
    rng = np.random.default_rng(1)
    seeds, victims, runs = 6, 20, 150
    held = 0
    for _ in range(runs):
        x = rng.binomial(victims, rate, (attacks, seeds)) / victims
        low, high = worst_of.interval(x, np.full(attacks, victims))
        held += low <= rate <= high
    assert held / runs >= 0.93


def test_equal_rows_are_hardly_ever_told_apart_from_the_first() -> None:
    rng = np.random.default_rng(2)
    runs, apart = 100, 0
    for _ in range(runs):
        x = rng.normal(0.5, 0.1, (1, 8)) + rng.normal(0, 0.2, (12, 8))
        apart += bool((stats.tie_ranks(x[x.mean(axis=1).argsort()]) > 1).any())
    assert apart / runs <= 0.12


def test_a_clear_difference_is_a_place_with_few_seeds() -> None:
    # L = .33 and .00 over six seeds of sixteen rows do not share a place.
    rng = np.random.default_rng(3)
    means = np.array([0.0, *np.full(14, 0.2), 0.33])
    x = means[:, None] + rng.normal(0, 0.06, (16, 6))
    ranks = stats.tie_ranks(x[x.mean(axis=1).argsort()])
    assert ranks[-1] > 1


def test_members_of_one_target_have_an_interval_over_people() -> None:
    x = np.array([[0.02, 0.02], [-0.5, -0.5]])
    low, high = worst_of.ends_of_one_target(x, [0.01, 0.01], [1000, 1000])
    reach = scipy_stats.norm.isf(0.0125) * 0.01  # two attacks at once
    assert (low, high) == pytest.approx((0.02 - reach, 0.02 + reach))
    assert np.isnan(worst_of.ends_of_one_target(x, [np.nan, np.nan], [10, 10])).all()


def test_members_that_nobody_tells_apart_leave_room_for_few_people() -> None:
    ends = [
        worst_of.ends_of_one_target(np.zeros((1, 3)), [0.0], [victims])[1]
        for victims in (20, 100, 10_000, np.nan)
    ]
    # PROTOCOL 8.1: sqrt(2 p (1 - p) / (n + 2)), p = 1 / (n + 2), n = 100
    assert ends[1] == pytest.approx(1.96 * (2 * (1 / 102) * (101 / 102) / 102) ** 0.5, abs=1e-4)
    assert ends[0] > ends[1] > ends[2] and ends[3] > 0.5
