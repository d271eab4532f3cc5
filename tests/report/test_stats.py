from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from bench.report import stats
from tests.report import simulation


def summary(values: list[float]) -> pd.Series:
    frame = pd.DataFrame({"group": "g", "x": values})
    return stats.summarise(frame, ["group"], ["x"]).iloc[0]


def test_interval_is_scipys_t_interval_of_the_mean() -> None:
    values = [0.2, 0.35, 0.31, 0.5]
    low, high = scipy_stats.t.interval(
        0.95, len(values) - 1, loc=np.mean(values), scale=scipy_stats.sem(values)
    )
    found = summary(values)
    assert found["x"] == pytest.approx(np.mean(values))
    assert (found["x_lo"], found["x_hi"]) == pytest.approx((low, high))


def test_half_width_by_hand() -> None:
    # t_{2, .975} = 4.302653, sd 0.1, three seeds
    assert stats.half_width(0.1, 3) == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-6)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    found = summary([0.4])
    assert found["x"] == 0.4
    assert np.isnan(found["x_lo"]) and np.isnan(found["x_hi"])


def test_missing_values_are_left_out_of_the_count() -> None:
    found = summary([0.4, float("nan"), 0.6])
    assert found["x_n"] == 2
    assert found["x"] == pytest.approx(0.5)


def test_equal_values_have_no_spread_in_spite_of_rounding() -> None:
    assert summary([0.1 + 0.2, 0.3, 0.3])["x_sd"] == 0.0


def test_paired_p_is_scipys_paired_t_test() -> None:
    a, b = np.array([0.8, 0.7, 0.9, 0.75]), np.array([0.5, 0.52, 0.61, 0.6])
    gap = a - b
    p = stats.paired_p(gap.mean(), gap.std(ddof=1), len(gap))
    assert p == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue)


@pytest.mark.parametrize(
    ("mean", "n", "expected"), [(-0.3, 3, 0.25), (-0.3, 10, 2 / 1024), (0.0, 3, 1.0)]
)
def test_equal_differences_use_the_exact_sign_flip_test(
    mean: float, n: int, expected: float
) -> None:
    assert stats.paired_p(mean, 0.0, n) == pytest.approx(expected)


def test_one_pair_has_no_p() -> None:
    assert np.isnan(stats.paired_p(0.5, np.nan, 1))


def test_holm_by_hand() -> None:
    # sorted .01 .02 .03 .04 -> times 4, 3, 2, 1 = .04 .06 .06 .04 -> running maximum
    adjusted = stats.holm([0.04, 0.01, np.nan, 0.03, 0.02])
    assert adjusted == pytest.approx([0.06, 0.04, np.nan, 0.06, 0.06], nan_ok=True)


def test_holm_reproduces_the_protocols_example() -> None:
    # PROTOCOL 3.3: seven defenses, smallest p .006 -> .044 (rounded there), .033 -> .196
    adjusted = stats.holm([0.0063, 0.0327, 0.0327, 0.2, 0.3, 0.4, 0.5])
    assert adjusted[:3] == pytest.approx([0.0441, 0.1962, 0.1962])


def test_holm_never_exceeds_one() -> None:
    assert stats.holm([0.6, 0.9]).max() == 1.0


def test_rows_that_cannot_be_told_apart_share_a_rank() -> None:
    rows = np.array(
        [[0.10, 0.12, 0.11], [0.12, 0.13, 0.12], [0.50, 0.52, 0.51], [0.40, 0.75, 0.45]]
    )
    assert stats.tie_ranks(rows).tolist() == [1, 1, 3, 3]


def test_a_sure_but_negligible_gap_is_a_tie() -> None:
    assert stats.tie_ranks(np.array([[0.1, 0.2, 0.3], [0.14, 0.24, 0.34]])).tolist() == [1, 1]


def test_a_row_with_one_seed_has_no_rank() -> None:
    ranks = stats.tie_ranks(np.array([[0.1, 0.12], [0.2, np.nan], [0.8, 0.82]]))
    assert ranks.tolist() == pytest.approx([1, np.nan, 3], nan_ok=True)


@pytest.mark.parametrize(
    ("seeds", "expected"), [(1, 0), (4, 0), (5, 2), (6, 2), (9, 3), (10, 4), (20, 7)]
)
def test_the_first_third_rounded_up_selects_from_five_seeds_on(seeds: int, expected: int) -> None:
    shuffled = [10 * seed for seed in reversed(range(seeds))]
    assert stats.selection(shuffled) == {10 * seed for seed in range(expected)}


def test_flips_are_scipys_exact_permutation_test() -> None:
    rng = np.random.default_rng(0)
    gaps = rng.normal(0.1, 0.2, (3, 7))
    gaps[1, 5:] = np.nan
    for row, p in zip(gaps, stats.flip_p(gaps), strict=True):
        known = row[~np.isnan(row)]
        expected = scipy_stats.permutation_test(
            (known,), np.sum, permutation_type="samples", n_resamples=np.inf
        )
        assert p == pytest.approx(expected.pvalue)


def test_flips_of_equal_differences_are_two_of_all() -> None:
    # PROTOCOL 3.1: five seeds cannot go below .0625, ten not below .002
    p = stats.flip_p(np.vstack([np.full(10, 0.1), [*[0.1] * 5, *[np.nan] * 5]]))
    assert p == pytest.approx([2 / 1024, 0.0625])


def test_flips_need_two_pairs_and_are_not_enumerated_beyond_fifteen() -> None:
    table = np.full((3, 16), 0.1)
    table[0, 1:] = table[1, 15:] = np.nan
    assert stats.flip_p(table) == pytest.approx([np.nan, 2**-14, np.nan], nan_ok=True)


