from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression as Theirs

from bench.contract import DivergedError
from bench.models import logistic
from bench.models.logistic import Logistic


def data(classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=rng) * torch.tensor([1.0, 1.0, 10.0, 0.1, 1.0]) + 2
    noisy = x[:, :classes] + torch.randn(200, classes, generator=rng)
    return x, noisy.argmax(1)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("alpha", [0.1, 1.0, 30.0])
def test_it_is_scikit_learns_logistic_regression(classes: int, alpha: float) -> None:
    x, y = data(classes)
    model = Logistic(alpha)
    network = model.build((5,), classes, 0)
    model.solve(network, x, y, model.recipe, 0)
    ours = network(x).softmax(1).detach().numpy()
    # Of two classes scikit-learn has one row of weights, ours are its halves: half the squares.
    theirs = Theirs(C=1 / (alpha if classes > 2 else alpha / 2), tol=1e-10, solver="newton-cg")
    theirs.fit(x.double().numpy(), y.numpy())
    np.testing.assert_allclose(ours, theirs.predict_proba(x.numpy()), atol=1e-5)


def test_the_order_of_the_records_does_not_matter() -> None:
    x, y = data(3)
    model = Logistic()
    plain, turned = (model.build((5,), 3, seed) for seed in (0, 1))
    model.solve(plain, x, y, model.recipe, 0)
    model.solve(turned, x.flip(0), y.flip(0), model.recipe, 1)
    torch.testing.assert_close(plain.head.weight, turned.head.weight, atol=1e-5, rtol=1e-4)


def test_weight_decay_is_a_penalty_per_record() -> None:
    x, y = data(3)
    decayed, penalised = (Logistic(alpha) for alpha in (1.0, 21.0))
    one, other = (model.build((5,), 3, 0) for model in (decayed, penalised))
    decayed.solve(one, x, y, replace(decayed.recipe, weight_decay=0.1), 0)
    penalised.solve(other, x, y, penalised.recipe, 0)
    torch.testing.assert_close(one.head.weight, other.head.weight, atol=1e-5, rtol=1e-4)


def test_what_has_no_optimum_is_an_error() -> None:
    x, y = data(2)
    model = Logistic()
    network = model.build((5,), 2, 0)
    with pytest.raises(DivergedError, match="no optimum"):
        model.solve(network, torch.where(x > 2, torch.nan, x), y, model.recipe, 0)


def test_both_solvers_find_the_optimum_of_rare_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data(3)
    rare = torch.zeros(len(x), 2)
    rare[0, 0] = rare[1:4, 1] = 1.0
    x, model = torch.cat([x, rare], 1), Logistic()
    solutions = []
    for most in (logistic.NEWTON, 0):
        monkeypatch.setattr(logistic, "NEWTON", most)
        network = model.build((7,), 3, 0)
        model.solve(network, x, y, model.recipe, 0)
        solutions.append(network.head.weight.detach())
    torch.testing.assert_close(*solutions, atol=1e-5, rtol=1e-4)


def test_a_class_without_a_record_is_found_in_none() -> None:
    x, y = data(2)
    network = Logistic().build((5,), 3, 0)
    Logistic().solve(network, x, y, Logistic().recipe, 0)
    assert float(network(x).detach().softmax(1)[:, 2].max()) < 1e-6
