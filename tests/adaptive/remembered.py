"""A perceptron that remembers its few members, behind a defense in training."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from bench.contract import Attack, Exposure, Knowledge, TrainingDefense
from bench.contract.components import Reconstruction
from bench.models.training import train
from tests.attacks import test_kkt as shop

MEMBERS = 16
MODEL = replace(shop.MODEL, hidden=(64, 64))


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
        layers = [defense] if isinstance(defense, TrainingDefense) else []
        network, _ = train(MODEL, layers, shop.world(MEMBERS), seed, "cpu")
        known = tuple(map(config, layers)) if self.told else ()
        knowledge = Knowledge(
            shop.CARD, shop.PUBLIC, known, classes=torch.arange(shop.CLASSES)
        )
        exposure = Exposure("weights", network, network, network)
        found: Reconstruction = attack.run(exposure, knowledge, seed, "cpu")
        return max(0.0, 2 * shop.nearer(found.values, MEMBERS) - 1)
