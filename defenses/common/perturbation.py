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
    """Where a network's loss is larger, at most ``epsilon`` away in every coordinate.

    Projected gradient ascent by signs from a random start (Madry et al., ICLR 2018, section 2.1).
    Parameters get no gradient. Pictures stay in [0, 1].

    Args:
        network: under training.
        x: records ``[n, *shape]``.
        y: labels int64 ``[n]``, or distributions ``[n, n_classes]``.
        epsilon: half the side of the box.
        steps: gradient steps.
        step_size: of each; negative goes where the loss is smaller.
        rng: of the start, on the records' device.
    """
    low, high = x - epsilon, x + epsilon
    if x.dim() == 4:
        low, high = low.clamp_min(0.0), high.clamp_max(1.0)
    now = low + (high - low) * torch.rand(x.shape, generator=rng, device=x.device)
    for _ in range(steps):
        now = now.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss("classification", network(now), y), now)
        now = (now + step_size * slope.sign()).clamp(low, high)
    return now.detach()
