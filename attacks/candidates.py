"""Asking a deployment about every value a sensitive attribute could have, in one batch."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.contract import Exposure, Knowledge, Sensitive, Split, require


def attacked(knowledge: Knowledge) -> tuple[Sensitive, Split]:
    """The sensitive attribute and the victims' partial records.

    Raises:
        UserError: the data set has no sensitive attribute.
    """
    sensitive, partial = knowledge.card.sensitive, knowledge.partial
    require(
        sensitive is not None and partial is not None,
        f"Data set '{knowledge.card.name}' declares no sensitive attribute to infer. "
        "Choose a data set whose goals name 'attribute'.",
    )
    assert sensitive is not None and partial is not None
    return sensitive, partial


def ask_scores(exposure: Exposure, knowledge: Knowledge) -> Tensor:
    """Released scores ``[n, n_values, n_classes]``; one query per victim and value."""
    sensitive, partial = attacked(knowledge)
    completed = sensitive.candidates(partial.x)
    return exposure.scores(completed.flatten(0, 1)).view(*completed.shape[:2], -1)


def ask_labels(exposure: Exposure, knowledge: Knowledge) -> Tensor:
    """Released labels int64 ``[n, n_values]``; one query per victim and value."""
    sensitive, partial = attacked(knowledge)
    completed = sensitive.candidates(partial.x)
    return exposure.labels(completed.flatten(0, 1)).view(completed.shape[:2])


def likelihood(scores: Tensor, y: Tensor) -> Tensor:
    """``p(y | x_v)`` as far as the released scores tell, in [0, 1].

    Scores that a deployment withheld (zeros of a top-k answer) share what the answer leaves of 1,
    so that the top score of two classes still gives the other one exactly.

    Args:
        scores: ``[n, n_values, n_classes]``, non-negative, possibly truncated, rounded or noisy.
        y: int64 ``[n]``, the victims' true labels.

    Returns:
        float64 ``[n, n_values]``.
    """
    p = torch.nan_to_num(scores.double(), nan=0.0).clamp(0.0, 1.0)
    withheld = p == 0
    left = (1.0 - p.sum(2, keepdim=True)).clamp_min(0.0) / withheld.sum(2, keepdim=True).clamp_min(
        1
    )
    p = torch.where(withheld, left, p)
    return p.gather(2, y.view(-1, 1, 1).expand(-1, p.shape[1], 1)).squeeze(2)


def cases(right: Tensor) -> dict[str, float]:
    """Share of victims in each case of Mehnaz et al.

    Args:
        right: bool ``[n, n_values]``, whether the value makes the target predict the true label.
    """
    n = right.sum(1)
    shares = (n == 1, n > 1, n == 0)
    return {f"case_{i}": float(share.double().mean()) for i, share in enumerate(shares, 1)}
