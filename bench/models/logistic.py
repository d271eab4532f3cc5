"""Penalised logistic regression, solved to its optimum."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract import DivergedError, Model, Network, NonNegative, Recipe

NEWTON = 1500
"""Most parameters for which the matrix of second derivatives is worked out."""


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
        """Newton's method in float64, or L-BFGS where its matrix would be large.

        A defense's weight decay adds to the penalty. Columns of rare categories make the problem so
        narrow that L-BFGS takes thousands of passes; Newton's method does not feel that.

        Raises:
            DivergedError: it stopped at no optimum, as without any penalty it may, or the loss is
                NaN or Inf.
        """
        features, classes = x.flatten(1).double(), len(network.head.bias)
        penalty = self.alpha / len(x) + recipe.weight_decay
        problem = _Problem(features, target, penalty, classes)
        with torch.no_grad():
            small = classes * (features.shape[1] + 1) <= NEWTON
            weights = problem.newton() if small else problem.bfgs()
            slope = float((problem.slope(weights) / problem.size).abs().max())
            if not slope < 1e-5:
                raise DivergedError(
                    "Logistic regression stopped at no optimum: the largest gradient is "
                    f"{slope:.2g}; raise alpha ({self.alpha})."
                )
            network.head.weight.copy_(weights[:, :-1])
            network.head.bias.copy_(weights[:, -1])


class _Problem:
    """The mean cross-entropy of records and the penalty; weights are ``[classes, d + 1]``.

    The last column of the weights holds the intercepts.
    """

    def __init__(self, features: Tensor, target: Tensor, penalty: float, classes: int) -> None:
        self.x = torch.cat([features, features.new_ones(len(features), 1)], 1)
        self.target = target
        self.hit = F.one_hot(target, classes).double()
        self.penalty = features.new_full((self.x.shape[1],), penalty)
        self.penalty[-1] = 0.0
        # In columns of one size the problem is round; the penalty stays that of the plain weights.
        self.size = self.x.square().mean(0).sqrt().clamp_min(1e-3)

    def loss(self, weights: Tensor) -> Tensor:
        """What the optimum has least of.

        Raises:
            DivergedError: it is NaN or Inf.
        """
        error = F.cross_entropy(self.x @ weights.T, self.target)
        error = error + (self.penalty / 2 * weights.square()).sum()
        if not bool(torch.isfinite(error)):
            raise DivergedError("Logistic regression has no optimum: its loss is NaN or Inf.")
        return error

    def slope(self, weights: Tensor) -> Tensor:
        """The gradient of the loss."""
        wrong = (self.x @ weights.T).softmax(1) - self.hit
        return wrong.T @ self.x / len(self.x) + self.penalty * weights

    def curvature(self, weights: Tensor) -> Tensor:
        """The second derivatives of the loss, square over the flattened weights."""
        p = (self.x @ weights.T).softmax(1)
        classes, width = weights.shape
        shares = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
        sides = self.x.unsqueeze(1) * shares.flatten(1).unsqueeze(2) / len(p)
        blocks = (sides.flatten(1).T @ self.x).view(classes, classes, width, width)
        whole = blocks.transpose(1, 2).reshape(classes * width, classes * width)
        return whole + torch.diag(self.penalty.repeat(classes))

    def newton(self) -> Tensor:
        """Steps that are halved until the loss falls."""
        weights = self.x.new_zeros(self.hit.shape[1], self.x.shape[1])
        least = self.loss(weights)
        for _ in range(100):
            slope = self.slope(weights)
            if float(slope.abs().max()) < 1e-10:
                break
            matrix = self.curvature(weights)
            # The same number on every intercept changes nothing, so the matrix has no inverse.
            matrix.diagonal().add_(1e-10)
            step = torch.linalg.solve(matrix, slope.flatten()).view_as(weights)
            share = 1.0
            while share > 1e-8 and not (after := self.loss(weights - share * step)) < least:
                share /= 2
            if share <= 1e-8:
                break
            weights, least = weights - share * step, after
        return weights

    def bfgs(self) -> Tensor:
        """L-BFGS over columns of one size."""
        scaled = self.x.new_zeros(self.hit.shape[1], self.x.shape[1], requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [scaled],
            max_iter=5000,
            max_eval=20000,
            tolerance_grad=1e-9,
            tolerance_change=0.0,
            history_size=50,
            line_search_fn="strong_wolfe",
        )

        def objective() -> Tensor:
            optimizer.zero_grad()
            error = self.loss(scaled / self.size)
            torch.autograd.backward(error)
            return error

        with torch.enable_grad():
            optimizer.step(objective)  # type: ignore[no-untyped-call]
        return scaled.detach() / self.size
