"""What searches in a GAN's latent share: the identity loss and its slope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attacks.common.latent import Latent, Loss, ask, objective
from bench.contract import DivergedError

ROWS = 512
"""Latents per backward pass: bounds the memory of a search over many classes."""


@dataclass(frozen=True)
class Identity:
    """How far images are from their classes, as the target sees it.

    Attributes:
        network: returns logits ``[n, n_classes]``.
        loss: see :func:`attacks.common.latent.objective`.
        spread: what the loss is divided by.
    """

    network: nn.Module
    loss: Loss
    spread: float = 1.0

    @classmethod
    def of(
        cls,
        network: nn.Module,
        latent: Latent,
        classes: Tensor,
        loss: Loss,
        rng: torch.Generator,
        samples: int = 256,
    ) -> Identity:
        """The published cross-entropy as it is; another loss in units of its spread.

        The spread is the standard deviation over prior samples, averaged over ``classes``: a
        defense that only shrinks or stretches logits does not change those.
        """
        if loss == "cross_entropy":
            return cls(network, loss)
        with torch.no_grad():
            logits = ask(network, latent, latent.draw(samples, rng))
            spread = objective(logits, loss)[:, classes].std(0).mean()
        return cls(network, loss, max(float(spread), 1e-6))

    def __call__(self, x: Tensor, own: Tensor) -> Tensor:
        """Losses ``[n]`` of images ``[n, *shape]`` for their classes int64 ``[n]``."""
        values = objective(self.network(x), self.loss)
        return values.gather(1, own.unsqueeze(1)).squeeze(1) / self.spread


def per_class(
    classes: Tensor, n_classes: int, runs: int, size: int, rng: torch.Generator
) -> Tensor:
    """Normal numbers ``[runs * t, size]``, run by run, a class's own whichever others are attacked.

    Args:
        classes: int64 ``[t]``.
        n_classes: of the target.
        runs: per class.
        size: numbers per run.
        rng: of the numbers.
    """
    drawn = torch.randn(runs, n_classes, size, generator=rng, device=rng.device)
    return drawn[:, classes].flatten(0, 1)


def check_finite(z: Tensor, learning_rate: float) -> None:
    """Refuse latents in which a search at ``learning_rate`` lost its way.

    Raises:
        DivergedError: NaN or Inf.
    """
    if not bool(torch.isfinite(z).all()):
        raise DivergedError(
            f"The search produced NaN or Inf; lower learning_rate ({learning_rate})."
        )


def slope(value: Callable[[Tensor, slice], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's value ``[n]`` and gradient ``[n, k]``, ``ROWS`` rows at a time.

    Args:
        value: of latents and the slice of rows they are; each row depends on its own latent only.
        z: ``[n, k]``.
    """
    values, gradients = [], []
    for start in range(0, len(z), ROWS):
        rows = slice(start, start + ROWS)
        part = z[rows].detach().requires_grad_()
        losses = value(part, rows)
        gradients.append(torch.autograd.grad(losses.sum(), part)[0])
        values.append(losses.detach())
    return torch.cat(values), torch.cat(gradients)
