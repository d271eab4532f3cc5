"""Limited-memory BFGS on many independent problems at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_ARMIJO = 1e-4


@dataclass(frozen=True)
class Minimum:
    """Where every problem ended.

    Attributes:
        z: lowest point seen ``[rows, d]``.
        loss: its value ``[rows]``.
        trace: mean lowest value over rows after each evaluation ``[steps]``.
        steps: evaluations until a row stopped ``[rows]``.
        stalled: rows that found no lower point along steepest descent.
    """

    z: Tensor
    loss: Tensor
    trace: Tensor
    steps: Tensor
    stalled: Tensor


def minimise(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    steps: int,
    history: int = 20,
    tolerance: float = 0.0,
) -> Minimum:
    """Minimise ``objective`` for every row by itself, all rows in every evaluation.

    Nocedal & Wright, algorithm 7.4, with a backtracking line search (Armijo). A row whose trial
    point is no lower halves its step while the others go on, so no evaluation waits for one row;
    pairs without positive curvature are skipped; a row that finds no lower point forgets its
    history once, then stops.

    Args:
        objective: ``[rows, d]`` to ``[rows]``; row i depends on row i alone.
        start: ``[rows, d]``.
        steps: evaluations of all rows.
        history: pairs kept for each row.
        tolerance: a row stops at this value.
    """
    rows, d = start.shape
    s = start.new_zeros(history, rows, d)
    y, rho = torch.zeros_like(s), start.new_zeros(history, rows)

    def evaluate(z: Tensor) -> tuple[Tensor, Tensor]:
        z = z.detach().requires_grad_()
        loss = objective(z)
        (slope,) = torch.autograd.grad(loss.sum(), z)
        return loss.detach(), slope

    z = start.detach()
    loss, slope = evaluate(z)
    finite = torch.isfinite(loss) & torch.isfinite(slope).all(1)
    active = finite & (loss > tolerance)
    direction = -slope
    # The first step of a steepest descent has no scale of its own.
    length = (1 / slope.abs().sum(1).clamp_min(1e-12)).clamp(max=1.0)
    tries = torch.zeros(rows, dtype=torch.int64, device=z.device)
    fresh = torch.ones(rows, dtype=torch.bool, device=z.device)
    taken = torch.ones(rows, dtype=torch.int64, device=z.device)
    stalled = ~finite
    trace = [loss.nan_to_num(0.0).mean()]
    for _ in range(steps - 1):
        if not bool(active.any()):
            break
        taken += active
        trial = torch.where(active.unsqueeze(1), z + length.unsqueeze(1) * direction, z)
        new_loss, new_slope = evaluate(trial)
        expected = _ARMIJO * length * (slope * direction).sum(1)
        lower = active & (new_loss <= loss + expected) & torch.isfinite(new_slope).all(1)

        step, change = trial - z, new_slope - slope
        curvature = (step * change).sum(1)
        keep = lower & (curvature > 1e-10 * change.square().sum(1).clamp_min(1e-30))
        s, y, rho = _push(s, y, rho, step, change, curvature, keep)
        fresh = fresh & ~keep
        column = lower.unsqueeze(1)
        z, slope = torch.where(column, trial, z), torch.where(column, new_slope, slope)
        loss = torch.where(lower, new_loss, loss)

        tries = torch.where(lower, 0, tries + 1)
        lost = active & (tries >= 20)
        stop = lost & fresh
        stalled |= stop
        active = active & ~stop & (loss > tolerance)
        rho = rho * ~lost  # a pair with rho 0 has no effect
        fresh |= lost
        renew = lower | lost
        proposal = _direction(slope, s, y, rho)
        uphill = (proposal * slope).sum(1) >= 0
        proposal = torch.where(uphill.unsqueeze(1), -slope, proposal)
        direction = torch.where(renew.unsqueeze(1), proposal, direction)
        unit = (1 / slope.abs().sum(1).clamp_min(1e-12)).clamp(max=1.0)
        length = torch.where(renew, torch.where(fresh | uphill, unit, 1.0), length / 2)
        tries = torch.where(lost, 0, tries)
        trace.append(loss.nan_to_num(0.0).mean())
    return Minimum(z, loss, torch.stack(trace), taken, stalled)


def _push(
    s: Tensor,
    y: Tensor,
    rho: Tensor,
    step: Tensor,
    change: Tensor,
    curvature: Tensor,
    keep: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Drop the oldest pair of the rows in ``keep`` and append a new one."""
    wide = keep.view(1, -1, 1)
    s = torch.where(wide, torch.cat([s[1:], step.unsqueeze(0)]), s)
    y = torch.where(wide, torch.cat([y[1:], change.unsqueeze(0)]), y)
    inverse = 1 / torch.where(keep, curvature, 1.0)
    return s, y, torch.where(keep, torch.cat([rho[1:], inverse.unsqueeze(0)]), rho)


def _direction(slope: Tensor, s: Tensor, y: Tensor, rho: Tensor) -> Tensor:
    """The two-loop recursion for every row: ``-H slope``."""
    q = slope.clone()
    alphas = []
    for i in reversed(range(len(s))):
        alpha = rho[i] * (s[i] * q).sum(1)
        alphas.append(alpha)
        q = q - alpha.unsqueeze(1) * y[i]
    last = y[-1].square().sum(1)
    scale = torch.where(rho[-1] > 0, 1 / (rho[-1] * last).clamp_min(1e-30), 1.0)
    q = q * scale.unsqueeze(1)
    for i, alpha in enumerate(reversed(alphas)):
        beta = rho[i] * (y[i] * q).sum(1)
        q = q + s[i] * (alpha - beta).unsqueeze(1)
    return -q
