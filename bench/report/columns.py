"""Tables of plain text that fit a width: cells are wrapped, lesser columns left out."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Collection, Sequence
from itertools import zip_longest

from rich.cells import cell_len

_GAP = "  "
_LONG = 44
"""A longer word may be broken: it is no name that people chose."""
_READABLE = 24
"""Narrower than this, a sentence is a tower of single words."""


def lay_out(
    rows: Sequence[Sequence[str]], width: int, spare: Collection[str] = (), indent: str = ""
) -> tuple[list[str], list[str]]:
    """The lines of a table, none wider than ``width``; no letter is lost.

    A cell that is too long goes on in the next line, between words where it can. Where even that
    does not fit, columns of ``spare`` are left out, and at last names are broken.

    Args:
        rows: cells; the first row holds the names of the columns.
        width: most letters of a line.
        spare: columns that may be left out, the least important first.
        indent: what every line begins with.

    Returns:
        The lines, and the names of the columns that were left out.
    """
    head, room = list(rows[0]), width - len(indent)
    columns = dict(enumerate(zip(*rows, strict=True)))
    left_out: list[str] = []
    for name in spare:
        if _needed([_least(cells) for cells in columns.values()]) <= room:
            break
        columns = {at: cells for at, cells in columns.items() if head[at] != name}
        left_out += [name] if name in head else []
    widths = _widths(list(columns.values()), room - len(_GAP) * (len(columns) - 1))
    lines = []
    for row in zip(*columns.values(), strict=True):
        wrapped = [_wrapped(cell, most) for cell, most in zip(row, widths, strict=True)]
        for parts in zip_longest(*wrapped, fillvalue=""):
            cells = [
                part + " " * (w - cell_len(part)) for part, w in zip(parts, widths, strict=True)
            ]
            lines.append((indent + _GAP.join(cells)).rstrip())
    return lines, left_out


def _needed(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _whole(cells: Sequence[str]) -> int:
    return max(1, *map(cell_len, cells))


def _letter(cells: Sequence[str]) -> int:
    """The width at which no letter is wider than its column."""
    return max([1, *(cell_len(letter) for cell in cells for letter in cell)])


def _word(cells: Sequence[str]) -> int:
    """The width at which no name in a column is broken."""
    return min(max([1, *(cell_len(word) for cell in cells for word in cell.split())]), _LONG)


def _least(cells: Sequence[str]) -> int:
    """The width at which no name is broken and sentences can still be read."""
    return max(_word(cells), min(_whole(cells), _READABLE))


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """As wide as the cells are; where that is too much, the widest give way first."""
    whole = [_whole(cells) for cells in columns]
    first, *others = columns
    # At worst all words may be broken, the names of the rows after all others.
    ways = ([*map(least, columns)] for least in (_least, _word))
    names = [_word(first), *map(_letter, others)]
    letters = [*map(_letter, columns)]
    least = next((w for w in (*ways, names) if sum(w) <= room), letters)
    widths = least
    for most in range(1, room + 1):
        wider = [max(low, min(top, most)) for low, top in zip(least, whole, strict=True)]
        if sum(wider) > room:
            break
        widths = wider
    return widths


def _wrapped(cell: str, width: int) -> list[str]:
    if any(cell_len(letter) != 1 for letter in cell):  # letters that take two places, or none
        return _chopped(cell, width)
    return textwrap.wrap(cell, width, break_on_hyphens=False) or [""]


def _chopped(cell: str, width: int) -> list[str]:
    """Lines of at most ``width`` places with every letter in them, also one that takes no place."""
    lines = [""]
    for letter in cell:
        if lines[-1] and cell_len(lines[-1] + letter) > width:
            lines.append("")
        lines[-1] += letter
    return lines


def pasted(command: str, width: int, indent: str = "") -> str:
    """A command, over several lines where it is longer than ``width``; a shell reads it as one."""
    if len(indent + command) <= width:
        return indent + command
    try:
        words = [shlex.quote(word) for word in shlex.split(command)]
    except ValueError:  # a quote may have gone with credentials that were taken out
        return indent + command
    lines = [words[0]]
    for word in words[1:]:
        if len(indent) + len(lines[-1]) + len(word) + 3 <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(f"  {word}")
    return " \\\n".join(indent + line for line in lines)
