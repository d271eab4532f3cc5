"""Resampled people: how often each counts in each draw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.metrics.roc import Floats

DRAWS = 200
DIGITS = 6
"""To which resampled figures are kept."""


def weights(person: npt.NDArray[np.int64]) -> Floats:
    """How often each record counts in each draw, ``[DRAWS, n]``: Poisson numbers of mean 1.

    Args:
        person: to whom each record belongs, int64 ``[n]``.
    """
    people, where = np.unique(person, return_inverse=True)
    drawn = [np.random.default_rng([19, int(one)]).poisson(1.0, DRAWS) for one in people]
    return np.stack(drawn, 1)[:, where].astype(np.float64)
