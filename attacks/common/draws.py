"""Drawing records at random."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.contract import generator


def some(n: int, most: int | None, seed: int) -> Tensor:
    """At most ``most`` of ``n`` rows, drawn at random; None: all."""
    return torch.randperm(n, generator=generator(seed))[:most]


def dealt(n: int, count: int, rng: torch.Generator) -> Tensor:
    """``count`` of ``n`` rows in a random order, none twice before all were drawn."""
    rounds = -(-count // n)
    return torch.cat([torch.randperm(n, generator=rng) for _ in range(rounds)])[:count]
