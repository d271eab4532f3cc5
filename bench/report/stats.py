"""Statistics over seeds: a seed is one independently split and trained target (PROTOCOL 3)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

ALPHA = 0.05
MARGIN = 0.05
"""Smallest difference that matters in practice (PROTOCOL 3.3)."""

SPLIT_SEEDS = 5
"""Fewest seeds of which some only choose a setting."""
WIDTH = 0.05
"""Half width of an interval that boards aim at."""
EXACT_SEEDS = 15
"""Most seeds whose sign flips are enumerated."""

Floats = NDArray[np.float64]
ZERO_SPREAD = 1e-12  # floating-point dust of equal values
_DRAWS = 4000  # a probability's standard error is at most .008
_JOINT = 2000  # the level of a joint interval has a standard error of at most .0035
_CHUNK = 1 << 20  # numbers of one array
_DIGITS = 9  # equal rows stay equal in spite of rounding


def selection(seeds: Iterable[int]) -> frozenset[int]:
    """The seeds that choose a tuned setting: the first third, rounded up (PROTOCOL 3.7).

    Figures are reported on the others, because the least of several noisy means is too small.
    Empty below ``SPLIT_SEEDS`` seeds: there all of them choose and report.
    """
    ordered = sorted(set(seeds))
    return frozenset(ordered[: selection_size(len(ordered))])


def selection_size(seeds: int) -> int:
    """How many of so many seeds choose a tuned setting."""
    return math.ceil(seeds / 3) if seeds >= SPLIT_SEEDS else 0


def half_width(sd: ArrayLike, n: ArrayLike, alpha: float = ALPHA) -> Floats:
    """Half the width of the Student-t interval of a mean; NaN where ``n < 2``.

    Args:
        sd: standard deviations over seeds (one delta degree of freedom).
        n: numbers of seeds, same shape.
        alpha: how often the interval may miss the mean.
    """
    sd, n = np.asarray(sd, dtype=float), np.asarray(n, dtype=float)
    counted = np.where(n >= 2, n, np.nan)
    width: Floats = stats.t.ppf(1 - alpha / 2, counted - 1) * sd / np.sqrt(counted)
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
        spread = sd[name].mask(sd[name] < ZERO_SPREAD, 0.0)
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
    flat = sd < ZERO_SPREAD
    t = np.divide(mean, sd / np.sqrt(n), out=np.zeros_like(mean), where=~flat)
    p: Floats = 2 * stats.t.sf(np.abs(t), n - 1)
    exact = np.where(np.abs(mean) < ZERO_SPREAD, 1.0, 2.0 ** (1 - n))
    return np.where(flat, exact, p)


def reach(known: ArrayLike, estimated: ArrayLike, n: ArrayLike, tail: ArrayLike) -> Floats:
    """Half the width of an interval whose error has two parts, one of them from few values.

    It is Student's, with ``n - 1`` degrees of freedom over the share of the estimated part.
    Satterthwaite (Biometrics Bulletin 2, 1946) takes that share squared, for which the share itself
    is too uncertain with three values (PROTOCOL 3.2).

    Args:
        known: variance that counts as known.
        estimated: variance of a mean, estimated from ``n`` values; 0: nothing was estimated.
        n: values.
        tail: how often either end may be missed.
    """
    known, estimated, n = (np.asarray(a, dtype=float) for a in (known, estimated, n))
    both = known + estimated
    freedom = np.maximum(n - 1, 1) * np.divide(
        both, estimated, out=np.full(both.shape, np.inf), where=estimated > 0
    )
    width: Floats = stats.t.isf(tail, freedom) * np.sqrt(both)
    return width


def flip_p(gaps: ArrayLike) -> Floats:
    """Two-sided p of the exact sign-flip permutation test of each row of paired differences.

    All ``2**n`` ways to swap the sides of ``n`` pairs are enumerated; the p is the share whose sum
    is at least as far from 0. It cannot be less than ``2 / 2**n``.

    Args:
        gaps: differences ``[rows, seeds]``; NaN where a row lacks a seed.

    Returns:
        p ``[rows]``; NaN for fewer than two or more than ``EXACT_SEEDS`` pairs.
    """
    gaps = np.asarray(gaps, dtype=float)
    counts = (~np.isnan(gaps)).sum(axis=1)
    out = np.full(len(gaps), np.nan)
    for n in np.unique(counts[(counts >= 2) & (counts <= EXACT_SEEDS)]):
        rows = np.flatnonzero(counts == n)
        pairs = gaps[rows]
        pairs = pairs[~np.isnan(pairs)].reshape(len(rows), n)
        # The other half of all flips are these with the opposite sign: the same distance from 0.
        flips = 1.0 - 2.0 * (np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1)
        step = max(1, _CHUNK // len(flips))
        for start in range(0, len(rows), step):
            part = pairs[start : start + step]
            far = np.abs(part.sum(axis=1)) - ZERO_SPREAD
            out[rows[start : start + step]] = (np.abs(part @ flips.T) >= far[:, None]).mean(axis=1)
    return out


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

    A row opens a new group where it leaks more than the first row of the current group: the
    interval of the paired difference lies above 0 and the difference is at least ``MARGIN``.
    Rows are compared with the first of their group only, and the intervals of all comparisons with
    it hold at once (:func:`leaders_tail`).

    Args:
        by_seed: leakage ``[rows, seeds]``, rows from least to most mean leakage, NaN where a row
            lacks a seed.

    Returns:
        Ranks ``[rows]`` from 1; NaN for a row with fewer than two seeds in common with its leader.
    """
    ranks = np.full(len(by_seed), np.nan)
    first = np.flatnonzero((~np.isnan(by_seed)).sum(axis=1) >= 2)
    alpha = 2 * leaders_tail(by_seed[first]) if len(first) else ALPHA
    leader = int(first[0]) if len(first) else len(by_seed)
    while leader < len(by_seed):
        gaps = pd.DataFrame((by_seed[leader:] - by_seed[leader]).T)
        n, mean, sd = gaps.count().to_numpy(), gaps.mean().to_numpy(), gaps.std().to_numpy()
        apart = (mean >= MARGIN) & (mean - half_width(sd, n, alpha) > 0)
        size = int(apart.argmax()) if apart.any() else len(apart)
        ranks[leader : leader + size] = np.where(n[:size] >= 2, leader + 1, np.nan)
        leader += size
    return ranks


