"""What an endpoint does to its scores before it answers, as far as its answers show it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.models.external.opened import Answered

_MOST_DIGITS = 6
_FEWEST_NUMBERS = 10
"""Fewer numbers between 0 and 1 are rounded by chance too easily to say that they are."""


def detected(answered: Answered) -> dict[str, Any]:
    """Facts about a model from its answers to a few hundred different records.

    Args:
        answered: its answers.

    Returns:
        plain JSON values: ``records``; ``labels_only``; ``classes``: columns of the scores, or
        different labels seen, None for one number a record; ``digits``: after the decimal point,
        to which all scores are rounded, None: they are not, or it cannot be told; ``top_k``:
        scores that are left in each row, None: all; ``sums_to_one``: None for one number a record
        and for labels; ``all_equal``: every record is answered alike, as a dead model does.
    """
    if answered.scores is None:
        labels = [] if answered.labels is None else answered.labels.tolist()
        return {
            "records": len(labels),
            "labels_only": True,
            "classes": len(set(labels)) or None,
            "digits": None,
            "top_k": None,
            "sums_to_one": None,
            "all_equal": len(labels) > 1 and len(set(labels)) == 1,
        }
    scores = answered.shares.astype(np.float64)
    n, k = scores.shape
    digits = _digits(scores)
    return {
        "records": n,
        "labels_only": False,
        "classes": k if k > 1 else None,
        "digits": digits,
        "top_k": _top_k(scores),
        "sums_to_one": _sums_to_one(scores, digits) if k > 1 and n else None,
        "all_equal": bool(n > 1 and (scores == scores[0]).all()),
    }


def _digits(scores: npt.NDArray[np.float64]) -> int | None:
    """Digits to which every score is rounded; single precision blurs the seventh."""
    telling = scores[(scores != 0) & (scores != 1)]
    if len(np.unique(telling)) < 2 or len(telling) < _FEWEST_NUMBERS:
        return None
    blur = np.maximum(np.abs(telling), 1e-3) * 1e-7
    for digits in range(_MOST_DIGITS + 1):
        if (np.abs(telling - np.round(telling, digits)) <= blur).all():
            return digits
    return None


def _top_k(scores: npt.NDArray[np.float64]) -> int | None:
    """How many scores are not zero, where it is the same number in each row and not all."""
    left = (scores != 0).sum(axis=1)
    if not len(left) or left[0] == 0 or left[0] == scores.shape[1] or (left != left[0]).any():
        return None
    return int(left[0])


def _sums_to_one(scores: npt.NDArray[np.float64], digits: int | None) -> bool:
    """Whether each row sums to one, as far as the rounding of its scores lets it."""
    slack = 1e-3 if digits is None else 1e-3 + 0.5 * 10.0**-digits * scores.shape[1]
    return bool((scores >= 0).all() and (np.abs(scores.sum(axis=1) - 1) <= slack).all())
