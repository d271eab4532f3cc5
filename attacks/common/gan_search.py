"""What searches in a GAN's latent share: the identity loss, its slope and the checks of options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attacks.common.latent import Latent, ask, objective
from bench.contract import require

LOSSES = ("cross_entropy", "logit", "margin")
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
    loss: str
    spread: float = 1.0

    @classmethod
    def of(
        cls,
        network: nn.Module,
        latent: Latent,
        classes: Tensor,
        loss: str,
        rng: torch.Generator,
        samples: int = 256,
    ) -> Identity:
        """The published cross-entropy as it is; another loss in units of its spread.

        The spread is the standard deviation over prior samples, averaged over ``classes``: a
        defense that only shrinks or stretches logits does not change an adaptive attack.
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
        out = value(part, rows)
        gradients.append(torch.autograd.grad(out.sum(), part)[0])
        values.append(out.detach())
    return torch.cat(values), torch.cat(gradients)


def check_options(attack: Any, counts: tuple[str, ...], positive: tuple[str, ...]) -> None:
    """Refuse options no search in a GAN's latent can have.

    Args:
        attack: with ``access``, ``loss``, ``weight`` and ``jitter``.
        counts: options that are whole numbers of at least 1.
        positive: options that are above 0.
    """
    name = type(attack).__name__
    require(
        attack.access == "weights",
        f"{name}.access is '{attack.access}'; it needs gradients: set access=weights, or use "
        "prior_inversion with prior GanPrior for other access.",
    )
    require(attack.loss in LOSSES, f"{name}.loss is '{attack.loss}'; allowed: {', '.join(LOSSES)}.")
    for key in counts:
        value = getattr(attack, key)
        require(value >= 1, f"{name}.{key} is {value}; give a whole number of at least 1.")
    for key in positive:
        value = getattr(attack, key)
        require(value > 0, f"{name}.{key} is {value}; give a number above 0.")
    require(attack.weight >= 0, f"{name}.weight is {attack.weight}; give 0 or more.")
    require(
        0 <= attack.jitter < 0.5, f"{name}.jitter is {attack.jitter}; give a share in [0, 0.5)."
    )
