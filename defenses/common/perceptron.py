"""Small perceptrons that an owner fits on answers; their weights are tensors with names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.contract import generator


def fresh(name: str, sizes: Sequence[int], rng: torch.Generator, device: str) -> dict[str, Tensor]:
    """Weights of a perceptron with ``sizes`` inputs, hidden units and outputs, in float64.

    They are drawn on the CPU and then moved, so that they do not depend on the device.
    """
    weights = {}
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        for part, shape in (("weight", (fan_out, fan_in)), ("bias", (fan_out,))):
            drawn = torch.rand(shape, generator=rng, dtype=torch.float64) * 2 - 1
            weights[f"{name}.{i}.{part}"] = (drawn * fan_in**-0.5).to(device).requires_grad_()
    return weights


def run(name: str, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Outputs of the perceptron ``name`` on ``x``, with a ReLU between its layers."""
    depth = sum(key.startswith(f"{name}.") for key in weights) // 2
    for i in range(depth):
        x = F.linear(x, weights[f"{name}.{i}.weight"], weights[f"{name}.{i}.bias"])
        x = F.relu(x) if i < depth - 1 else x
    return x


def fit(
    weights: Mapping[str, Tensor],
    loss: Callable[[Tensor, torch.Generator], Tensor],
    n: int,
    steps: int,
    seed: int,
) -> dict[str, Tensor]:
    """Minimise ``loss`` of random batches of 128 records by Adam, and return the last weights.

    Args:
        weights: changed in place.
        loss: gives the loss of the records at an index int64 ``[b]`` (on the CPU), with a generator
            for noise.
        n: number of records.
        steps: number of steps of Adam; the learning rate falls to 0 along a cosine.
        seed: decides the batches and the noise.
    """
    rng = generator(seed)
    optimizer = torch.optim.Adam(weights.values(), lr=0.003)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            batch = torch.randint(n, (min(n, 128),), generator=rng)
            torch.autograd.backward(loss(batch, rng))
            optimizer.step()
            schedule.step()
    return {key: value.detach() for key, value in weights.items()}
