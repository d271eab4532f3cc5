"""Names: what may stand on boards, in terminals and in paths, and what people call things."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, StringConstraints

LONGEST = 300
"""Most characters of a name; with its settings in brackets the longest of ours has 90."""

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # what moves a terminal's cursor; not tab and line feed
    "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"  # what turns the order of letters
)


class Heading(NamedTuple):
    """What people call an option.

    Attributes:
        title: a short name, as ``German credit``; it may stand in a heading or a table.
        sentence: what it is.
    """

    title: str
    sentence: str


def words(name: str) -> str:
    """A name as words: ``class_representative`` is ``class representative``."""
    return name.replace("_", " ")


def unseen(text: str) -> str:
    """The first character that changes what is shown around it, as ``U+202E``; empty: none does."""
    match = _UNSEEN.search(text)
    return f"U+{ord(match[0]):04X}" if match else ""


def fault(name: str) -> str:
    """Why a text is no name, in words that follow "a name"; empty: it is one.

    Names hold letters of any script, digits, blanks and signs: ``dp_sgd[epsilon=3]``, ``Crédit``.
    What stands in brackets may be a path; elsewhere a slash would make a folder of it.
    """
    if not name.strip():
        return "must not be empty"
    if len(name) > LONGEST:
        return f"may have {LONGEST} characters"
    if not name.isprintable():
        return "must not hold control characters, line breaks or marks of writing direction"
    if name[0] in ".-/\\ " or name[-1] == " ":
        return "must not begin with a dot, a dash, a slash or a blank, nor end with a blank"
    outside = name.partition("[")[0]
    if "/" in outside or "\\" in outside:
        return "must not hold slashes outside of brackets"
    return ""


def path_fault(name: str) -> str:
    """The same of names that are joined by slashes, such as ``reference/face``."""
    parts = name.split("/")
    if len(parts) > 8:
        return "may have 8 parts"
    return next((why for part in parts if (why := fault(part))), "")


def _name(text: str) -> str:
    why = fault(text)
    if why:
        raise ValueError(f"a name {why} (it is {text[:80]!r})")
    return text


Name = Annotated[str, AfterValidator(_name)]
"""A name that is checked where a record enters."""
Identity = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.,=+\[\]\-]{0,299}$")]
"""What a record is known by: it becomes the name of files."""
