"""Descent on dummy records, or on their latents, until their gradient is the shared one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.common.federated import total_variation

_DECAY = (3 / 8, 5 / 8, 7 / 8)
"""Fractions of the steps after which the step size falls to a tenth (Geiping et al. 2020)."""


@dataclass(frozen=True)
class Descended:
    """Where the rows of a descent were best.

    Attributes:
        images: ``[rows, batch_size, *shape]``.
        loss: of every row ``[rows]``, the regularisation included.
        distance: to what was shared ``[rows]``.
        trace: ``[steps]``, the mean over rows of the smallest loss so far.
    """

    images: Tensor
    loss: Tensor
    distance: Tensor
    trace: Tensor


def descend(
    start: Tensor,
    distance: Callable[[Tensor], Tensor],
    steps: int,
    step_size: float,
    tv: float,
    signed: bool,
    decode: Callable[[Tensor], Tensor] | None = None,
    penalty: float = 0.0,
) -> Descended:
    """Adam on the distance plus total variation; every row keeps its best step.

    Args:
        start: records ``[rows, batch_size, *shape]``, or latents ``[rows, batch_size, k]``.
        distance: from records ``[rows, batch_size, *shape]`` to ``[rows]``, differentiable.
        steps: evaluations of the distance.
        step_size: of Adam; it falls to a tenth after 3/8, 5/8 and 7/8 of the steps.
        tv: weight of the total variation.
        signed: whether Adam sees the gradient's sign only.
        decode: records of latents; None: the rows are records, clipped to [0, 1] at each step.
        penalty: weight of a latent's squared norm per dimension.
    """
    z = start.clone().requires_grad_()
    # Rows are independent under Adam: it works coordinate by coordinate.
    optimizer = torch.optim.Adam([z], lr=step_size, fused=True)
    milestones = [int(steps * share) for share in _DECAY]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)
    best = z.detach().clone()
    lowest = torch.full_like(z.detach().flatten(1)[:, 0], torch.inf)
    closest = torch.ones_like(lowest)
    trace = []
    for _ in range(steps):
        x = z if decode is None else decode(z)
        apart = distance(x)
        loss = apart + tv * total_variation(x)
        if decode is not None and penalty:
            loss = loss + penalty * z.square().flatten(1).mean(1)
        (slope,) = torch.autograd.grad(loss.sum(), z)
        better = loss.detach() < lowest
        lowest = torch.where(better, loss.detach(), lowest)
        closest = torch.where(better, apart.detach(), closest)
        with torch.no_grad():
            best[better] = z[better]
            z.grad = slope.nan_to_num(0.0).sign() if signed else slope.nan_to_num(0.0)
            optimizer.step()
            if decode is None:
                z.clamp_(0.0, 1.0)
        schedule.step()
        trace.append(lowest.nan_to_num(1.0, posinf=1.0).mean())
    with torch.no_grad():
        images = best if decode is None else decode(best)
    return Descended(images.detach(), lowest, closest, torch.stack(trace))
