"""Softmax (multinomial logistic) regression."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from torch import nn

from bench.contract import Network, Positive, seeded
from bench.contract.training import Optimizer
from bench.models.recipe import Trained


@dataclass(frozen=True)
class Softmax(Trained):
    """One linear layer on the flattened record: the target of Fredrikson et al. (CCS 2015).

    It has no hidden block, so it offers none to a defense.
    """

    lr: Positive = 1e-2
    optimizer: Optimizer = "sgd"

    modalities = frozenset({"image", "table", "basket"})
    stacks = True
    reference = "logistic"

    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """A freshly initialised network; the same seed gives the same weights."""
        with seeded(seed):
            return Network(nn.Sequential(), nn.Linear(prod(shape), width))
