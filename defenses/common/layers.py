"""Layers that a defense adds to a network."""

from __future__ import annotations

import torch
from torch import nn

from bench.contract import Network


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


def before_head(
    network: Network, block: nn.Module, width: int, rng: torch.Generator, device: str
) -> Network:
    """Append a block and start the head anew on top of it.

    Args:
        network: is changed.
        block: maps what the head read to ``width`` numbers.
        width: of what the new head reads.
        rng: on the CPU; the head is initialised from it, after the block.
        device: where both go.
    """
    head = linear(width, network.head.out_features, rng)
    network.blocks.append(block.to(device))
    network.head = head.to(device)
    return network
