"""Layers that a defense adds to a network."""

from __future__ import annotations

import torch
from torch import nn


def linear(entering: int, leaving: int, rng: torch.Generator) -> nn.Linear:
    """A layer initialised as PyTorch does, from a generator of its own.

    Args:
        entering: number of inputs.
        leaving: number of outputs.
        rng: on the CPU.
    """
    layer = nn.Linear(entering, leaving, device="meta").to_empty(device="cpu")
    bound = entering**-0.5
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=rng)
    return layer