def leaders_tail(by_seed: Floats, tail: float = ALPHA) -> float:
    """The tail of a t statistic at which no row of equal ones differs from the first, by chance.

    Which row is the first was decided by the same seeds. So that choice is simulated too: normal
    seeds, all true means equal; of each draw the row with the least mean is compared with every
    other. Rows vary together as these seeds show, or not at all: what asks for more counts.

    Args:
        by_seed: ``[rows, seeds]``, NaN where a row lacks a seed; at least two of each.
        tail: probability that some row is told apart from the first.

    Returns:
        The tail of one comparison, at most ``tail`` and at least Bonferroni's for all pairs.
    """
    rows, seeds = by_seed.shape
    if rows < 2 or seeds < 2:
        return tail
    centred = np.nan_to_num(by_seed - np.nanmean(by_seed, axis=1, keepdims=True))
    scale = np.abs(centred).max()
    if scale < ZERO_SPREAD:
        return tail
    seen = _furthest(normal(seeds) @ (centred / scale).T, tail)
    most = max(seen, _furthest_of_equals(rows, seeds, tail))
    least = tail / (rows * (rows - 1))  # of all pairs, either way round
    return float(np.clip(stats.t.sf(most, seeds - 1), least, tail))


def _furthest(x: Floats, tail: float) -> float:
    """The t statistic that the row furthest from the least one exceeds with probability ``tail``.

    Args:
        x: draws of rows with equal true means ``[draws, seeds, rows]``.
        tail: the probability.
    """
    gaps = x - np.take_along_axis(x, x.mean(axis=1).argmin(axis=1)[:, None, None], axis=2)
    spread = gaps.std(axis=1, ddof=1)
    moves = spread > 1e-6
    t = np.divide(gaps.mean(axis=1), spread, out=np.zeros_like(spread), where=moves)
    return float(np.quantile(t.max(axis=1), 1 - tail)) * math.sqrt(x.shape[1])


@cache
def _furthest_of_equals(rows: int, seeds: int, tail: float) -> float:
    """The same of rows that have nothing in common but what cancels in their differences.

    Few seeds span few directions: the covariance that they show leaves out most of what many rows
    can do.
    """
    rng = np.random.default_rng(1)
    return _furthest(rng.standard_normal((_JOINT, seeds, rows)), tail)


@cache
def normal(seeds: int) -> Floats:
    """Independent normal numbers ``[draws, seeds, seeds]``, the same in every call."""
    return np.random.default_rng(0).standard_normal((_JOINT, seeds, seeds))


