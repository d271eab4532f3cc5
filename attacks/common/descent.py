"""White-box descent in a latent: identity losses, and Adam over many rows at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from attacks.common.latent import objective
from bench.contract import DivergedError, require

IdentityLoss = Literal["poincare", "cross_entropy", "logit", "margin"]


def poincare(logits: Tensor, classes: Tensor, xi: float = 1e-4) -> Tensor:
    """Hyperbolic distance of L1-normalised logits to the class (Struppek et al., ICML 2022, eq. 3).

    Args:
        logits: ``[n, n_classes]``.
        classes: int64 ``[n]``.
        xi: how far the class's corner, ``1 - xi`` in its coordinate, stands inside the ball.

    Returns:
        ``[n]``, at least 0.
    """
    u = logits / logits.abs().sum(1, keepdim=True).clamp_min(1e-12)
    v = torch.zeros_like(u).scatter(1, classes.unsqueeze(1), 1 - xi)
    # u reaches the ball's edge only where a single logit differs from 0.
    inside = (1 - u.square().sum(1)).clamp_min(1e-6) * (1 - (1 - xi) ** 2)
    excess = 2 * (u - v).square().sum(1) / inside
    return torch.acosh(1 + excess.clamp_min(1e-7))


def identity_loss(logits: Tensor, classes: Tensor, loss: IdentityLoss) -> Tensor:
    """What an attacker minimises ``[n]``, one class a row; see ``objective`` for the names."""
    if loss == "poincare":
        return poincare(logits, classes)
    return objective(logits, loss).gather(1, classes.unsqueeze(1)).squeeze(1)


def descend(
    total: Callable[[Tensor, slice], Tensor],
    z: Tensor,
    steps: int,
    rate: float,
    betas: tuple[float, float],
    hold: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Adam with a rate that falls to 0 by a half cosine; rows do not touch each other.

    Args:
        total: what is minimised: rows ``[n, ...]`` and their place among all rows, to ``[n]``.
        z: starts ``[m, ...]``.
        steps: of Adam.
        rate: learning rate.
        betas: of Adam.
        hold: projects rows after each step.

    Returns:
        Where the rows ended, and the trace ``[steps]`` of the mean of minus ``total``.

    Raises:
        DivergedError: NaN or Inf.
    """
    # A small batch stays in a processor's cache; a GPU wants a large one.
    size = 128 if z.device.type == "cpu" else 4096
    ends, traces = [], []
    for start in range(0, len(z), size):
        place = slice(start, start + size)
        rows = z[place].clone().requires_grad_()
        optimiser = torch.optim.Adam([rows], rate, betas=betas, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        trace = []
        for _ in range(steps):
            loss = total(rows, place).sum()
            (rows.grad,) = torch.autograd.grad(loss, rows)
            optimiser.step()
            schedule.step()
            trace.append(-loss.detach())
            with torch.no_grad():
                rows.copy_(hold(rows))
        ends.append(rows.detach())
        traces.append(torch.stack(trace))
    ended = torch.cat(ends)
    if not bool(torch.isfinite(ended).all()):
        raise DivergedError(f"The descent produced NaN or Inf; lower learning_rate ({rate}).")
    return ended, torch.stack(traces).sum(0) / len(z)


class Features:
    """What entered the last linear layer of a network at its latest pass, ``[n, d]``."""

    value: Tensor

    def __init__(self, network: nn.Module) -> None:
        linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
        require(bool(linear), "The target has no linear head, so it has no penultimate features.")
        linear[-1].register_forward_pre_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.value = inputs[0]
