"""Canonical JSON of documents that differ in a few values only, written without encoding them anew.

A plan hashes a document for every repeat of every cell. What the repeats share, such as thirty
digests of source code, is encoded once; seeds and the identities of parents are filled in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from bench.contract.identity import canonical

_HOLE = re.compile(r'"\\u007f#(\d+)\\u007f"|\\u007f@(\d+)\\u007f')


def number(place: int) -> str:
    """What stands in a form's document where a whole number is filled in.

    Args:
        place: of the number among the values of :meth:`Form.text`.
    """
    return f"\x7f#{place}\x7f"


def word(place: int) -> str:
    """What stands where letters and digits are filled in, alone or within a text."""
    return f"\x7f@{place}\x7f"


class Form:
    """A document with holes, as canonical JSON.

    Args:
        document: plain JSON values; :func:`number` and :func:`word` mark the holes, each once.
        holes: how many there are.

    Raises:
        ValueError: the document has other holes than these, or a number that is not finite.
    """

    __slots__ = ("_pattern", "_pick")

    def __init__(self, document: Any, holes: int) -> None:
        text = canonical(document)
        places = [int(a or b) for a, b in _HOLE.findall(text)]
        if sorted(places) != list(range(holes)):
            raise ValueError(f"a form needs the holes 0 to {holes - 1}, each once; it has {places}")
        self._pattern = _HOLE.sub("%s", text.replace("%", "%%"))
        self._pick = itemgetter(*places) if places else tuple

    def text(self, values: Sequence[str | int]) -> str:
        """The canonical JSON of the document with these values in its holes."""
        return self._pattern % self._pick(values)
