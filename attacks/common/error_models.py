"""How wrong a target is, as an attacker finds out by asking about public records."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.common.candidates import likelihood
from bench.contract import Exposure, Knowledge

LEAST = 1e-6
"""Smallest standard deviation of an error: a target that is right on all public records."""


def confusion(exposure: Exposure, knowledge: Knowledge) -> Tensor:
    """Public records of every true and predicted class, float64 ``[n_classes, n_classes]``.

    Costs a query per public record.
    """
    n, public = knowledge.card.n_classes, knowledge.public
    cells = public.y * n + exposure.labels(public.x)
    return torch.bincount(cells, minlength=n * n).view(n, n).double()


def residual(answers: Tensor, y: Tensor) -> Tensor:
    """True minus answered outcome, float64 ``[n, n_values]``.

    An answer that is no number counts as an outcome of 0, the public mean.

    Args:
        answers: ``[n, n_values, 1]``.
        y: ``[n]``.
    """
    said = torch.nan_to_num(answers.double(), nan=0.0, posinf=0.0, neginf=0.0).squeeze(2)
    return y.double().unsqueeze(1) - said


def log_loss(scores: Tensor, y: Tensor) -> Tensor:
    """``-log p(y | x_v)`` as far as released scores tell, float64 ``[n, n_values]``, at most 28.

    Args:
        scores: ``[n, n_values, n_classes]``.
        y: int64 ``[n]``.
    """
    return -likelihood(scores, y).clamp_min(1e-12).log()


def public_errors(exposure: Exposure, knowledge: Knowledge) -> Tensor:
    """The target's errors on the public records, float64 ``[n_public]``.

    Outcomes: :func:`residual`; classes: :func:`log_loss`. Costs a query per public record.
    """
    public = knowledge.public
    answers = exposure.scores(public.x).unsqueeze(1)
    error = residual if knowledge.task == "regression" else log_loss
    return error(answers, public.y).squeeze(1)


def deviation(errors: Tensor) -> float:
    """Standard deviation of errors around 0 (maximum likelihood), at least :data:`LEAST`."""
    return max(float(errors.square().mean().sqrt()), LEAST)


def log_gaussian(error: Tensor, scale: float) -> Tensor:
    """Log density of ``N(0, scale^2)`` at ``error``, up to a constant."""
    return -0.5 * (error / scale).square()
