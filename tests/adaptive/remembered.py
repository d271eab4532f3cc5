"""A perceptron that remembers its few members, behind a defense in training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import torch

from bench.contract import Attack, Exposure, Knowledge, Network, TrainingDefense
from bench.models.training import train
from tests.adaptive.cases import layer_of
from tests.attacks import test_kkt as shop

MEMBERS = 12
MODEL = replace(shop.MODEL, hidden=(64, 128))


@dataclass(frozen=True)
class Remembered:
    """Baskets of the members, from the weights of a network with two hidden layers.

    Success is the member gap of the goal: twice the excess over one half of the share of returned
    baskets that are nearer to a member than to any held-out one.

    Attributes:
        told: whether the attacker knows the defense (K4).
    """

    told: bool = True

    def success(self, attack: Attack, defense: object, seed: int) -> float:
        network = _trained(defense, seed)
        known = (layer_of(defense),) if self.told and defense is not None else ()
        knowledge = Knowledge(shop.CARD, shop.PUBLIC, known, classes=torch.arange(shop.CLASSES))
        exposure = Exposure("weights", network, network, network)
        found = attack.run(exposure, knowledge, seed, "cpu").values
        return max(0.0, 2 * shop.nearer(found, MEMBERS) - 1)


@cache
def _trained(defense: object, seed: int) -> Network:
    layers = [defense] if isinstance(defense, TrainingDefense) else []
    network, _ = train(MODEL, layers, shop.world(MEMBERS), seed, "cpu")
    return network
