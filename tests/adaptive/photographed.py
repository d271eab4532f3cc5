"""A real owner of photographs: a target trained on people's pictures behind a defense."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import normalize

from attacks.common.priors import PcaPrior
from bench.contract import Attack, Knowledge, Model, Network, Split, Splits, TrainingDefense
from bench.models.mlp import Mlp
from bench.models.training import train
from tests.attacks import images

MODEL = Mlp(hidden=(64,), epochs=60, lr=3e-3)
WIDE = Mlp(hidden=(256,), epochs=45, lr=1e-3)
ALIKE = 0.5


@dataclass(frozen=True)
class Photographed:
    """People, reconstructed from a target that was trained on eight pictures of each.

    The attacker holds what the attack's access gives: the target's weights, scores or labels.

    Success is the share of the people whom their picture resembles more than anybody else of the
    target's, with a correlation of at least a half: noise that leans a little towards a person is
    no picture of him.

    Attributes:
        people: number of people.
        drawn: seed that draws them; None: that of the success.
        model: the target's architecture and recipe.
        components: of the attacker's prior, principal components of public pictures.
    """

    people: int = images.PEOPLE
    drawn: int | None = 1
    model: Model = MODEL
    components: int = 8

    def success(self, attack: Attack, defense: object, seed: int) -> float:
        return _success(self, attack, defense, seed)

    def private(self, seed: int) -> Split:
        """The people's pictures."""
        return images.photographs(self.people, 8, seed if self.drawn is None else self.drawn)


@cache
def _success(case: Photographed, attack: Attack, defense: object, seed: int) -> float:
    exposure = images.exposed(_target(case, defense, seed), attack.access)
    held = _held(case.people, case.components)
    pictures = attack.run(exposure, held, seed, "cpu").values.detach()
    return _recognised(pictures, case.private(seed), held)


@cache
def _target(case: Photographed, defense: object, seed: int) -> Network:
    layers = [defense] if isinstance(defense, TrainingDefense) else []
    private, public = case.private(seed), _held(case.people, case.components).public
    splits = Splits(images.card(case.people), private, private, public)
    network, _ = train(case.model, layers, splits, seed, "cpu")
    return network


@cache
def _held(people: int, components: int) -> Knowledge:
    nobody = images.knowledge(people)
    return images.knowledge(people, PcaPrior(components).fit(nobody, 0, "cpu"))


def _recognised(pictures: Tensor, private: Split, held: Knowledge) -> float:
    def unit(x: Tensor) -> Tensor:
        return normalize(x.flatten(1) - held.public.x.mean(0).flatten())

    people = torch.arange(len(pictures))
    means = torch.stack([private.x[private.y == c].mean(0) for c in people])
    alike = unit(pictures) @ unit(means).T
    right = (alike.argmax(1) == people) & (alike.diagonal() >= ALIKE)
    return float(right.double().mean())
