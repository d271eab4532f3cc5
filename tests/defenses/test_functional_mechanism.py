from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.contract import (
    Column,
    FitReport,
    Network,
    Outcome,
    Split,
    Splits,
    UserError,
    generator,
)
from bench.models.fitting import predict
from bench.models.mlp import Mlp
from bench.models.ridge import Ridge
from bench.models.training import train
from defenses.functional_mechanism import (
    FunctionalMechanism,
    Scale,
    coefficients,
    minimiser,
    noisy,
)
from tests.models.records import numbers, table

FIELDS = (
    Column("gene", "category", (0, 3), ("A/A", "A/G", "G/G")),
    Column("age", "number", (3, 4)),
    Column("height", "number", (4, 5)),
)


def patients(n: int = 400, seed: int = 0) -> Splits:
    """A dose that follows from a category, of which one column is 1, and two numbers."""
    rng = generator(seed)
    made = numbers(seed, n)
    gene = torch.randint(3, (3 * n,), generator=rng)
    x = torch.cat(
        [torch.nn.functional.one_hot(gene, 3), torch.randn(3 * n, 2, generator=rng)], 1
    ).float()
    y = 0.8 * (gene - 1) - 0.5 * x[:, 3] + 0.3 * torch.randn(3 * n, generator=rng)
    card = dataclasses.replace(
        made.card, shape=(5,), fields=FIELDS, outcome=Outcome("dose", "mg", 35.0, 10.0)
    )
    full = Split(x, y.float(), torch.arange(3 * n))
    return Splits(card, *(full.take(torch.arange(i * n, (i + 1) * n)) for i in range(3)))


PATIENTS = patients()
SCALE = Scale.of(PATIENTS.card, PATIENTS.public)


def fit(splits: Splits = PATIENTS, seed: int = 0, **options: Any) -> tuple[Network, FitReport]:
    return train(Ridge(), [FunctionalMechanism(**options)], splits, seed, "cpu")


def distance(x: Tensor, y: Tensor, other_x: Tensor, other_y: Tensor) -> float:
    """L1 distance of all coefficients, the constant included."""
    ours, theirs = coefficients(*SCALE(x, y)), coefficients(*SCALE(other_x, other_y))
    constant = SCALE(x, y)[1].square().sum() - SCALE(other_x, other_y)[1].square().sum()
    return sum(float((a - b).abs().sum()) for a, b in zip(ours, theirs, strict=True)) + abs(
        float(constant)
    )


anything = st.lists(st.floats(-1e6, 1e6, width=32), min_size=6, max_size=6)


@given(anything, anything, st.integers(0, 399))
def test_no_record_moves_the_coefficients_by_more_than_the_sensitivity(
    one: list[float], other: list[float], at: int
) -> None:
    x, y = PATIENTS.train.x.clone(), PATIENTS.train.y.clone()
    x[at], y[at] = torch.tensor(one[:5]), one[5]
    other_x, other_y = x.clone(), y.clone()
    other_x[at], other_y[at] = torch.tensor(other[:5]), other[5]
    assert distance(x, y, other_x, other_y) <= SCALE.sensitivity * (1 + 1e-9)
    features, outcome = SCALE(x, y)
    assert float(features.min()) >= 0 and float(features.max()) <= 1 / math.sqrt(6)
    assert float(features.square().sum(1).max()) <= 1 + 1e-9
    assert float(features.sum(1).max()) <= SCALE.most + 1e-9
    assert float(outcome.abs().max()) <= 1


def test_the_sensitivity_is_reached_within_a_factor_of_two() -> None:
    # The largest record against an empty one: half of the bound, which is for two of them.
    x, y = PATIENTS.train.x[:1].clone(), PATIENTS.train.y[:1].clone()
    x[0], y[0] = torch.tensor([1.0, 0.0, 0.0, 99.0, 99.0]), 99.0
    features, outcome = SCALE(x, y)
    total = sum(float(c.abs().sum()) for c in coefficients(features, outcome))
    assert total + float(outcome.square()) == pytest.approx(SCALE.sensitivity / 2)


def test_a_category_counts_once_and_columns_without_a_description_each() -> None:
    assert SCALE.columns == 3
    assert pytest.approx(4 / math.sqrt(6)) == SCALE.most
    plain = Scale.of(numbers().card, numbers().public)
    assert (plain.columns, plain.most) == (6, pytest.approx(math.sqrt(7)))


def test_bounds_are_the_public_ones() -> None:
    splits = patients()
    splits.train.x[0, 3], splits.train.y[0] = 1e6, 1e6
    a, b = (Scale.of(s.card, s.public) for s in (PATIENTS, splits))
    assert torch.equal(a.span, b.span) and a.size == b.size
    assert SCALE.size == float(PATIENTS.public.y.abs().max())
    assert SCALE.low[:3].tolist() == [0, 0, 0] and SCALE.span[:3].tolist() == [1, 1, 1]