def seeds_for(sd: ArrayLike, width: float = WIDTH) -> Floats:
    """Fewest seeds whose 95% t interval has a half width of at most ``width``.

    Args:
        sd: standard deviations over seeds, taken for the true ones. An estimate from few seeds
            makes this a rough guide.
        width: half width wanted, above 0.

    Returns:
        The least ``n >= 2`` with ``n >= (t_{n-1} sd / width)**2``; NaN where ``sd`` is 0 (which is
        no certainty) or NaN.
    """
    ratio = np.asarray(sd, dtype=float) / width
    known = ratio > ZERO_SPREAD
    wanted = np.where(known, ratio, 1.0)
    # Halved until they meet: a bar just above a mean asks for millions of seeds.
    low, high = np.full_like(wanted, 2.0), np.ceil((2 * wanted) ** 2) + 20
    while (low < high).any():
        middle = np.floor((low + high) / 2)
        enough = half_width(1.0, middle) * wanted <= 1
        low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
    return np.where(known, high, np.nan)


def front_probability(
    utility: ArrayLike, leakage: ArrayLike, draws: int = _DRAWS, seed: int = 0
) -> Floats:
    """Probability that each row is on the Pareto front of true mean utility and leakage.

    Mean vectors are drawn from the multivariate t distribution around the observed means, with the
    covariance over seeds: what two rows share in a seed moves both. A row leaves the front of a
    draw where another is at least as useful and leaks no more, and is better in one of the two.

    Args:
        utility: ``[rows, seeds]``, more is better; NaN where a row lacks a seed.
        leakage: the same for leakage, less is better.
        draws: how many mean vectors.
        seed: of the draws.

    Returns:
        Shares of draws ``[rows]``; NaN for rows with fewer than two seeds of either, which do not
        compete.
    """
    both = np.stack([np.asarray(utility, dtype=float), np.asarray(leakage, dtype=float)])
    n = (~np.isnan(both)).sum(axis=2)
    able = (n >= 2).all(axis=0)
    out = np.full(both.shape[1], np.nan)
    if not able.any():
        return out
    both, n = both[:, able], n[:, able]
    mean = np.nanmean(both, axis=2, keepdims=True)
    centred = np.nan_to_num(both - mean) / np.sqrt(n * (n - 1))[:, :, None]
    rng = np.random.default_rng(seed)
    kept = np.zeros(able.sum())
    step = max(1, _CHUNK // able.sum())
    for start in range(0, draws, step):
        size = min(step, draws - start)
        noise = rng.standard_normal((size, both.shape[2]))
        tails = {k: _tails(int(k), draws, seed)[start : start + size] for k in np.unique(n)}
        spread = np.stack([[tails[k] for k in of] for of in n]).transpose(0, 2, 1)
        drawn = mean.transpose(0, 2, 1) + noise @ centred.transpose(0, 2, 1) * spread
        kept += _undominated(*np.round(drawn, _DIGITS)).sum(axis=0)
    out[able] = kept / draws
    return out


@cache
def _tails(n: int, draws: int, seed: int) -> Floats:
    """What turns normal draws of a mean of ``n`` seeds into draws of a t distribution.

    One level of chance for all ``n``: with equal seeds this is one chi-square for a whole vector.
    """
    level = np.random.default_rng([seed, 1]).random(draws)
    tails: Floats = np.sqrt((n - 1) / stats.chi2.ppf(level, n - 1))
    return tails


def _undominated(utility: Floats, leakage: Floats) -> NDArray[np.bool_]:
    """Which points ``[draws, rows]`` no other point of the draw dominates."""
    order = np.lexsort((leakage, -utility), axis=1)
    u, low = (np.take_along_axis(values, order, axis=1) for values in (utility, leakage))
    # Points of equal utility stand together, the one that leaks least first.
    opens = np.diff(u, axis=1, prepend=np.inf) != 0
    first = np.maximum.accumulate(np.where(opens, np.arange(u.shape[1]), 0), axis=1)
    least = np.minimum.accumulate(low, axis=1)
    before = np.take_along_axis(least, np.maximum(first - 1, 0), axis=1)
    before = np.where(first > 0, before, np.inf)
    stays = (low < before) & (low <= np.take_along_axis(low, first, axis=1))
    out = np.empty_like(stays)
    np.put_along_axis(out, order, stays, axis=1)
    return out
