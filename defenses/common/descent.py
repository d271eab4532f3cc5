"""Mini-batch descent on any loss, for defenses whose training loop is their own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench.contract import DivergedError, Network, Recipe, Split, TrainingContext, generator, seeded
from bench.contract import seed as derive
from bench.contract.task import agreement, targets


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
        network: is left in evaluation mode.
        recipe: holds nothing out, because early stopping belongs to the shared loop.
        n: number of records.
        seed: decides the order of batches and the noise of layers.
        device: torch device name.
        error: gives the loss of the records at an index int64 ``[k]``; the network is in training
            mode.

    Returns:
        The number of optimiser steps, and the mean loss of the last epoch.

    Raises:
        DivergedError: the loss became NaN or Inf.
    """
    steps, mean = 0, 0.0
    optimizer = recipe.optimizer_of(network)
    order = generator(derive(seed, part="batches"))
    with seeded(derive(seed, part="layers"), device):
        network.train()
        for epoch in range(recipe.epochs):
            optimizer.param_groups[0]["lr"] = recipe.lr_at(epoch)
            total = torch.zeros((), device=device)
            shuffled = torch.randperm(n, generator=order).to(device)
            for batch in torch.split(shuffled, recipe.batch_size):
                loss = error(batch)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                total += loss.detach() * len(batch)
                steps += 1
            mean = total.item() / n
            if not math.isfinite(mean):
                raise DivergedError(
                    f"The training loss became {mean} in epoch {epoch + 1} of {recipe.epochs}; "
                    f"lower the learning rate ({recipe.lr})."
                )
    optimizer.zero_grad()
    network.eval()
    return steps, mean


@torch.no_grad()
def predict(network: Network, x: Tensor, batch_size: int = 1024) -> Tensor:
    """Raw outputs ``[n, width]`` in evaluation mode."""
    network.eval()
    return torch.cat([network(part) for part in torch.split(x, batch_size)])


def training_accuracy(network: Network, train: Split, context: TrainingContext) -> float:
    """How well a trained network does on its training records, for the report of a training."""
    outputs = predict(network, train.x.to(context.device))
    return agreement(context.task, outputs, targets(context.task, train).to(context.device))
