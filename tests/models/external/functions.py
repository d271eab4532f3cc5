"""Functions that a grid can name, whose model a test puts in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

GIVEN: dict[str, Callable[[Any], Any]] = {}


def answers(records: Any) -> Any:
    """What the model in place answers."""
    return GIVEN["model"](records)


def halves(records: Any) -> Any:
    """The same for every record."""
    return np.full((len(records), 2), 0.5)
