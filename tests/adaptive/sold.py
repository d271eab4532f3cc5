"""A real shop that sells scores: a target trained on baskets behind a defense."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from attacks.common.item_decoders import mean_f1
from attacks.popularity import Popularity
from bench.contract import (
    Attack,
    Card,
    Exposure,
    Knowledge,
    Split,
    Splits,
    TrainingDefense,
    generator,
)
from bench.engine.deployment import Deployment
from bench.models.mlp import Mlp
from bench.models.training import train
from tests.attacks import test_basket_decoder as baskets

MODEL = Mlp(hidden=(64,), epochs=60, lr=3e-3)
PUBLIC, ALL, CLASSES = 600, 900, 4
UNDEFENDED = 0.57
"""F1 of a decoder of the undefended scores."""


@dataclass(frozen=True)
class Sold:
    """Members' baskets from the scores of a target that was trained on them.

    A basket holds the items of one of four sections and of one of two themes. The class is the
    section for six tenths of them, and another section, which follows from the theme, for the rest.
    So scores tell section and theme, and the label tells neither for sure.

    Success is what the attack adds to the label's popularity, as a share of what a decoder of
    undefended scores adds.

    Attributes:
        aware: whether the attacker's decoder learns from the defended answers; else from those of a
            target trained without the defense.
    """

    aware: bool = True

    def success(self, attack: Attack, defense: object, seed: int) -> float:
        card, public, members = _shop()
        sold = _scores(defense, seed)
        asked = sold if self.aware else _scores(None, seed)
        knowledge = Knowledge(card, public, observed=sold(members.x), victim_labels=members.y)
        exposure = Exposure(attack.access, asked, lambda x: asked(x).argmax(1))
        found = _f1(attack.run(exposure, knowledge, seed, "cpu").values)
        nothing = Exposure("none", asked, asked)
        blind = Popularity(given_label=True).run(nothing, knowledge, 0, "cpu").values
        popular = _f1(blind)
        return max(0.0, (found - popular) / (UNDEFENDED - popular))


class _Scores:
    """Scores of a target, as a function of baskets."""

    def __init__(self, owner: Deployment) -> None:
        self.owner = owner

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        return self.owner.answer(x, generator(0))


@cache
def _scores(defense: object, seed: int) -> _Scores:
    card, public, members = _shop()
    layers = [defense] if isinstance(defense, TrainingDefense) else []
    splits = Splits(card, members, members, public)
    network, _ = train(MODEL, layers, splits, seed, "cpu")
    return _Scores(Deployment(splits, MODEL, layers, (), seed, network, "cpu"))


@cache
def _shop() -> tuple[Card, Split, Split]:
    card, *_ = baskets.shop()
    rng, rows = generator(0), torch.arange(ALL)
    section = torch.randint(CLASSES, (ALL,), generator=rng)
    theme = torch.randint(2, (ALL,), generator=rng)
    rate = torch.full((ALL, card.shape[0]), 0.05)
    for item in range(5):
        rate[rows, section * 5 + item] = 0.6
        rate[rows, 20 + theme * 10 + item] = 0.6
    x = (torch.rand(rate.shape, generator=rng) < rate).float()
    regular = torch.rand(ALL, generator=rng) < 0.6
    y = torch.where(regular, section, (section + 1 + theme) % CLASSES)
    data = Split(x, y, rows)
    return card, data.take(rows < PUBLIC), data.take(rows >= PUBLIC)


def _f1(values: Tensor) -> float:
    _, public, members = _shop()
    return mean_f1(values, members.x, round(float(public.x.sum(1).mean())))
