"""Batched L-BFGS."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.common.lbfgs import minimise
from bench.contract import generator


def rosenbrock(z: Tensor) -> Tensor:
    return (100 * (z[:, 1:] - z[:, :-1] ** 2) ** 2 + (1 - z[:, :-1]) ** 2).sum(1)


def test_it_solves_every_row() -> None:
    start = torch.randn(16, 4, generator=generator(0), dtype=torch.float64)
    end = minimise(rosenbrock, start, 400, tolerance=1e-20)
    assert bool((end.loss < 1e-12).all() | ((end.z - 1).abs().amax(1) < 1e-5).sum() >= 12)
    assert float(end.loss.median()) < 1e-15


def test_rows_do_not_see_each_other() -> None:
    start = torch.randn(6, 4, generator=generator(1), dtype=torch.float64)
    together = minimise(rosenbrock, start, 60)
    for row in range(6):
        alone = minimise(rosenbrock, start[row : row + 1], 60)
        torch.testing.assert_close(alone.z[0], together.z[row])


def test_it_needs_far_fewer_steps_than_dimensions_squared_on_a_quadratic() -> None:
    scale = torch.logspace(0, 3, 50, dtype=torch.float64)
    end = minimise(lambda z: (scale * z.square()).sum(1), torch.ones(2, 50).double(), 150, 50)
    assert bool((end.loss < 1e-8).all())


def test_a_row_that_is_not_finite_stops_and_harms_none() -> None:
    start = torch.tensor([[2.0], [-1.0]])
    end = minimise(lambda z: (z.log() - 1).square().sum(1), start, 50)
    assert bool(end.stalled[1]) and float(end.loss[0]) < 1e-8
