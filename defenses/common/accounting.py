"""What Gaussian steps on Poisson samples spend, by the accountants of Opacus."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.contract import require

_EPSILON_ERROR = 0.01
_COARSE_ERROR = 0.05
"""Of an epsilon that is shown and claimed by nobody."""
_PROFILE = 400
"""Pairs of a profile."""
MOST_EPSILON = 100.0
"""A larger budget promises nothing, and the grid of the PRV accountant does not fit in memory."""


def allowed_delta(
    option: str, delta: float | None, n: int, units: str, reproduction: bool = False
) -> float:
    """The failure probability to account with: the given one, or the largest that is allowed.

    Args:
        option: the option that gives it, for the message.
        delta: the given one; None asks for the largest, which is ``1 / (10 n)``.
        n: number of protected units.
        units: their number in words, for the message.
        reproduction: whether the row repeats a paper and is no evidence: then any is allowed.

    Raises:
        UserError: ``delta`` is above ``1 / (10 n)``.
    """
    most = 1 / (10 * n)
    require(
        delta is None or delta <= most or reproduction,
        f"{option} is {delta}, above 1 / (10 n) = {most:.3g} for {units}; give less, or null for "
        "the most allowed. A row that repeats a paper may keep it by 'reproduction: true', and is "
        "then no evidence.",
    )
    return most if delta is None else delta


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings about seeded noise, inputs without gradient, and ranges of orders."""
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        warnings.filterwarnings("ignore", message="Secure RNG turned off")
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        # The RDP figure is an upper bound over any range of orders.
        warnings.filterwarnings("ignore", message="Optimal order is the")
        yield


@lru_cache(maxsize=256)
def spent(sigma: float, sample_rate: float, steps: int, delta: float, accountant: str) -> float:
    """Epsilon of ``steps`` Gaussian steps on Poisson samples, by Opacus's accountant.

    One evaluation takes tenths of a second, so results are kept for the repeats of a suite.

    Args:
        sigma: noise multiplier.
        sample_rate: probability that a unit is drawn.
        steps: number of noisy steps.
        delta: failure probability.
        accountant: ``prv`` or ``rdp``.
    """
    if accountant == "rdp":
        return _rdp(sigma, sample_rate, steps, delta)
    with quiet():
        _, _, epsilon = _losses(sigma, sample_rate, steps, delta).compute_epsilon(
            delta, delta / 1000, _EPSILON_ERROR
        )
    return float(epsilon)


@lru_cache(maxsize=256)
def advantage(sigma: float, sample_rate: float, steps: int, delta: float) -> float:
    """The greatest TPR - FPR of any test whether one unit was in the training.

    It is the total variation distance of what is released with and without the unit: delta at an
    epsilon of 0 (Dong, Roth and Su, "Gaussian Differential Privacy", section 2). As an upper bound
    the errors of the accountant are added.

    Args:
        sigma: noise multiplier.
        sample_rate: probability that a unit is drawn.
        steps: number of noisy steps.
        delta: sets the accuracy of the accountant.

    Returns:
        In [0, 1].
    """
    losses = _losses(sigma, sample_rate, steps, delta)
    return min(1.0, float(losses.compute_delta_estimate(-_EPSILON_ERROR)) + delta / 1000)


