"""Who took what, as it stands in a file, before anything is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Events:
    """Interactions as they stand in a file, in its order.

    Attributes:
        users: names of the users: whole numbers in their order, then texts in theirs.
        items: names of the items, in the same order.
        user: int32 ``[m]``, whose interaction each is, an index of ``users``.
        item: int32 ``[m]``, what was taken, an index of ``items``.
        rating: float64 ``[m]``, 0 or more; None where the file has none.
        facts: how the file was understood.
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    user: Codes
    item: Codes
    rating: npt.NDArray[np.float64] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def ordered(names: Sequence[str], codes: npt.NDArray[Any]) -> tuple[tuple[str, ...], Codes]:
    """Different names in their order, and codes that point to them."""
    ordered = tuple(sorted(set(names), key=_rank))
    place = {name: i for i, name in enumerate(ordered)}
    return ordered, np.array([place[name] for name in names], np.int32)[codes]


def _rank(name: str) -> tuple[int, int, str]:
    whole = name.isascii() and name.isdigit()
    return (0, int(name), name) if whole and len(name) < 19 else (1, 0, name)


def not_utf8(where: str, number: int, error: UnicodeDecodeError) -> str:
    """The sentence about a line that is not UTF-8."""
    return (
        f"{where}: line {number} is not UTF-8 (byte {error.object[error.start]:#04x}); save the "
        "file as UTF-8."
    )
