"""How wrong a target is, as an attacker finds out by asking about public records."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.common.candidates import likelihood
from bench.contract import Card, Exposure, Split, Task

LEAST = 1e-6
"""Smallest standard deviation of an error: a target that is right on all public records."""


def confusion(exposure: Exposure, card: Card, public: Split) -> Tensor:
    """Public records of every true and predicted class, float64 ``[n_classes, n_classes]``.

    Costs a query per public record; without records all counts are 0.
    """
    n = card.n_classes
    labels = exposure.labels(public.x) if len(public) else public.y
    return torch.bincount(public.y * n + labels, minlength=n * n).view(n, n).double()


def residual(answers: Tensor, y: Tensor) -> Tensor:
    """True minus answered outcome, float64 ``[n, n_values]``.

    An answer that is no number counts as an outcome of 0, the public mean.

    Args:
        answers: ``[n, n_values, 1]``.
        y: ``[n]``.
    """
    numbers = torch.nan_to_num(answers.double(), nan=0.0, posinf=0.0, neginf=0.0).squeeze(2)
    return y.double().unsqueeze(1) - numbers


def log_loss(scores: Tensor, y: Tensor) -> Tensor:
    """``-log p(y | x_v)`` as far as released scores tell, float64 ``[n, n_values]``, at most 28.

    Args:
        scores: ``[n, n_values, n_classes]``.
        y: int64 ``[n]``.
    """
    return -likelihood(scores, y).clamp_min(1e-12).log()


def public_errors(exposure: Exposure, task: Task, public: Split) -> Tensor:
    """The target's errors on public records, float64 ``[n_public]``.

    Outcomes: :func:`residual`; classes: :func:`log_loss`. Costs a query per public record.
    """
    if len(public) == 0:
        return public.x.new_zeros(0, dtype=torch.float64)
    answers = exposure.scores(public.x).unsqueeze(1)
    error = residual if task == "regression" else log_loss
    return error(answers, public.y).squeeze(1)


def average(errors: Tensor) -> float:
    """The mean error, at least :data:`LEAST`; that too where no error is known."""
    return max(float(errors.mean()), LEAST) if len(errors) else LEAST


def deviation(errors: Tensor) -> float:
    """Standard deviation of errors around 0 (maximum likelihood), at least :data:`LEAST`."""
    return max(float(errors.square().mean().sqrt()), LEAST) if len(errors) else LEAST


def log_gaussian(error: Tensor, scale: float) -> Tensor:
    """Log density of ``N(0, scale^2)`` at ``error``, up to a constant."""
    return -0.5 * (error / scale).square()
