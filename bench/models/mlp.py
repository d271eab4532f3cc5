"""Multi-layer perceptron."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Literal

from torch import nn

from bench.contract import Network, require
from bench.models.activations import ACTIVATIONS
from bench.models.recipe import Trained
from bench.models.seeded import seeded


@dataclass(frozen=True)
class Mlp(Trained):
    """Fully connected network, one block per hidden layer.

    One hidden layer of 3000 sigmoid units is the target of Fredrikson, Jha and Ristenpart (CCS
    2015, section 5.1): ``model=mlp3000``.

    Attributes:
        hidden: sizes of the hidden layers, at least one.
        activation: ``relu``, ``tanh`` or ``sigmoid``.
    """

    hidden: tuple[int, ...] = (256,)
    activation: Literal["relu", "tanh", "sigmoid"] = "relu"

    modalities = frozenset({"image", "table", "basket"})
    tasks = ("classification", "regression")
    offers = frozenset({"descent", "steps", "blocks"})
    reference = "mlp"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            len(self.hidden) > 0 and min(self.hidden) >= 1,
            f"Mlp.hidden is {list(self.hidden)}; give at least one size of at least 1 "
            "(model=softmax has no hidden layer).",
        )
        require(
            self.activation in ACTIVATIONS,
            f"Mlp.activation is '{self.activation}'; allowed: {', '.join(ACTIVATIONS)}.",
        )

    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """A freshly initialised network; the same seed gives the same weights."""
        sizes = (prod(shape), *self.hidden)
        with seeded(seed):
            blocks = [
                nn.Sequential(nn.Linear(before, after), ACTIVATIONS[self.activation]())
                for before, after in pairwise(sizes)
            ]
            blocks[0].insert(0, nn.Flatten())
            return Network(nn.Sequential(*blocks), nn.Linear(sizes[-1], width))
