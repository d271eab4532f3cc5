"""What guesses about canaries prove, against exact mechanisms and printed figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from bench.contract import generator
from bench.metrics import privacy_audit as audit
from defenses.common.accounting import advantage, least_noise

RATE, STEPS, DELTA, CANARIES = 1 / 7, 210, 1e-4, 600


def least_pure(found: audit.Guesses) -> float:
    """The largest pure epsilon that is refuted, to two digits."""
    tried = np.arange(0, 8, 0.01)
    return float(sum(audit.refutes(found, audit.budgets([e], [0.0])) for e in tried)) / 100


def test_of_a_pure_epsilon_it_proves_what_its_forerunner_does() -> None:
    # Steinke et al. 2023 print 0.702 for 75 of 100; theirs is for a pure epsilon alone.
    for right, printed in ((75, 0.702), (90, 1.62), (100, 3.49)):
        assert least_pure(audit.Guesses(100, 100, right)) == pytest.approx(printed, abs=0.02)


def test_randomised_response_is_not_refuted() -> None:
    epsilon, m = 1.0, 200
    rng, refuted = generator(0), 0
    claim = audit.budgets([epsilon], [0.0])
    for _ in range(200):
        included = torch.rand(m, generator=rng) < 0.5
        told = included ^ (torch.rand(m, generator=rng) >= 1 / (1 + math.exp(-epsilon)))
        found = audit.guess(told.float() + 0.1 * torch.rand(m, generator=rng), included)
        refuted += audit.refutes(found, claim)
    assert refuted <= 20, "a 95 % bound may be wrong in 5 % of the cases"


def test_a_training_that_rarely_tells_everything_is_not_refuted() -> None:
    # (0, delta)-private, though every guess is right whenever it tells: why a bound for any
    # mechanism proves less than one for noise that is known to be independent.
    everything = audit.Guesses(100, 100, 100)
    assert not audit.refutes(everything, audit.budgets([0.0], [0.06]))
    assert audit.refutes(everything, audit.budgets([0.0], [1e-6]))


def test_more_pairs_claim_more() -> None:
    found = audit.Guesses(400, 400, 300)
    one, both = audit.budgets([2.0], [0.0]), audit.budgets([2.0, 0.0], [0.0, 0.02])
    assert not audit.refutes(found, one) and audit.refutes(found, both)


def test_the_lower_bound_grows_with_the_guesses_and_has_an_end() -> None:
    bounds = [audit.lower_bound(audit.Guesses(400, 400, right), 1e-4) for right in (200, 300, 400)]
    assert bounds[0] == 0 < bounds[1] < bounds[2] < math.inf
    assert audit.Guesses(400, 400, 300).best == audit.Guesses(400, 400, 400)
    # Delta of Gaussian DP, written out: Phi(-e / mu + mu / 2) - exp(e) Phi(-e / mu - mu / 2).
    e = audit.epsilon_of(1.0, 1e-5)
    delta = norm.cdf(0.5 - e) - math.exp(e) * norm.cdf(-0.5 - e)
    assert delta == pytest.approx(1e-5, rel=1e-6)


def test_guesses_are_counted_at_both_ends() -> None:
    included = torch.tensor([True] * 4 + [False] * 5)
    assert audit.guess(torch.arange(9, 0, -1).float(), included) == audit.Guesses(9, 4, 4)
    assert audit.guess(torch.arange(9).float(), included).right == 0


def sums(sigma: float, included: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """What ideal canaries and 64 weights of none show of steps with noise ``sigma``."""
    noise = sigma * math.sqrt(STEPS) * rng.standard_normal(len(included) + 64)
    noise[: len(included)] += included.numpy() * rng.binomial(STEPS, RATE, len(included))
    return torch.tensor(noise[: len(included)]), torch.tensor(noise[len(included) :])


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_ideal_canaries_refute_half_the_noise_and_not_the_noise(epsilon: float) -> None:
    sigma = least_noise(epsilon, DELTA, RATE, STEPS)
    most = advantage(sigma, RATE, STEPS, DELTA)
    rng, coins = np.random.default_rng(0), generator(0)

    def refuted(share: float) -> int:
        count = 0
        for _ in range(200):
            included = torch.rand(CANARIES, generator=coins) < 0.5
            seen, blanks = sums(share * sigma, included, rng)
            found = audit.watched(seen, included, blanks, sigma, RATE, STEPS)
            count += audit.advantage_shown(found) > most
        return count

    assert refuted(1.0) <= 10, "a 95 % bound may be wrong in 5 % of the cases"
    assert refuted(0.5) >= 120
    assert refuted(0.1) == 200


def test_without_noise_every_guess_is_right() -> None:
    included = torch.arange(40) < 18
    found = audit.watched(included.double(), included, torch.zeros(64).double(), 1.0, RATE, STEPS)
    assert found == audit.Guesses(40, 36, 36)
    assert 0.7 < audit.advantage_shown(found) < 1
    assert audit.advantage_shown(audit.Guesses(40, 36, 18)) == 0
    nobody = audit.watched(torch.ones(4), torch.ones(4) > 0, torch.ones(64), 1.0, RATE, STEPS)
    assert audit.advantage_shown(nobody) == audit.advantage_shown(nobody.best) == 0
