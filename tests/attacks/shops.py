"""A toy shop with a recommender in closed form."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from bench.contract import Card, Knowledge, Network, Split, generator

ITEMS, THEMES = 40, 8


@cache
def baskets(n: int = 900, seed: int = 0) -> Tensor:
    """Customers who buy what belongs to two of eight themes, and a few things besides."""
    g = generator(seed)
    rate = torch.full((n, ITEMS), 0.04)
    for _ in range(2):
        theme = torch.randint(THEMES, (n, 1), generator=g)
        rate.scatter_(1, theme * 5 + torch.arange(5), 0.6)
    return (torch.rand(n, ITEMS, generator=g) < rate).float()


@cache
def ease(strength: float = 20.0) -> Tensor:
    """Item weights of EASE (Steck, WWW 2019, eq. 8), fitted on customers of its own."""
    x = baskets(seed=1).double()
    inverse = torch.linalg.inv(x.T @ x + strength * torch.eye(ITEMS, dtype=x.dtype))
    weight = -inverse / inverse.diagonal()
    return weight.fill_diagonal_(0.0).float()


def card() -> Card:
    items = tuple(map(str, range(ITEMS)))
    return Card(
        "shop",
        "retail",
        "basket",
        (ITEMS,),
        (),
        "record",
        "",
        "",
        True,
        None,
        items,
        tasks=("recommendation",),
    )


def split(x: Tensor) -> Split:
    zeros = torch.zeros(len(x), dtype=torch.int64)
    return Split(x, zeros, torch.arange(len(x)))


def told(observed: Tensor | None, public: Tensor | None = None) -> Knowledge:
    known = split(baskets()[:600] if public is None else public)
    return Knowledge(card(), known, observed=observed, task="recommendation")


def victims() -> Tensor:
    return baskets()[600:]


def linear(weight: Tensor, bias: float = 0.0) -> Network:
    head = nn.Linear(*weight.shape)
    with torch.no_grad():
        head.weight.copy_(weight.T)
        head.bias.fill_(bias)
    return Network(nn.Sequential(), head).eval()
