"""Training on public records first, whose classes may be others than the private ones."""

from __future__ import annotations

from dataclasses import replace

import torch

from bench.contract import FitReport, Network, Recipe, TrainingContext, require
from bench.contract import seed as derive


def pretrained(context: TrainingContext, recipe: Recipe, why: str) -> tuple[Network, FitReport]:
    """A network of the target's architecture, trained on the labels of the public records.

    Args:
        context: of the private training.
        recipe: of the training on public records.
        why: the option that asks for it, as the start of the message.

    Returns:
        The network, and what training did; the report counts the public records.

    Raises:
        UserError: all public records are of one class.
        DivergedError: the loss became NaN or Inf.
    """
    names, labels = torch.unique(context.public.y, return_inverse=True)
    require(
        len(names) > 1,
        f"{why}, which takes public records of two classes or more; those of "
        f"'{context.card.name}' have one class.",
    )
    seed = derive(context.seed, part="pretraining")
    network = context.trainer.build(len(names), seed)
    report = context.trainer.fit(network, replace(context.public, y=labels), recipe, seed)
    return network, replace(report, public_records=len(labels))
