"""A real owner of photographs: a target trained on six people behind a defense."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import normalize

from attacks.common.priors import PcaPrior
from bench.contract import Attack, Knowledge, Network, Splits, TrainingDefense
from bench.models.mlp import Mlp
from bench.models.training import train
from tests.attacks import images

MODEL = Mlp(hidden=(64,), epochs=60, lr=3e-3)
PRIVATE = images.photographs(images.PEOPLE, 8, seed=1)
ALIKE = 0.5


@dataclass(frozen=True)
class Photographed:
    """Six people, reconstructed from the weights of a target that was trained on their pictures.

    Success is the share of the people whom their picture resembles more than anybody else of the
    target's, with a correlation of at least a half: noise that leans a little towards a person is
    no picture of him.
    """

    def success(self, attack: Attack, defense: object, seed: int) -> float:
        exposure = images.exposed(_target(defense, seed), attack.access)
        return _recognised(attack.run(exposure, _held(), seed, "cpu").values.detach())


@cache
def _target(defense: object, seed: int) -> Network:
    layers = [defense] if isinstance(defense, TrainingDefense) else []
    splits = Splits(images.card(), PRIVATE, PRIVATE, _held().public)
    network, _ = train(MODEL, layers, splits, seed, "cpu")
    return network


@cache
def _held() -> Knowledge:
    return images.knowledge(prior=PcaPrior(8).fit(images.knowledge(), 0, "cpu"))


def _recognised(pictures: Tensor) -> float:
    def unit(x: Tensor) -> Tensor:
        return normalize(x.flatten(1) - _held().public.x.mean(0).flatten())

    people = torch.arange(images.PEOPLE)
    means = torch.stack([PRIVATE.x[PRIVATE.y == c].mean(0) for c in people])
    alike = unit(pictures) @ unit(means).T
    right = (alike.argmax(1) == people) & (alike.diagonal() >= ALIKE)
    return float(right.double().mean())
