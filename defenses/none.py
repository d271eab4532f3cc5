"""No defense: the row every other row is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.contract import Defense


@dataclass(frozen=True)
class Undefended(Defense):
    """The plainly trained model, which answers all its scores. There is nothing to apply."""

    takes_sparse = True
    covers = frozenset()
    paper = "none"
    tunable: ClassVar[bool] = False