def test_seeds_for_a_width_are_the_fewest() -> None:
    for sd, width in ((0.13, 0.1), (0.13, 0.05), (0.02, 0.05), (0.4, 0.05)):
        n = float(stats.seeds_for(sd, width))
        assert stats.half_width(sd, n) <= width
        assert n == 2 or stats.half_width(sd, n - 1) > width
    # PROTOCOL 3.2: a spread of .13 needs about 10 seeds for .10 and 31 for .05
    assert stats.seeds_for([0.13, 0.13 / 2]) == pytest.approx([29, 9], abs=2)
    assert np.isnan(stats.seeds_for([0.0, np.nan])).all()
    assert stats.seeds_for(1e4) > 1e10  # a bar just above a mean: no list of all numbers below


def fronts(utility: list[list[float]], leakage: list[list[float]]) -> list[float]:
    return list(stats.front_probability(np.array(utility), np.array(leakage), draws=2000))


def test_what_is_beaten_for_sure_is_not_on_the_front() -> None:
    little = [0.0, 0.001, -0.001]
    utility = [[u + x for x in little] for u in (0.9, 0.8, 0.7, 0.85)]
    leakage = [[low + x for x in little] for low in (0.5, 0.2, 0.4, 0.8)]
    assert fronts(utility, leakage) == pytest.approx([1, 1, 0, 0], abs=0.01)


def test_equal_rows_share_the_front_and_pairing_is_kept() -> None:
    # Luck moves leakage by far more than the rows differ, but both rows alike.
    luck = np.array([0.1, 0.4, 0.7, 0.2])
    same, worse = [0.8] * 4, list(luck + 0.05)
    assert fronts([same] * 2, [list(luck)] * 2) == [1, 1]
    assert fronts([same] * 2, [list(luck), worse]) == [1, 0]
    alone = fronts([same] * 2, [list(luck), [0.45, 0.75, 0.15, 0.25]])  # unpaired: a guess
    assert 0.1 < alone[1] < 0.9


def test_rows_with_one_seed_do_not_compete() -> None:
    nan = float("nan")
    found = fronts([[0.9, nan], [0.8, 0.81]], [[0.1, nan], [0.5, 0.52]])
    assert found == pytest.approx([nan, 1], nan_ok=True)


def test_the_front_of_a_draw_is_the_one_found_by_comparing_all_pairs() -> None:
    rng = np.random.default_rng(0)
    u, low = rng.integers(0, 4, (2, 300, 6)).astype(float)  # with many ties
    at_least = (u[:, :, None] >= u[:, None]) & (low[:, :, None] <= low[:, None])
    better = (u[:, :, None] > u[:, None]) | (low[:, :, None] < low[:, None])
    np.testing.assert_array_equal(stats._undominated(u, low), ~(at_least & better).any(axis=1))


def test_two_rows_that_differ_in_leakage_only_meet_the_t_distribution() -> None:
    gap = np.array([0.03, -0.02, 0.05, 0.01, -0.01])
    p = fronts([[0.8] * 5] * 2, [[0.5] * 5, list(0.5 + gap)])
    below = scipy_stats.t.cdf(-gap.mean() / scipy_stats.sem(gap), 4)
    assert p == pytest.approx([1 - below, below], abs=0.03)


# ---------------------------------------------------------------- simulation
@pytest.mark.parametrize("seeds", [3, 5, 10, 20])
@pytest.mark.parametrize("sb", [0.05, 0.10, 0.15])
def test_t_intervals_cover_at_one_half_where_a_bootstrap_does_not(seeds: int, sb: float) -> None:
    assert 0.93 <= simulation.coverage(simulation.t_interval, seeds, 0.5, sb) <= 0.97
    if seeds <= 5:
        assert simulation.coverage(simulation.bootstrap, seeds, 0.5, sb) < 0.90


@pytest.mark.parametrize("p", [0.1, 0.9])
def test_near_the_ends_t_intervals_cover_less_and_never_less_than_the_bootstrap(p: float) -> None:
    mild = [simulation.coverage(simulation.t_interval, s, p, 0.05) for s in (3, 10, 20)]
    assert min(mild) > 0.91
    for seeds in (3, 10):
        strong = [
            simulation.coverage(interval, seeds, p, 0.15)
            for interval in (simulation.t_interval, simulation.bootstrap)
        ]
        assert strong[1] < strong[0] < 0.92  # targets at 0 or 1 hide how far others lie off


@pytest.mark.parametrize("p", [0.0, 0.01, 0.05, 0.95])
@pytest.mark.parametrize("seeds", [5, 10])
def test_what_boards_show_covers_near_the_ends(seeds: int, p: float) -> None:
    assert simulation.coverage(simulation.shown, seeds, p, 0, runs=300) >= 0.94


@pytest.mark.parametrize("attacks", [3, 10])
def test_the_worst_case_is_covered_where_the_interval_of_the_chosen_attack_does_not(
    attacks: int,
) -> None:
    found = simulation.procedure(attacks, 10, runs=400)
    assert found["shown"]["cover"] >= 0.94 > found["all"]["cover"] - 0.02 * (attacks == 3)
    assert found["shown"]["width"] < found["split"]["width"] + 0.05


def test_equal_rows_are_told_apart_on_at_most_one_board_in_twenty() -> None:
    found = simulation.false_claims(8, 6, runs=1200)
    assert found["unadjusted"] > 0.2
    assert found["holm"] < 0.065 and found["ranks"] < 0.08


def test_a_front_probability_is_as_often_right_as_it_says() -> None:
    said, true = simulation.front(0.03, 7)
    assert said.mean() == pytest.approx(true.mean(), abs=0.05)
    sure, unlikely = said > 0.8, said < 0.2
    assert true[sure].mean() > 0.8 and true[unlikely].mean() < 0.3
