"""Perturbed records that a network is trained on: projected gradient steps in a box."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.contract import Network
from bench.contract.task import loss


def perturbed(
    network: Network,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    steps: int,
    step_size: float,
    rng: torch.Generator,
) -> Tensor:
    """Records at most ``epsilon`` away in every number where the network's loss is larger.

    This is projected gradient ascent by signs from a random start (Madry et al., ICLR 2018, section
    2.1). Parameters get no gradient. Pictures stay in [0, 1].

    Args:
        network: the network in training.
        x: records ``[n, *shape]``.
        y: labels int64 ``[n]``, or distributions ``[n, n_classes]``.
        epsilon: half the side of the box around a record.
        steps: number of gradient steps.
        step_size: length of each step; a negative length goes to where the loss is smaller.
        rng: generator of the random start, on the device of the records.
    """
    low, high = x - epsilon, x + epsilon
    if x.dim() == 4:
        low, high = low.clamp_min(0.0), high.clamp_max(1.0)
    moved = low + (high - low) * torch.rand(x.shape, generator=rng, device=x.device)
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss("classification", network(moved), y), moved)
        moved = (moved + step_size * slope.sign()).clamp(low, high)
    return moved.detach()
