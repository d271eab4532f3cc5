"""How sure the worst of several attacks is: its interval over seeds (PROTOCOL 3.2)."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from bench.report.stats import ALPHA, ZERO_SPREAD, Floats, normal, reach


def interval(
    by_seed: Floats,
    victims: ArrayLike,
    base: ArrayLike = 0.0,
    ceiling: ArrayLike = 1.0,
    paired: bool = False,
    alpha: float = ALPHA,
) -> tuple[float, float]:
    """An interval of the largest mean of several attacks.

    Cut to [0, 1] it is that of the worst case, in which an attacker may also go without the model.

    With probability ``1 - alpha`` the intervals of all attacks hold their means at once: the most
    and the least that the largest can be are then the largest upper and the largest lower end. So
    it does not matter that the same seeds chose the attack that is shown.

    Each attack's own interval joins two. Student's t interval is right where the mean is normal.
    Where success is near 0 or 1 it is too short, and empty where all seeds agree; there the exact
    binomial interval of the success holds (:func:`binomial`), on the scale of leakage.

    Args:
        by_seed: leakage ``[attacks, seeds]`` of one row; NaN where an attack lacks a seed.
        victims: victims of one seed ``[attacks]``; NaN where it is unknown, which counts as 1.
        base: success at which leakage is 0 ``[attacks]``, a mean over seeds.
        ceiling: success at which it is 1, likewise.
        paired: whether success is a gain over a baseline on the same victims. Such a gain may well
            move less over seeds than a share of so many victims does.
        alpha: how often it may miss.

    Returns:
        Its ends, unclipped; NaN where no attack has two seeds.
    """
    known = _known(by_seed)
    if not known.any():
        return np.nan, np.nan
    x = by_seed[known]
    units, zero, one = (
        np.broadcast_to(np.asarray(value, dtype=float), known.shape)[known]
        for value in (victims, base, ceiling)
    )
    mean, error, n = _moments(x)
    tail = joint_tail(x, alpha / 2)
    width = stats.t.isf(tail, n - 1) * error
    room = one - zero
    # Who does worse than without the model is one who goes without: so many victims tell no less.
    gain, spread = mean.clip(0, 1) * room, np.where(mean > 0, error, 0) * room
    exact = binomial(zero + gain, spread, n, np.nan_to_num(units, nan=1), tail, paired)
    low, high = ((end - zero) / room for end in exact)
    lower, upper = np.minimum(low, mean - width).max(), np.maximum(high, mean + width).max()
    return float(lower), float(upper)


def ends(by_seed: Floats, alpha: float = ALPHA) -> tuple[float, float]:
    """An interval of the largest mean of several attacks, by Student's t alone and unclipped.

    Args:
        by_seed: a figure that may be negative ``[attacks, seeds]``, NaN where a seed lacks.
        alpha: how often it may miss.

    Returns:
        Its ends; NaN where no attack has two seeds.
    """
    known = _known(by_seed)
    if not known.any():
        return np.nan, np.nan
    mean, error, n = _moments(by_seed[known])
    width = stats.t.isf(joint_tail(by_seed[known], alpha / 2), n - 1) * error
    return float((mean - width).max()), float((mean + width).max())


def of_one_target(
    by_seed: Floats,
    victim_error: ArrayLike,
    victims: ArrayLike,
    base: ArrayLike = 0.0,
    ceiling: ArrayLike = 1.0,
    paired: bool = False,
    alpha: float = ALPHA,
) -> tuple[float, float]:
    """The same of attacks on one target, over the people attacked and over the attacks' own seeds.

    Each attack's interval adds both errors in squares (:func:`bench.report.stats.reach`) and is
    widened to the exact binomial interval of its victims; Bonferroni's correction makes all of them
    hold at once. An attack whose error is not known may find anything: then the upper end is 1.

    Args:
        by_seed: leakage ``[attacks, seeds]``, where seeds differ in attack and victims alone.
        victim_error: standard error over victims ``[attacks]``; NaN: not known.
        victims: of one seed ``[attacks]``; NaN where it is unknown, which counts as 1.
        base: success at which leakage is 0 ``[attacks]``.
        ceiling: success at which it is 1, likewise.
        paired: as in :func:`interval`: then the number of victims does not bound what is known.
        alpha: how often it may miss.

    Returns:
        Its ends, unclipped; NaN where the error of no attack is known.
    """
    mean, over_victims, over_seeds, n = one_target(by_seed, victim_error)
    known = np.isfinite(over_victims)
    if not known.any():
        return np.nan, np.nan
    unknown = float((np.isfinite(mean) & ~known).any())
    tail = alpha / 2 / known.sum()
    mean, width = mean[known], reach(over_victims, over_seeds, n, tail)[known]
    units, zero, one = (
        np.broadcast_to(np.asarray(value, dtype=float), known.shape)[known]
        for value in (victims, base, ceiling)
    )
    room, share = one - zero, (zero + mean.clip(0, 1) * (one - zero)).clip(0, 1)
    error, most = width / stats.norm.isf(tail), np.nan_to_num(units, nan=1)
    exact = _clopper(share, _size(share, error * room, most, 1.0, paired), tail)
    low, high = ((end - zero) / room for end in exact)
    lower, upper = np.minimum(low, mean - width).max(), np.maximum(high, mean + width).max()
    return float(lower), float(max(upper, unknown))


def ends_of_one_target(
    by_seed: Floats, victim_error: ArrayLike, victims: ArrayLike, alpha: float = ALPHA
) -> tuple[float, float]:
    """The same of a difference that may be negative, such as that of members to non-members.

    Where nobody is told apart the people resampled show no spread at all. So each attack's error is
    at least that of two groups of so many people among whom one more of each is counted on either
    side (Agresti and Caffo, The American Statistician 54, 2000). An attack whose error is not known
    may tell everybody apart: then the upper end is 1.

    Args:
        by_seed: a figure ``[attacks, seeds]``, NaN where an attack lacks a seed.
        victim_error: its standard error over victims ``[attacks]``; NaN: not known.
        victims: of one seed ``[attacks]``; NaN where it is unknown, which counts as 1.
        alpha: how often it may miss.

    Returns:
        Its ends, unclipped; NaN where the error of no attack is known.
    """
    mean, over_victims, over_seeds, n = one_target(by_seed, victim_error)
    known = np.isfinite(over_victims) & np.isfinite(mean)
    if not known.any():
        return np.nan, np.nan
    unknown = 1.0 if (np.isfinite(mean) & ~known).any() else -np.inf
    size = np.nan_to_num(victims, nan=1) + 2
    least = np.maximum(over_victims, 2 * (1 - 1 / size) / size**2 - over_seeds)
    width = reach(least, over_seeds, n, alpha / 2 / known.sum())
    lower, upper = (mean - width)[known].max(), (mean + width)[known].max()
    return float(lower), float(max(upper, unknown))


def one_target(by_seed: Floats, victim_error: ArrayLike) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean over seeds, its variance over victims and over seeds, and how many seeds.

    Each is ``[attacks]``.

    Args:
        by_seed: a figure ``[attacks, seeds]``, NaN where an attack lacks a seed.
        victim_error: its standard error over victims in one seed ``[attacks]``. Seeds share
            victims, so it is not lessened by their number.
    """
    n = (~np.isnan(by_seed)).sum(axis=1).astype(float)
    mean = np.nansum(by_seed, axis=1) / np.where(n > 0, n, np.nan)
    square = np.nansum((by_seed - mean[:, None]) ** 2, axis=1) / np.maximum(n - 1, 1)
    over_seeds = np.where(n >= 2, square / np.maximum(n, 1), 0.0)
    return mean, np.asarray(victim_error, dtype=float) ** 2, over_seeds, n


