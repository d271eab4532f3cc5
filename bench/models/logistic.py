"""Penalised logistic regression, solved to its optimum."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract import DivergedError, Model, Network, NonNegative, Recipe


@dataclass(frozen=True)
class Logistic(Model):
    """Multinomial logistic regression with an L2 penalty, as statisticians fit it.

    Unlike ``softmax``, which takes a number of gradient steps, it is the one solution of a convex
    problem: neither the seed nor the order of the records matters.

    Attributes:
        alpha: penalty; half of it is the weight of the squared weights beside the sum of the
            records' cross-entropies, as in scikit-learn with ``C = 1 / alpha``. The intercepts
            have none.
    """

    alpha: NonNegative = 1.0

    modalities = frozenset({"image", "table", "basket"})
    offers = frozenset({"descent", "optimum"})
    reference = "logistic"

    @property
    def recipe(self) -> Recipe:
        """A plain recipe for a defense that descends instead."""
        return Recipe(epochs=60, batch_size=32, lr=1e-2, optimizer="sgd")

    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """A model that finds all classes equally likely, whatever the seed."""
        network = Network(nn.Sequential(), nn.Linear(prod(shape), width))
        nn.init.zeros_(network.head.weight)
        nn.init.zeros_(network.head.bias)
        return network

    def solve(self, network: Network, x: Tensor, target: Tensor, recipe: Recipe, seed: int) -> None:
        """L-BFGS in float64; a defense's weight decay adds to the penalty.

        Raises:
            DivergedError: it stopped at no optimum, as without any penalty it may, or the loss is
                NaN or Inf.
        """
        features, classes = x.flatten(1).double(), len(network.head.bias)
        # Columns of one size make the problem round; the penalty stays that of the plain weights.
        size = features.square().mean(0).sqrt().clamp_min(1e-3)
        features = features / size
        weight = features.new_zeros(classes, features.shape[1], requires_grad=True)
        bias = features.new_zeros(classes, requires_grad=True)
        penalty = self.alpha / len(x) + recipe.weight_decay
        optimizer = torch.optim.LBFGS(
            [weight, bias],
            max_iter=5000,
            max_eval=20000,
            tolerance_grad=1e-9,
            tolerance_change=0.0,
            history_size=50,
            line_search_fn="strong_wolfe",
        )

        def objective() -> Tensor:
            optimizer.zero_grad()
            error = F.cross_entropy(features @ weight.T + bias, target)
            error = error + penalty / 2 * (weight / size).square().sum()
            if not bool(torch.isfinite(error)):
                raise DivergedError("Logistic regression has no optimum: its loss is NaN or Inf.")
            torch.autograd.backward(error)
            return error

        with torch.enable_grad():
            optimizer.step(objective)  # type: ignore[no-untyped-call]
        assert weight.grad is not None
        slope = float(weight.grad.abs().max())
        if not slope < 1e-5:
            raise DivergedError(
                f"Logistic regression stopped at no optimum: the largest gradient is {slope:.2g}; "
                f"raise alpha ({self.alpha})."
            )
        with torch.no_grad():
            network.head.weight.copy_(weight / size)
            network.head.bias.copy_(bias)
