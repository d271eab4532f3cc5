"""Files with a basket a line, as FIMI and SPMF keep them, read strictly."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bench.contract import UserError, require
from bench.data.events import Events, not_utf8, ordered


def read_baskets(path: Path, where: str, commas: bool) -> Events:
    """A basket a line: items separated by commas, or else by blanks; its number is its user.

    Raises:
        UserError: the first line that is no such basket.
    """
    place: dict[str, int] = {}
    user, item, lines = array("i"), array("i"), 0
    with path.open("rb") as file:
        for lines, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if lines == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(not_utf8(where, lines, error)) from error
            names = [cell.strip() for cell in line.split(",")] if commas else line.split()
            reason = _odd(names, line, commas)
            require(reason is None, f"{where}: line {lines} {reason}")
            item.extend(place.setdefault(name, len(place)) for name in names)
            user.extend([lines - 1] * len(names))
    require(lines > 0, f"{where} holds no baskets.")
    users = tuple(str(number) for number in range(1, lines + 1))
    items, codes = ordered(list(place), np.frombuffer(item, np.int32))
    facts = {"layout": "baskets", "columns_unread": []}
    return Events(users, items, np.frombuffer(user, np.int32), codes, None, facts)


def _odd(names: Iterable[str], line: str, commas: bool) -> str | None:
    """What is wrong with a line of a basket; None if nothing is."""
    if not line.strip():
        return "is empty; a basket holds one item at least: remove the line."
    if commas and "" in names:
        return "has an empty item (two commas in a row, or one at an end); remove the comma."
    if not commas and "," in line:
        return "holds a comma, line 1 none; items are separated by commas or by blanks throughout."
    if line[0] in "@#%":
        return f"begins with '{line[0]}'; remove what is no basket."
    if not commas and {"-1", "-2"} & set(names):
        return (
            "holds '-1' or '-2', the ends of SPMF's sequences; give itemsets a line of their own."
        )
    return None