def test_noise_is_laplace_of_the_scale_said_and_on_each_coefficient_once() -> None:
    d = 200
    quadratic, linear = noisy(
        torch.zeros(d, d).double(), torch.zeros(d).double(), 3.0, generator(0)
    )
    assert bool((quadratic.tril(-1) == 0).all())
    drawn = torch.cat([quadratic[torch.triu_indices(d, d).unbind()], linear])
    assert float(drawn.abs().mean()) == pytest.approx(3.0, rel=0.03)
    assert float(drawn.std()) == pytest.approx(3.0 * math.sqrt(2), rel=0.03)
    assert abs(float(drawn.mean())) < 0.1
    # Laplace, not Gaussian: kurtosis 6, and not 3.
    assert float((drawn / drawn.std()).pow(4).mean()) == pytest.approx(6.0, rel=0.15)


def test_the_polynomial_is_the_squared_error() -> None:
    rng = generator(1)
    x, y, w = (torch.randn(*s, generator=rng).double() for s in ((30, 4), (30,), (4,)))
    quadratic, linear = coefficients(x, y)
    polynomial = w @ quadratic @ w + linear @ w + y.square().sum()
    torch.testing.assert_close(polynomial, (y - x @ w).square().sum())
    torch.testing.assert_close(minimiser(quadratic, linear, 0.0), torch.linalg.lstsq(x, y).solution)


def test_directions_without_a_minimum_are_left_out() -> None:
    quadratic = torch.tensor([[2.0, 0.0], [0.0, -50.0]]).double()
    w = minimiser(quadratic, torch.tensor([-4.0, 7.0]).double(), 0.0)
    torch.testing.assert_close(w, torch.tensor([1.0, 0.0]).double())
    # A penalty of four standard deviations of the noise: 2 + 4 sqrt(2).
    w = minimiser(quadratic, torch.tensor([-4.0, 7.0]).double(), 1.0)
    assert float(w[0]) == pytest.approx(2 / (2 + 4 * math.sqrt(2)))


@pytest.mark.parametrize("splits", [PATIENTS, numbers(n=400)], ids=["patients", "numbers"])
def test_without_noise_it_is_least_squares(splits: Splits) -> None:
    # Members outside the public bounds are clipped, so both are fitted on what is inside.
    x, y = splits.train.x, splits.train.y
    low, high = splits.public.x.amin(0), splits.public.x.amax(0)
    inside = ((x >= low) & (x <= high)).all(1) & (y.abs() <= splits.public.y.abs().max())
    assert int(inside.sum()) > 350
    splits = dataclasses.replace(splits, train=splits.train.take(inside))
    private, _ = fit(splits, epsilon=1e9)
    plain, _ = train(Ridge(alpha=0.0), [], splits, 0, "cpu")
    torch.testing.assert_close(
        predict(private, splits.test.x), predict(plain, splits.test.x), atol=1e-3, rtol=1e-3
    )


def test_a_larger_budget_errs_less_and_the_papers_bound_more() -> None:
    def error(**options: Any) -> float:
        predictions = [predict(fit(seed=s, **options)[0], PATIENTS.test.x) for s in range(10)]
        off = [(f.squeeze(1) - PATIENTS.test.y).abs().median() for f in predictions]
        return float(torch.stack(off).median())

    errors = [error(epsilon=e) for e in (0.5, 10.0, 1000.0)]
    assert errors == sorted(errors, reverse=True)
    assert error(epsilon=10.0, sensitivity="paper") > errors[1]


def test_the_same_seed_gives_the_same_weights() -> None:
    first, again, other = (fit(seed=s)[0].head.weight for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_noise_does_not_depend_on_the_data() -> None:
    splits = dataclasses.replace(PATIENTS, train=PATIENTS.train.take(torch.arange(10)))
    a, b = (fit(s)[1].privacy for s in (PATIENTS, splits))
    assert a is not None and b is not None and a.clip_norm == b.clip_norm


def test_no_budget_is_no_defense() -> None:
    ours, report = fit(epsilon=None)
    plain, _ = train(Ridge(), [], PATIENTS, 0, "cpu")
    assert torch.equal(ours.head.weight, plain.head.weight) and report.privacy is None


def test_the_ledger_is_pure() -> None:
    _, report = fit(epsilon=2.0)
    ledger = report.privacy
    assert ledger is not None
    assert (ledger.epsilon, ledger.epsilon_rdp, ledger.delta) == (2.0, 2.0, 0.0)
    assert (ledger.accountant, ledger.sampling) == ("functional_mechanism", "full_batch")
    assert (ledger.unit, ledger.neighbour_relation) == ("record", "replace_one")
    assert (ledger.noise_multiplier, ledger.clip_norm) == (0.5, SCALE.sensitivity)
    assert report.public_records == len(PATIENTS.public)
    paper = fit(epsilon=2.0, sensitivity="paper")[1].privacy
    assert paper is not None and paper.clip_norm == 2 * (6 + 1) ** 2


def test_a_number_that_never_varies_in_public_is_ignored() -> None:
    splits = patients()
    splits.public.x[:, 4] = 1.0
    network, _ = fit(splits)
    assert float(network.head.weight[0, 4].detach()) == 0.0
    assert bool(torch.isfinite(network.head.weight).all())


def test_other_networks_and_outcomes_are_refused() -> None:
    with pytest.raises(UserError, match="needs least_squares, which Mlp does not"):
        train(Mlp(hidden=(4,), epochs=1), [FunctionalMechanism()], table(), 0, "cpu")
    splits = patients()
    splits.public.y.zero_()
    with pytest.raises(UserError, match="outcomes are all 0"):
        fit(splits)
