from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from bench.report import stats


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
    rows = np.array([
        [0.10, 0.12, 0.11], [0.12, 0.13, 0.12], [0.50, 0.52, 0.51], [0.40, 0.75, 0.45],
    ])  # fmt: skip
    assert stats.tie_ranks(rows).tolist() == [1, 1, 3, 3]


def test_a_sure_but_negligible_gap_is_a_tie() -> None:
    assert stats.tie_ranks(np.array([[0.1, 0.2, 0.3], [0.14, 0.24, 0.34]])).tolist() == [1, 1]


def test_a_row_with_one_seed_has_no_rank() -> None:
    ranks = stats.tie_ranks(np.array([[0.1, 0.12], [0.2, np.nan], [0.8, 0.82]]))
    assert ranks.tolist() == pytest.approx([1, np.nan, 3], nan_ok=True)
