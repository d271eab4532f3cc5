"""Toy people for the judge: every person a smooth pattern, every image a little different."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.contract import Card, Split, Splits, Truth, Victims, generator
from bench.metrics import evaluators

PEOPLE, SIDE = 8, 16
SHAPE = (1, SIDE, SIDE)


def _images(rng: torch.Generator, people: int, each: int) -> Tensor:
    def smooth(n: int, cells: int) -> Tensor:
        noise = torch.rand(n, 1, cells, cells, generator=rng)
        return F.interpolate(noise, SHAPE[1:], mode="bicubic", align_corners=False)

    who = smooth(people, 4).repeat_interleave(each, 0)
    return (who + 0.35 * (smooth(people * each, 6) - 0.5)).clamp(0, 1)


@cache
def faces(people: int = PEOPLE, each: int = 8, members: int = 5) -> Splits:
    rng = generator(7)
    owner = torch.arange(people).repeat_interleave(each)
    everyone = Split(_images(rng, people, each), owner, owner)
    first = torch.arange(each).repeat(people) < members
    strangers = torch.arange(12).repeat_interleave(3)
    public = Split(_images(rng, 12, 3), strangers, strangers + 1000)
    names = tuple(f"person {i}" for i in range(people))
    card = Card("toy_faces", "face", "image", SHAPE, names, "person", "made here", "none", True)
    return Splits(card, everyone.take(first), everyone.take(~first), public)


@cache
def judged(people: int = PEOPLE) -> tuple[Truth, dict[str, float]]:
    splits = faces(people)
    tensors, facts = evaluators.fit(splits, 0, "cpu")
    victims = Victims(splits.train, torch.ones(len(splits.train), dtype=torch.bool))
    return Truth(splits, victims, torch.arange(people), tensors), facts