@lru_cache(maxsize=16)
def profile(
    sigma: float, sample_rate: float, steps: int, delta: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Pairs (epsilon, delta) that Gaussian steps on Poisson samples keep to, all at once.

    Together they are the trade-off function of the steps, to add or to remove a unit (Dong, Roth
    and Su, "Gaussian Differential Privacy"). As upper bounds the errors of the accountant are
    added.

    Args:
        sigma: noise multiplier.
        sample_rate: probability that a unit is drawn.
        steps: number of noisy steps.
        delta: sets the accuracy of the accountant.

    Returns:
        Epsilons, from 0 on, and the delta of each, ``[k]``.
    """
    losses = _losses(sigma, sample_rate, steps, delta)
    loss, mass = losses.domain.ts, losses.pmf
    reach = loss > -2 * _EPSILON_ERROR
    loss, mass = loss[reach], mass[reach]
    epsilons = np.linspace(0.0, loss[-1] - 1.0, _PROFILE)
    # Sums over what is lost from some loss on: delta(e) = P(L > e) - exp(e) E[exp(-L); L > e].
    above, weighed = (np.flip(np.flip(part).cumsum()) for part in (mass, mass * np.exp(-loss)))
    asked = epsilons - _EPSILON_ERROR
    at = np.searchsorted(loss, asked)
    with np.errstate(over="ignore", invalid="ignore"):
        deltas = above[at] - np.exp(asked) * weighed[at]
    return epsilons, np.clip(np.nan_to_num(deltas, nan=1.0) + delta / 1000, 0.0, 1.0)


def epsilon_of_advantage(wanted: float, sample_rate: float, steps: int, delta: float) -> float:
    """Epsilon of such steps with just the noise at which TPR - FPR may be ``wanted``.

    A secant on log-log axes looks for the noise, within 1% of the mean of Gaussian DP at that
    advantage. It takes about a second.

    Args:
        wanted: in [0, 1].
        sample_rate: probability that a unit is drawn.
        steps: number of noisy steps.
        delta: failure probability.

    Returns:
        At most :data:`MOST_EPSILON`.
    """
    if wanted <= 1e-3:
        return 0.0
    mu = _shift(wanted)
    # It starts where the central limit of the steps, q sqrt(T (exp(1 / sigma^2) - 1)), is mu.
    at = -0.5 * math.log(math.log1p(mu**2 / (sample_rate**2 * steps)))
    before: tuple[float, float] | None = None
    for _ in range(8):
        sigma = math.exp(at)
        if _rdp(sigma, sample_rate, steps, delta) > 2 * MOST_EPSILON:
            return MOST_EPSILON
        losses = _losses(sigma, sample_rate, steps, delta, _COARSE_ERROR)
        off = math.log(_shift(float(losses.compute_delta_estimate(0.0))) / mu)
        if abs(off) <= 0.01:
            break
        slope = (off - before[1]) / (at - before[0]) if before and at != before[0] else -1.0
        before, at = (at, off), at - off / slope
    with quiet():
        _, epsilon, _ = losses.compute_epsilon(delta, delta / 1000, _COARSE_ERROR)
    return min(float(epsilon), MOST_EPSILON)


def advantage_of_budget(epsilon: float, delta: float) -> float:
    """The greatest TPR - FPR that (epsilon, delta) alone allows.

    (e^epsilon - 1 + 2 delta) / (e^epsilon + 1): the two sides of the trade-off function of Kairouz,
    Oh and Viswanath (ICML 2015) meet there.
    """
    return min(1.0, math.tanh(epsilon / 2) + delta * (1 - math.tanh(epsilon / 2)))


@lru_cache(maxsize=4)
def _losses(
    sigma: float,
    sample_rate: float,
    steps: int,
    delta: float,
    epsilon_error: float = _EPSILON_ERROR,
) -> Any:
    """The distribution of the privacy loss of all steps, as Opacus's PRV accountant has it."""
    from opacus.accountants.analysis import prv

    # This is Opacus's own accountant with its defaults, except that the divergences are computed
    # once. Opacus computes them for all steps and again for one, which takes most of the time.
    delta_error = delta / 1000
    reach = max(
        _rdp(sigma, sample_rate, steps, delta_error / 4),
        _rdp(sigma, sample_rate, 1, delta_error / (8 * steps)),
        epsilon_error,
    )
    mesh = epsilon_error / np.sqrt(steps * np.log(12 / delta_error) / 2)
    domain = prv.Domain.create_aligned(-(reach + 3), reach + 3, mesh)
    loss = prv.PoissonSubsampledGaussianPRV(sample_rate, sigma)
    with quiet():
        step = prv.discretize(
            prv.TruncatedPrivacyRandomVariable(loss, domain.t_min, domain.t_max), domain
        )
        return prv.compose_heterogeneous([step], [steps])


def _rdp(sigma: float, sample_rate: float, steps: int, delta: float) -> float:
    from opacus.accountants.analysis import rdp

    orders, divergences = _divergences(sigma, sample_rate)
    with quiet():
        epsilon, _ = rdp.get_privacy_spent(orders=orders, rdp=steps * divergences, delta=delta)
    return float(epsilon)


@lru_cache(maxsize=256)
def _divergences(sigma: float, sample_rate: float) -> tuple[list[float], npt.NDArray[np.float64]]:
    """Opacus's orders, and the Renyi divergence of one step at each of them."""
    from opacus.accountants import RDPAccountant
    from opacus.accountants.analysis import rdp

    orders = RDPAccountant.DEFAULT_ALPHAS
    with quiet():
        divergences = rdp.compute_rdp(q=sample_rate, noise_multiplier=sigma, steps=1, orders=orders)
    return orders, divergences


def composed(sigma: float, sample_rate: float, steps: int, delta: float, runs: int) -> float:
    """Epsilon of ``runs`` equal trainings together, at one ``delta`` for all (PROTOCOL 4.3).

    It is that of PRV, or the larger one of RDP where the grid of PRV would not fit in memory.
    """
    together = (sigma, sample_rate, runs * steps, delta)
    rough = spent(*together, "rdp")
    return rough if rough > 2 * MOST_EPSILON else spent(*together, "prv")


def least_noise(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """The noise multiplier whose PRV epsilon is at most 1% below ``epsilon`` and never above.

    The search of Opacus itself takes about twelve PRV evaluations; a secant on log-log axes takes
    four.

    Args:
        epsilon: the privacy budget, above 0.
        delta: failure probability.
        sample_rate: probability that a unit is drawn.
        steps: number of noisy steps.

    Raises:
        UserError: no noise keeps the budget.
    """

    def excess(log_sigma: float) -> float:
        used = spent(math.exp(log_sigma), sample_rate, steps, delta, "prv")
        return math.log(used / (0.995 * epsilon))

    # The mu of Gaussian DP at this budget: epsilon = mu^2 / 2 + mu sqrt(2 ln 1/delta).
    tail = 2 * math.log(1 / delta)
    mu = math.sqrt(tail + 2 * epsilon) - math.sqrt(tail)
    # epsilon falls roughly as sigma^-1.25
    sigma, off = _solved(excess, mu, sample_rate, steps, slope=1.25)
    require(
        sigma > 0,
        f"DpSgd.epsilon is {epsilon}, for which no noise was found at {steps} steps and sample "
        f"rate {sample_rate:.3g} (the last try spent {epsilon * math.exp(off):.3g}); give another "
        "epsilon or fewer epochs.",
    )
    return sigma


def least_noise_for(advantage_most: float, delta: float, sample_rate: float, steps: int) -> float:
    """The noise multiplier whose :func:`advantage` is at most 1% below a given one, never above.

    Kulynych et al. ("Attack-aware noise calibration for differential privacy", NeurIPS 2024; the
    abstract was read) calibrate the noise to a risk instead of a budget in this way.

    Args:
        advantage_most: the greatest TPR - FPR of any test of membership, above 0 and below 1.
        delta: sets the accuracy of the accountant.
        sample_rate: probability that a unit is drawn.
        steps: number of noisy steps.

    Raises:
        UserError: no noise keeps it.
    """

    def excess(log_sigma: float) -> float:
        sigma = math.exp(log_sigma)
        # Where the grid of the accountant would not fit in memory, nothing is private.
        rough = spent(sigma, sample_rate, steps, delta, "rdp")
        found = 1.0 if rough > 2 * MOST_EPSILON else advantage(sigma, sample_rate, steps, delta)
        return math.log(_shift(found) / _shift(0.995 * advantage_most))

    sigma, off = _solved(excess, _shift(advantage_most), sample_rate, steps, slope=1.0)
    require(
        sigma > 0,
        f"DpSgd.target.advantage is {advantage_most}, for which no noise was found at {steps} "
        f"steps and sample rate {sample_rate:.3g} (the last try was off by a factor of "
        f"{math.exp(off):.3g}); give another one or other epochs.",
    )
    return sigma


def _shift(advantage_most: float) -> float:
    """The mu of a Gaussian mechanism of that advantage, ``2 Phi(mu / 2) - 1``."""
    return 2 * NormalDist().inv_cdf((1 + min(advantage_most, 1 - 1e-12)) / 2)


def _solved(
    excess: Callable[[float], float], mu: float, sample_rate: float, steps: int, slope: float
) -> tuple[float, float]:
    """The sigma at which ``excess(log sigma)`` is 0 to within .005, by a secant; and what it is.

    Args:
        excess: the logarithm of what is spent as a multiple of what is allowed.
        mu: of Gaussian DP at what is allowed. The search starts where the central limit
            ``mu = q sqrt(T (exp(1 / sigma^2) - 1))`` has it.
        sample_rate: q.
        steps: T.
        slope: how fast ``excess`` falls, roughly.

    Returns:
        sigma, 0 where none was found, and the last excess.
    """
    a = -0.5 * math.log(math.log1p(mu**2 / (sample_rate**2 * steps)))
    at_a = excess(a)
    b = a + at_a / slope
    at_b = excess(b)
    for _ in range(12):
        if abs(at_b) <= 0.005:
            return math.exp(b), at_b
        if at_a == at_b:
            break
        a, b, at_a = b, b - at_b * (b - a) / (at_b - at_a), at_b
        at_b = excess(b)
    return 0.0, at_b
