"""Mini-batch descent on any loss, for defenses whose training loop is their own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench.contract import DivergedError, Network, Recipe, generator
from bench.contract import seed as derive


def optimizer(network: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser of ``recipe``, as the shared loop makes it."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    decay = recipe.weight_decay
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=recipe.lr, weight_decay=decay, fused=True)
    return torch.optim.SGD(parameters, lr=recipe.lr, momentum=0.9, weight_decay=decay, fused=True)


def descend(
    network: Network,
    recipe: Recipe,
    n: int,
    seed: int,
    device: str,
    error: Callable[[Tensor], Tensor],
) -> tuple[int, float]:
    """Train ``network`` in place by ``recipe``, with its batches, optimiser and schedule.

    Args:
        network: left in evaluation mode.
        recipe: holds nothing out: early stopping belongs to the shared loop.
        n: number of records.
        seed: of the order of batches and the noise of layers.
        device: torch device name.
        error: the loss of the records at an index int64 ``[k]``, the network in training mode.

    Returns:
        Optimiser steps, and the mean loss of the last epoch.

    Raises:
        DivergedError: the loss became NaN or Inf.
    """
    steps, mean = 0, 0.0
    descent = optimizer(network, recipe)
    order = generator(derive(seed, part="batches"))
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(derive(seed, part="layers"))
        network.train()
        for epoch in range(recipe.epochs):
            if recipe.schedule == "cosine":
                share = (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2
                descent.param_groups[0]["lr"] = recipe.lr * share
            total = torch.zeros((), device=device)
            shuffled = torch.randperm(n, generator=order).to(device)
            for batch in torch.split(shuffled, recipe.batch_size):
                loss = error(batch)
                descent.zero_grad()
                torch.autograd.backward(loss)
                descent.step()
                total += loss.detach() * len(batch)
                steps += 1
            mean = total.item() / n
            if not math.isfinite(mean):
                raise DivergedError(
                    f"The training loss became {mean} in epoch {epoch + 1} of {recipe.epochs}; "
                    f"lower the learning rate ({recipe.lr})."
                )
    descent.zero_grad()
    network.eval()
    return steps, mean


@torch.no_grad()
def predict(network: Network, x: Tensor, batch_size: int = 1024) -> Tensor:
    """Raw outputs ``[n, width]`` in evaluation mode."""
    network.eval()
    return torch.cat([network(part) for part in torch.split(x, batch_size)])
