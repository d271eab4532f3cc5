"""A stand-in that is asked in the place of a model, to see what a campaign would ask."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.models.external.opened import Inputs

ASKED: set[bytes] = set()
"""Digests of the records that were asked in this process."""
WIDTH = [2]
"""How many scores a record is answered with."""


def scores(records: Inputs) -> npt.NDArray[np.float64]:
    """Scores that follow from the record alone and say nothing of anybody ``[n, WIDTH]``."""
    if isinstance(records, pd.DataFrame):
        digests = pd.util.hash_pandas_object(records, index=False).to_numpy()
        keys = [int(value).to_bytes(8, "little") for value in digests]
    else:
        rows = np.ascontiguousarray(records).reshape(len(records), -1)
        keys = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
    ASKED.update(keys)
    seeds = (np.random.default_rng(int.from_bytes(key, "little")) for key in keys)
    return np.stack([rng.dirichlet(np.ones(WIDTH[0])) for rng in seeds])