def _known(by_seed: Floats) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = (~np.isnan(by_seed)).sum(axis=1) >= 2
    return known


def _moments(by_seed: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, its standard error, and the number of seeds, each ``[attacks]``."""
    n = (~np.isnan(by_seed)).sum(axis=1).astype(float)
    return np.nanmean(by_seed, axis=1), np.nanstd(by_seed, axis=1, ddof=1) / np.sqrt(n), n


def joint_tail(by_seed: Floats, tail: float) -> float:
    """The tail of one attack's t statistic at which the largest of all has ``tail``.

    The distribution of the largest is simulated: normal seeds with the correlation that these seeds
    show between the attacks, each attack with its own estimate of the spread. Attacks that nearly
    agree need hardly any correction, unrelated ones that of Bonferroni.

    Args:
        by_seed: ``[attacks, seeds]``, NaN where an attack lacks a seed; at least two of each.
        tail: probability that any of the attacks exceeds its end.
    """
    centred = np.nan_to_num(by_seed - np.nanmean(by_seed, axis=1, keepdims=True))
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    moves = length[:, 0] > ZERO_SPREAD
    if moves.sum() <= 1:
        return tail
    seeds = by_seed.shape[1]
    means, spreads = _drawn(seeds)
    loads = (centred[moves] / length[moves]).T
    variance = spreads @ (loads[:, None] * loads).reshape(seeds * seeds, -1)
    t = means @ loads / np.sqrt(variance / seeds)
    level = float(stats.t.sf(np.quantile(t.max(axis=1), 1 - tail), seeds - 1))
    return min(tail, level)


@cache
def _drawn(seeds: int) -> tuple[Floats, Floats]:
    """Of :func:`normal`, means ``[draws, seeds]`` and covariances ``[draws, seeds * seeds]``."""
    draws = normal(seeds)
    means = draws.mean(axis=1)
    centred = draws - means[:, None]
    covariances = centred.transpose(0, 2, 1) @ centred / (seeds - 1)
    return means, covariances.reshape(len(draws), -1)


def binomial(
    mean: Floats, error: Floats, n: ArrayLike, victims: Floats, tail: float, paired: bool = False
) -> tuple[Floats, Floats]:
    """The Clopper-Pearson interval of a share whose victims come in seeds.

    After Korn and Graubard (Survey Methodology 24, 1998): the number of victims is replaced by the
    number of independent ones that would give the standard error which was observed, and lessened
    because few seeds estimate that error. It is at most the number of victims, unless the share is
    a gain over a paired baseline, and that number where the mean is 0 or 1 or all seeds agree.

    Args:
        mean: ``[attacks]``; taken into [0, 1].
        error: standard error of the mean over seeds ``[attacks]``.
        n: seeds, at least 2 ``[attacks]``.
        victims: of one seed ``[attacks]``.
        tail: how often either end may be missed.
        paired: see :func:`interval`.
    """
    n = np.asarray(n, dtype=float)
    share, most = np.clip(mean, 0, 1), n * victims
    few = (stats.t.isf(tail, np.maximum(most - 1, 1)) / stats.t.isf(tail, n - 1)) ** 2
    return _clopper(share, _size(share, error, most, few, paired), tail)


def _size(share: Floats, error: Floats, most: Floats, few: ArrayLike, paired: bool) -> Floats:
    """How many independent victims would give the error that was observed.

    Args:
        share: of successes, in [0, 1].
        error: its standard error; where it is 0, or the share 0 or 1, there are ``most``.
        most: victims.
        few: factor by which an error that few seeds estimate lessens them.
        paired: see :func:`interval`.
    """
    inside = (share > 0) & (share < 1) & (error > ZERO_SPREAD)
    seen = share * (1 - share) / np.where(inside, error, 1.0) ** 2 * np.asarray(few)
    size: Floats = np.where(inside, seen if paired else np.minimum(most, seen), most)
    return size


def _clopper(share: Floats, size: Floats, tail: float) -> tuple[Floats, Floats]:
    """The Clopper-Pearson interval of shares of so many."""
    hits = share * size
    low = np.where(hits > 0, stats.beta.ppf(tail, np.maximum(hits, 1e-9), size - hits + 1), 0.0)
    high = np.where(size > hits, stats.beta.isf(tail, hits + 1, np.maximum(size - hits, 1e-9)), 1.0)
    return low, high
