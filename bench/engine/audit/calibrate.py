"""Says which statistic of an account is unusual where nobody is known to be benign."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm, t
from torch import Tensor

FEWEST = 20
"""Accounts with a statistic: fewer say nothing of a rate."""
_ROUNDS = 50
_SPREAD = 0.1
"""Smallest spread of distances that is believed, on a logarithmic scale: a tenth."""

Values = NDArray[np.float64]


def robust_limit(name: str, peaks: Tensor, fpr: float, window: int = 50) -> float:
    """What the peak of a benign account exceeds with a probability near ``fpr``.

    Peaks are compared on a scale where those of benign accounts are close to normal: logarithmic,
    and logistic for a share. Centre and spread are the median and the distance from the lower
    quartile to it, which accounts that probe hardly move: they lie above. What exceeds the limit is
    set aside and the rest measured again, until nothing changes. Then the limit may only grow, as
    far as the upper tenth of the rest says that the tail is longer than the lower half lets expect;
    it stops at a gap. The quantile is Student's, as few accounts say little of a spread.

    It works as long as fewer than half of the accounts probe, and promises no rate: where the
    peaks of benign accounts have a tail like a power law, 5 to 15 % of them exceed it.

    Args:
        name: of the detector.
        peaks: the largest statistic of each account ``[n]``, finite.
        fpr: false-positive rate per account that is aimed at.
        window: number of answers that a share is over.

    Returns:
        The limit on the scale of the detector.
    """
    values = _to_scale(name, peaks.double().numpy(), window)
    quantile = float(t.ppf(1 - fpr, df=max(len(values) / 2.5, 2.0)))
    least = _least(name, float(np.median(values)), window)
    kept = values
    limit = math.inf
    for _ in range(_ROUNDS):
        low, centre = np.quantile(kept, [0.25, 0.5])
        limit = centre + quantile * max((centre - low) / norm.ppf(0.75), least)
        inside = values[values <= limit]
        if len(inside) == len(kept):
            break
        kept = inside
    for _ in range(_ROUNDS):
        low, centre, high = np.quantile(kept, [0.25, 0.5, 0.9])
        spread = max((centre - low) / norm.ppf(0.75), (high - centre) / norm.ppf(0.9), least)
        limit = max(limit, centre + quantile * spread)
        inside = values[values <= limit]
        if len(inside) == len(kept):
            break
        kept = inside
    back = _from_scale(name, limit, window)
    # The last digits of a sum depend on the size of a piece, and an account must not exceed itself.
    return back + 1e-6 * abs(back)


def _to_scale(name: str, peaks: Values, window: int) -> Values:
    if name == "concentration":
        return np.asarray(logit((peaks * window + 0.5) / (window + 1)), dtype=np.float64)
    if name == "stateful":  # minus a distance
        return -np.log(np.maximum(-peaks, 1e-12))
    return np.log(np.maximum(peaks, 1e-12))


def _from_scale(name: str, value: float, window: int) -> float:
    if name == "concentration":
        return float((expit(value) * (window + 1) - 0.5) / window)
    if name == "stateful":
        return -math.exp(-value)
    return math.exp(value)


def _least(name: str, centre: float, window: int) -> float:
    """The spread that counts have by chance alone, on the scale of the detector."""
    if name == "volume":
        return 1 / math.sqrt(max(math.exp(centre), 1.0))
    if name == "concentration":
        share = float(expit(centre))
        return 1 / math.sqrt(window * share * (1 - share))
    return _SPREAD


def ordinary(x: Tensor, account: Tensor, others: int = 500) -> Tensor:
    """Which accounts ask what most others ask: the half nearest to half of all records.

    Args:
        x: some records of every account, ``[m, d]``.
        account: number of the account of each ``[m]``.
        others: records that distances are measured to, evenly chosen.

    Returns:
        Numbers of the accounts.
    """
    scale = x.std(0).clamp_min(1e-12)
    z = x / scale
    chosen = torch.linspace(0, len(x) - 1, min(others, len(x))).long()
    depth = torch.cdist(z, z[chosen]).median(1).values
    numbers, places = torch.unique(account, return_inverse=True)
    sums = torch.zeros(len(numbers), dtype=depth.dtype).index_add_(0, places, depth)
    mean = sums / torch.bincount(places, minlength=len(numbers))
    return torch.masked_select(numbers, mean <= mean.median())
