"""Multi-layer perceptron."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Annotated

from annotated_types import MinLen
from torch import nn

from bench.contract import Count, Network, seeded
from bench.models.activations import ACTIVATIONS, Activation
from bench.models.recipe import Trained


@dataclass(frozen=True)
class Mlp(Trained):
    """Fully connected network with one block per hidden layer.

    One hidden layer of 3000 sigmoid units is the target of Fredrikson, Jha and Ristenpart (CCS
    2015, section 5.1); it is the option ``model=mlp3000``.

    Attributes:
        hidden: sizes of the hidden layers; ``model=softmax`` has none.
        activation: ``relu``, ``tanh`` or ``sigmoid``.
    """

    hidden: Annotated[tuple[Count, ...], MinLen(1)] = (256,)
    activation: Activation = "relu"

    modalities = frozenset({"image", "table", "basket"})
    tasks = ("classification", "regression")
    offers = frozenset({"descent", "steps", "blocks"})
    stacks = True
    reference = "mlp"

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
