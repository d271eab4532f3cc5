"""File names of pages: readable, unique, the same whatever the order of the records."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from bench.report.boards import BoardKey

_LONGEST = 100

K = TypeVar("K", bound=Hashable)


def boards(keys: Sequence[BoardKey]) -> dict[BoardKey, str]:
    """An identifier for each board."""
    return unique({key: "-".join(key[1:]) for key in keys}, "board")


def families(names: Iterable[str]) -> dict[str, str]:
    """An identifier for each defense or attack."""
    return unique({name: name for name in sorted(names)}, "unnamed")


def unique(texts: Mapping[K, str], fallback: str) -> dict[K, str]:
    """A slug of every text; equal ones are numbered in the given order."""
    out: dict[K, str] = {}
    taken: set[str] = set()
    for key, text in texts.items():
        slug = re.sub(r"[^a-z0-9]+", "-", text.lower())[:_LONGEST].strip("-") or fallback
        name, number = slug, 1
        while name in taken:
            number += 1
            name = f"{slug}-{number}"
        taken.add(name)
        out[key] = name
    return out
