"""No defense: the row every other row is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from bench.contract import Defense


@dataclass(frozen=True)
class Undefended(Defense):
    """The plainly trained model, its full scores released. It has no part to apply."""

    covers = frozenset()
    paper = "none"
