"""Resampled people: how often each counts in each draw."""

from __future__ import annotations

from functools import lru_cache

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
    return _drawn(people.tobytes())[:, where]


@lru_cache(maxsize=16)
def _drawn(people: bytes) -> Floats:
    """Numbers of different people, int64; many attacks are on the same ones."""
    seeds = np.frombuffer(people, dtype=np.int64).tolist()
    drawn = [np.random.default_rng([19, one]).poisson(1.0, DRAWS) for one in seeds]
    return np.stack(drawn, 1).astype(np.float64)
