"""ROC curves of many groups of records at once, as exact counts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def counts(scores: Floats, positive: Bools, inside: Bools) -> tuple[Ints, Ints]:
    """How many positives and negatives of each group score at least as high as each cut.

    The cuts are the distinct scores of all records, from the highest down, after one above them
    all. Records of equal score pass a cut together.

    Args:
        scores: ``[n]``.
        positive: ``[n]``.
        inside: who is in which group, ``[n_groups, n]``.

    Returns:
        Positives and negatives, each ``[n_groups, n_cuts]``; the last column is all of them.
    """
    order = np.argsort(-scores)
    ordered, right, who = scores[order], positive[order], inside[:, order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))

    def passed(some: Bools) -> Ints:
        return np.pad(np.cumsum(some, 1, dtype=np.int64)[:, ends], ((0, 0), (1, 0)))

    return passed(who & right), passed(who & ~right)


def area(true: Ints, false: Ints) -> Floats:
    """Area under each ROC curve, ties counted half ``[n_groups]``; NaN where a side is empty.

    Args:
        true: positives that pass each cut ``[n_groups, n_cuts]``, from :func:`counts`.
        false: negatives that do.
    """
    # Twice the area in pairs of records is a whole number, so only the division rounds.
    twice = (np.diff(false) * (true[:, 1:] + true[:, :-1])).sum(1)
    pairs = true[:, -1] * false[:, -1]
    return np.where(pairs > 0, twice / np.maximum(2 * pairs, 1), np.nan)
