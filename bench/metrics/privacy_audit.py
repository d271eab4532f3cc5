"""Privacy auditing in one training run: what guesses about canaries prove (PROTOCOL 4.4).

Two tests, by what an audit sees.

Of a training whose noisy steps are watched, every canary has a weight that no other record uses
(:mod:`bench.models.canaries`). Let N be the noise on it summed over T steps, and B the number of
steps that draw the canary. If the ledger is true, the sum of the weight's gradients is N of a
canary that was left out, and at most N + B of one that was included, in units of the clipping norm,
whatever the network does meanwhile; and all N and B are independent. So the right guesses of a
fixed threshold are at most a sum of independent ones, whose mean probability is at most
``(1 + advantage) / 2``. The binomial tail of that mean bounds them (Hoeffding, "On the distribution
of the number of successes in independent trials", Annals of Mathematical Statistics, 1956).

Of any other training only the weights are seen. That test is ``audit_rh_with_cap`` of Mahloujifar,
Melis, Chaudhuri, "Auditing f-Differential Privacy in One Run", ICML 2025 (arXiv 2410.22235), read
in the abstract and in the implementation of google-deepmind/jax_privacy (``auditing.py``). It holds
for any mechanism with the claimed trade-off function, and so refutes less: it also has to allow for
one that, rarely, tells everything. The game is that of Steinke, Nasr, Jagielski, "Privacy Auditing
with One (1) Training Run", NeurIPS 2023: every canary is in the training by a coin of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, log_ndtr, ndtr, ndtri
from torch import Tensor

CONFIDENCE = 0.95
"""Of a refutation, and of the lower bound."""
THRESHOLDS = 3
"""Of :func:`watched`, each of which gets its share of the level."""
_MOST_MU = 40.0
"""A Gaussian curve with a larger mu separates any number of canaries that fits in a training."""

Inverse = Callable[[float], float]
"""Of a claim: the least false-positive rate in [0, 1] of a test with this true-positive rate."""


@dataclass(frozen=True)
class Guesses:
    """What was guessed about canaries.

    Attributes:
        canaries: m, each included by a coin of its own.
        made: number of guesses, fixed before looking, at most m.
        right: how many of them were right.
    """

    canaries: int
    made: int
    right: int

    @property
    def best(self) -> Guesses:
        """The same guesses, had all of them been right."""
        return Guesses(self.canaries, self.made, self.made)


def guess(scores: Tensor, included: Tensor) -> Guesses:
    """Guess about half of the canaries.

    The quarter with the largest scores is taken for included, that with the least for left out. So
    the number of guesses is fixed beforehand, or the bound would not hold.

    Args:
        scores: larger for canaries that seem to have been trained on, ``[m]``.
        included: the truth, bool ``[m]``.
    """
    m, quarter = len(scores), max(1, len(scores) // 4)
    order = scores.argsort(stable=True)
    right = int(included[order[m - quarter :]].sum() + (~included[order[:quarter]]).sum())
    return Guesses(m, 2 * quarter, right)


def watched(
    sums: Tensor, included: Tensor, blanks: Tensor, sigma: float, rate: float, steps: int
) -> Guesses:
    """Guess about as many included as left-out canaries, by thresholds of what the steps did.

    Thresholds are multiples of the noise as the weights of no canary show it, fixed beforehand:
    half of what the claimed steps add to a canary, and 2 and 4 standard deviations, which are
    better where noise is missing. The most right guesses count; a bound has to allow for the
    choice (:data:`THRESHOLDS`).

    Args:
        sums: of the gradients of each canary's own weight, larger if it was drawn, ``[m]``.
        included: the truth, bool ``[m]``.
        blanks: the same sums of weights of no canary.
        sigma: claimed noise multiplier.
        rate: claimed probability that a unit is drawn.
        steps: claimed number of steps.
    """
    inside, outside = sums[included], sums[~included]
    k = min(len(inside), len(outside))
    spread = float(blanks.square().mean().sqrt())
    right = max(
        int((inside[:k] > at * spread).sum() + (outside[:k] <= at * spread).sum())
        for at in (rate * math.sqrt(steps) / (2 * sigma), 2.0, 4.0)
    )
    return Guesses(len(sums), 2 * k, right)


def advantage_shown(found: Guesses, confidence: float = CONFIDENCE) -> float:
    """A lower bound of TPR - FPR for guesses of :func:`watched`, in [0, 1].

    Args:
        found: what was guessed.
        confidence: in (0, 1), for all thresholds together.
    """
    if found.right == 0:
        return 0.0
    level = (1 - confidence) / THRESHOLDS
    share = float(betaincinv(found.right, found.made - found.right + 1, level))
    return max(0.0, 2 * share - 1)


def gaussian(mu: float) -> Inverse:
    """Of Gaussian differential privacy with parameter ``mu``, at least 0."""
    return lambda rate: float(ndtr(ndtri(rate) - mu))


def budgets(epsilons: npt.ArrayLike, deltas: npt.ArrayLike) -> Inverse:
    """Of a training that is (epsilon, delta)-private for every pair at once.

    The trade-off function is the largest of those of the pairs (Dong, Roth and Su, "Gaussian
    Differential Privacy"). Fewer pairs claim less, so the test stays valid.

    Args:
        epsilons: at least 0, ``[k]``.
        deltas: of each, in [0, 1], ``[k]``.
    """
    delta = np.asarray(deltas, dtype=float)
    growth = np.exp(np.minimum(np.asarray(epsilons, dtype=float), 700.0))

    def inverse(rate: float) -> float:
        steep = 1 - delta - growth * (1 - rate)
        return max(0.0, float(steep.max()), float(((rate - delta) / growth).max()))

    return inverse


def refutes(found: Guesses, inverse: Inverse, confidence: float = CONFIDENCE) -> bool:
    """Whether a training that keeps to the claim gives so many right guesses too rarely.

    Args:
        found: what was guessed.
        inverse: the claim.
        confidence: in (0, 1); of trainings that keep to it, at most one minus this is refuted.
    """
    m, c, made, level = found.canaries, found.right, found.made, 1 - confidence
    r, h = level * c / m, level * (made - c) / m
    for i in range(c - 1, -1, -1):
        after = max(h, inverse(r))
        if after == h:
            break  # neither changes any more
        r, h = min(1.0, r + i / (made - i) * (after - h)), after
    return r + h > made / m


def lower_bound(found: Guesses, delta: float, confidence: float = CONFIDENCE) -> float:
    """The largest epsilon that is refuted, of trainings that are as private as one Gaussian noise.

    A training of many noisy steps is nearly so (Dong, Roth and Su, "Gaussian Differential Privacy",
    central limit of composition).

    Args:
        found: what was guessed.
        delta: at which epsilon is stated, in (0, 1).
        confidence: in (0, 1).

    Returns:
        0 if no epsilon is refuted.
    """
    if not refutes(found, gaussian(0.0), confidence):
        return 0.0
    low, high = 0.0, _MOST_MU
    for _ in range(40):
        middle = (low + high) / 2
        if refutes(found, gaussian(middle), confidence):
            low = middle
        else:
            high = middle
    return epsilon_of(low, delta)


def epsilon_of(mu: float, delta: float) -> float:
    """Epsilon at ``delta`` of Gaussian differential privacy with parameter ``mu``."""

    def spent(epsilon: float) -> float:
        tail = log_ndtr(-epsilon / mu - mu / 2)
        return float(ndtr(-epsilon / mu + mu / 2) - math.exp(min(epsilon + tail, 0.0)))

    if mu <= 0 or spent(0.0) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while spent(high) > delta:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) > delta else (low, middle)
    return high
