"""Recommenders: from what a customer bought to a score for everything the shop sells."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract import Count, Network, Positive, Recipe, Share, Task
from bench.models.recipe import Solved, Trained
from bench.models.seeded import seeded


@dataclass(frozen=True)
class Ease(Solved):
    """EASE, the linear item-to-item model in closed form (Steck, WWW 2019, section 3).

    Attributes:
        penalty: lambda, the L2 penalty on the weights, in units of a customer.
    """

    penalty: Positive = 100.0

    modalities = frozenset({"basket"})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)
    offers: ClassVar[frozenset[str]] = frozenset()
    reference = "item_knn"

    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """A model that recommends nothing, whatever the seed."""
        network = Network(nn.Sequential(), nn.Linear(prod(shape), width, bias=False))
        nn.init.zeros_(network.head.weight)
        return network

    def solve(self, network: Network, x: Tensor, target: Tensor, recipe: Recipe, seed: int) -> None:
        """``B = I - P diag(1 / diag P)`` with ``P = (X'X + lambda I)^-1`` (eq. 8), in float64."""
        bought = x.flatten(1).double()
        eye = torch.eye(bought.shape[1], dtype=bought.dtype, device=bought.device)
        p = torch.linalg.inv(bought.T @ bought + self.penalty * eye)
        weight = eye - p / p.diagonal()
        weight.fill_diagonal_(0.0)
        with torch.no_grad():
            network.head.weight.copy_(weight.T)


@dataclass(frozen=True)
class PureSvd(Solved):
    """PureSVD, a factorisation that serves new customers too (Cremonesi et al., RecSys 2010).

    ``scores = x V V'`` with the leading right singular vectors of the members' baskets.

    Attributes:
        factors: number of singular vectors.
    """

    factors: Count = 10

    modalities = frozenset({"basket"})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)
    offers: ClassVar[frozenset[str]] = frozenset()
    reference = "item_knn"

    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """A model that recommends nothing, whatever the seed."""
        factors = min(self.factors, prod(shape))
        into = nn.Linear(prod(shape), factors, bias=False)
        network = Network(nn.Sequential(into), nn.Linear(factors, width, bias=False))
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
        return network

    def solve(self, network: Network, x: Tensor, target: Tensor, recipe: Recipe, seed: int) -> None:
        """Eigenvectors of ``X'X`` in float64, largest first; each is signed by its largest item."""
        bought = x.flatten(1).double()
        vectors = torch.linalg.eigh(bought.T @ bought).eigenvectors.flip(1)
        into, head = network.blocks[0], network.head
        assert isinstance(into, nn.Linear)
        v = vectors[:, : into.out_features]
        v = v * v.gather(0, v.abs().argmax(0, keepdim=True)).sign()
        with torch.no_grad():
            into.weight.copy_(v.T)
            head.weight.copy_(v)


class _Scaled(nn.Module):
    """A basket scaled to unit length."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x.flatten(1), dim=1)


@dataclass(frozen=True)
class AutoEncoder(Trained):
    """Mult-DAE, the denoising auto-encoder of Liang et al. (WWW 2018, section 2.3).

    It has one hidden layer of ``tanh`` units over baskets of unit length, and a multinomial
    likelihood over all items. Half of the items of a basket are dropped in training.

    Attributes:
        hidden: number of hidden units (200 in the paper, for catalogues of 20,000 films).
        corruption: share of the basket that is dropped in training. It is part of the model, since
            an auto-encoder without it learns to repeat what was bought.
    """

    epochs: Count = 30
    batch_size: Count = 100
    hidden: Count = 64
    corruption: Share = 0.5

    modalities = frozenset({"basket"})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)
    offers: ClassVar[frozenset[str]] = frozenset({"descent", "steps", "blocks"})
    reference = "item_knn"

    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """A freshly initialised network; the same seed gives the same weights."""
        with seeded(seed):
            encoder = nn.Sequential(
                _Scaled(),
                nn.Dropout(self.corruption),
                nn.Linear(prod(shape), self.hidden),
                nn.Tanh(),
            )
            return Network(nn.Sequential(encoder), nn.Linear(self.hidden, width))
