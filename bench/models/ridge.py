"""Ridge regression."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from bench.contract import Model, Network, NonNegative, Recipe


@dataclass(frozen=True)
class Ridge(Model):
    """Least squares with an L2 penalty, in closed form: the dosing model of the IWPC.

    Fredrikson et al. (USENIX Security 2014, section 3) attack the linear regression of the
    International Warfarin Pharmacogenetics Consortium (NEJM 2009).

    Attributes:
        alpha: penalty on the squared weights, in units of a record; the intercept has none.
    """

    alpha: NonNegative = 1.0

    modalities = frozenset({"table"})
    tasks = ("regression",)
    offers = frozenset({"descent", "least_squares", "optimum"})
    reference = "least_squares"

    @property
    def recipe(self) -> Recipe:
        """A plain recipe for a defense that descends instead."""
        return Recipe(epochs=1, batch_size=32, lr=1e-2)

    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """A model that predicts the mean, whatever the seed."""
        network = Network(nn.Sequential(), nn.Linear(prod(shape), width))
        nn.init.zeros_(network.head.weight)
        nn.init.zeros_(network.head.bias)
        return network

    def solve(self, network: Network, x: Tensor, target: Tensor, recipe: Recipe, seed: int) -> None:
        """Solve the normal equations in float64; a defense's weight decay adds to the penalty."""
        features, y = x.flatten(1).double(), target.double()
        mean_x, mean_y = features.mean(0), y.mean()
        centred = features - mean_x
        # The penalty of the loop is half of the squares, and on a mean over the records.
        penalty = self.alpha + recipe.weight_decay * len(x) / 2
        gram = centred.T @ centred
        gram += max(penalty, 1e-8) * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        weight = torch.linalg.solve(gram, centred.T @ (y - mean_y))
        with torch.no_grad():
            network.head.weight.copy_(weight.unsqueeze(0))
            network.head.bias.copy_((mean_y - mean_x @ weight).unsqueeze(0))
