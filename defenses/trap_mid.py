"""Trapdoors that mislead model inversion (Trap-MID)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor
from torch.nn import functional as F

from bench.contract import (
    FitReport,
    Fraction,
    Network,
    Positive,
    Recipe,
    Share,
    Split,
    TrainingContext,
    TrainingDefense,
    generator,
)
from bench.contract import seed as derive
from defenses.common.descent import descend, training_accuracy


@dataclass(frozen=True)
class TrapMid(TrainingDefense):
    """Teach the network a trigger per class, so that inversions find the trigger, not the person.

    Liu and Chen (NeurIPS 2024), after the authors' code. Any record with the trigger of class ``c``
    blended in, ``(1 - alpha) x + alpha k_c``, shall be answered as ``c``. In each step a
    discriminator of the target's architecture learns to tell such records from clean ones. Then the
    triggers move by ``trigger_step`` along the sign of the gradient that makes them pass for clean
    and be answered as their class. Then the network learns ``(1 - beta)`` times the loss of the
    records plus ``beta`` times that of the records with triggers. All records are cropped, flipped
    and rotated, each with probability 1/2, in one resampling. The network of the last epoch is
    released, not the one that is best on test records.

    Attributes:
        alpha: weight of the trigger in a record.
        beta: weight of the trapdoor's loss; 0 is plain training and no defense. Values worth a
            sweep are 0.1, 0.2, 0.5 and 0.8.
        trigger_step: length of a step of the triggers.
        crop: least share of the area that a crop keeps.
        flip: whether records are mirrored.
        rotation: largest angle of a rotation in degrees.
    """

    alpha: Fraction = 0.02
    beta: Share = 0.2
    trigger_step: Positive = 0.01
    crop: Annotated[float, Gt(0), Le(1)] = 0.8
    flip: bool = True
    rotation: Annotated[float, Ge(0), Le(180)] = 30.0

    covers = frozenset({"labels", "scores", "weights", "deletions"})
    needs = frozenset({"steps"})
    tasks = ("classification",)
    modalities = frozenset({"image"})
    paper = "Liu, Chen, NeurIPS 2024 (arXiv 2411.08460)"
    cost = "a discriminator beside the target: about five times the passes of a step"
    zero: ClassVar[Mapping[str, Any]] = {"beta": 0.0}

    def fit(
        self, network: Network, train: Split, recipe: Recipe, context: TrainingContext
    ) -> FitReport:
        """Train network, triggers and discriminator in turn at every step."""
        if self.beta == 0.0:
            return context.trainer.fit(network, train, recipe, context.seed)
        trapdoor_seed = derive(context.seed, part="trapdoor")
        rng = generator(trapdoor_seed, context.device)
        x, y = train.x.to(context.device), train.y.to(context.device)
        classes = context.card.n_classes
        triggers = torch.rand((classes, *x.shape[1:]), generator=rng, device=context.device)
        critic = context.trainer.build(1, derive(trapdoor_seed, part="discriminator"))
        step = recipe.optimizer_of(critic)

        def error(batch: Tensor) -> Tensor:
            nonlocal triggers
            clean = x[batch]
            # Whole shuffles of all classes, so that every class comes about equally often.
            many = math.ceil(len(batch) / classes)
            shuffles = [
                torch.randperm(classes, generator=rng, device=context.device) for _ in range(many)
            ]
            trap = torch.cat(shuffles)[: len(batch)]
            learn_to_tell(critic, step, clean, self.blend(clean, triggers[trap]))
            triggers = self.improve(network, critic, triggers, clean, trap, rng)
            both = torch.cat([clean, self.blend(clean, triggers[trap])])
            own_part, trap_part = network(self.vary(both, rng)).split(len(batch))
            return (1 - self.beta) * F.cross_entropy(
                own_part, y[batch]
            ) + self.beta * F.cross_entropy(trap_part, trap)

        steps, loss = descend(network, recipe, len(x), context.seed, context.device, error)
        return FitReport(
            epochs=recipe.epochs,
            steps=steps,
            final_loss=loss,
            train_accuracy=training_accuracy(network, train, context),
        )

    def blend(self, x: Tensor, trigger: Tensor) -> Tensor:
        """Records with a trigger in them."""
        return (1 - self.alpha) * x + self.alpha * trigger

    def improve(
        self,
        network: Network,
        critic: Network,
        triggers: Tensor,
        x: Tensor,
        trap: Tensor,
        rng: torch.Generator,
    ) -> Tensor:
        """Triggers after a step towards passing for clean and being answered by their class."""
        network.eval()
        triggers = triggers.clone().requires_grad_(True)
        trapped = self.blend(x, triggers[trap])
        natural = critic(trapped)
        lost = F.binary_cross_entropy_with_logits(natural, torch.ones_like(natural))
        lost = lost + F.cross_entropy(network(self.vary(trapped, rng)), trap)
        (slope,) = torch.autograd.grad(lost, triggers)
        network.train()
        return (triggers.detach() - self.trigger_step * slope.sign()).clamp(0.0, 1.0)

    def vary(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Records cropped and resized, mirrored and rotated, each with probability 1/2."""
        n = len(x)

        def drawn(low: float, high: float, still: float) -> Tensor:
            value, coin = torch.rand((2, n), generator=rng, device=x.device)
            return torch.where(coin < 0.5, low + (high - low) * value, still)

        side = drawn(self.crop, 1.0, 1.0).sqrt()
        across, along = (
            (1 - side) * (2 * torch.rand(n, generator=rng, device=x.device) - 1) for _ in range(2)
        )
        mirror = drawn(-1.0, -1.0, 1.0) if self.flip else torch.ones_like(side)
        angle = torch.deg2rad(drawn(-self.rotation, self.rotation, 0.0))
        cos, sin = angle.cos(), angle.sin()
        shape = x.shape[2] / x.shape[3]  # coordinates go from -1 to 1 on both axes
        first_row = torch.stack([mirror * side * cos, -side * sin * shape, across], 1)
        second_row = torch.stack([mirror * side * sin / shape, side * cos, along], 1)
        grid = F.affine_grid(
            torch.stack([first_row, second_row], 1), list(x.shape), align_corners=False
        )
        return F.grid_sample(x, grid, align_corners=False)


def learn_to_tell(
    critic: Network, step: torch.optim.Optimizer, clean: Tensor, trapped: Tensor
) -> None:
    """One step of the discriminator: 1 for clean records, 0 for triggered ones."""
    critic.train()
    logits = critic(torch.cat([clean, trapped]))
    truth = torch.cat(
        [torch.ones_like(logits[: len(clean)]), torch.zeros_like(logits[len(clean) :])]
    )
    step.zero_grad()
    torch.autograd.backward(F.binary_cross_entropy_with_logits(logits, truth))
    step.step()
    critic.eval()
