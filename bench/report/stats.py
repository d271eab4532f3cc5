"""Statistics over seeds: a seed is one independently split and trained target (PROTOCOL 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

ALPHA = 0.05
MARGIN = 0.05
"""Smallest difference that matters in practice (PROTOCOL 3.3)."""

Floats = NDArray[np.float64]
_ZERO_SPREAD = 1e-12  # floating-point dust of equal values


def half_width(sd: ArrayLike, n: ArrayLike) -> Floats:
    """Half the width of the 95% Student-t interval of a mean; NaN where ``n < 2``.

    Args:
        sd: standard deviations over seeds (one delta degree of freedom).
        n: numbers of seeds, same shape.
    """
    sd, n = np.asarray(sd, dtype=float), np.asarray(n, dtype=float)
    counted = np.where(n >= 2, n, np.nan)
    width: Floats = stats.t.ppf(1 - ALPHA / 2, counted - 1) * sd / np.sqrt(counted)
    return width


def summarise(frame: pd.DataFrame, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """Mean, spread and t interval of ``values`` over the rows (seeds) of each group.

    Args:
        frame: one row per seed and group.
        by: columns that name a group.
        values: numeric columns; NaN is left out.

    Returns:
        One row per group with the columns ``by`` and, for each value ``x``: ``x`` (mean),
        ``x_sd``, ``x_n``, ``x_lo``, ``x_hi``; interval ends are NaN where ``x_n < 2``.
    """
    groups = frame.groupby(list(by), sort=True)[list(values)]
    mean, sd, n = groups.mean(), groups.std(), groups.count()
    out: dict[str, Any] = {}
    for name in values:
        spread = sd[name].mask(sd[name] < _ZERO_SPREAD, 0.0)
        width = half_width(spread, n[name])
        out |= {
            name: mean[name],
            f"{name}_sd": spread,
            f"{name}_n": n[name],
            f"{name}_lo": mean[name] - width,
            f"{name}_hi": mean[name] + width,
        }
    return pd.DataFrame(out, index=mean.index).reset_index()


def paired_p(mean: ArrayLike, sd: ArrayLike, n: ArrayLike) -> Floats:
    """Two-sided p of a mean of paired differences; NaN where ``n < 2``.

    The paired t test. Where all differences are equal the t statistic is undefined and the exact
    sign-flip permutation test takes its place: ``2 / 2**n``, or 1 if they are all zero.
    """
    mean, sd, n = (np.asarray(a, dtype=float) for a in (mean, sd, n))
    n = np.where(n >= 2, n, np.nan)
    flat = sd < _ZERO_SPREAD
    t = np.divide(mean, sd / np.sqrt(n), out=np.zeros_like(mean), where=~flat)
    p: Floats = 2 * stats.t.sf(np.abs(t), n - 1)
    exact = np.where(np.abs(mean) < _ZERO_SPREAD, 1.0, 2.0 ** (1 - n))
    return np.where(flat, exact, p)


def holm(p: ArrayLike) -> Floats:
    """Holm's step-down adjusted p values of one family; NaN is no member of it."""
    p = np.asarray(p, dtype=float)
    out = np.full(p.shape, np.nan)
    members = np.flatnonzero(~np.isnan(p))
    order = members[np.argsort(p[members], kind="stable")]
    steps = np.arange(len(order), 0, -1)
    out[order] = np.minimum(1.0, np.maximum.accumulate(steps * p[order]))
    return out


def tie_ranks(by_seed: Floats) -> Floats:
    """Competition ranks in which rows that cannot be told apart share a rank.

    A row opens a new group where it leaks more than the first row of the current group: the 95%
    interval of the paired difference lies above 0 and the difference is at least ``MARGIN``.

    Args:
        by_seed: leakage ``[rows, seeds]``, rows from least to most mean leakage, NaN where a row
            lacks a seed.

    Returns:
        Ranks ``[rows]`` from 1; NaN for a row with fewer than two seeds in common with its leader.
    """
    ranks = np.full(len(by_seed), np.nan)
    leader = None
    for row, values in enumerate(by_seed):
        if np.sum(~np.isnan(values)) < 2:
            continue
        if leader is None:
            leader, ranks[row] = row, row + 1
            continue
        gap = values - by_seed[leader]
        gap = gap[~np.isnan(gap)]
        if len(gap) < 2:
            continue
        mean, width = gap.mean(), half_width(gap.std(ddof=1), len(gap))
        if mean >= MARGIN and mean - width > 0:
            leader = row
        ranks[row] = leader + 1
    return ranks
