"""A small part of JSON path: where in an answer the numbers stand."""

from __future__ import annotations

import re
from typing import Any

from bench.contract import UserError, nearest

ALLOWED = "$, .key, ['key'], [0], [-1] and [*], such as $.data.answers[*].score"
"""What a path is made of, for error messages."""

_STEP = re.compile(
    r"""\.(?P<word>[^.\[\]\s'"*$]+)      # .key
      | \[\s*'(?P<single>[^']*)'\s*\]    # ['key']
      | \[\s*"(?P<double>[^"]*)"\s*\]    # ["key"]
      | \[\s*(?P<place>-?\d+)\s*\]       # [0]
      | (?P<all>\[\s*\*\s*\]|\.\*)       # [*]
    """,
    re.VERBOSE,
)

Step = str | int | None
"""A key, a place in a list, or None: every item."""


def steps(path: str) -> tuple[Step, ...]:
    """The steps of a path.

    Raises:
        UserError: it is not one, or uses what is not understood here.
    """
    text = path.strip()
    if not text.startswith("$"):
        raise UserError(f"The path '{path}' must start with $. It may hold {ALLOWED}.")
    found: list[Step] = []
    at = 1
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            raise UserError(
                f"The path '{path}' is not understood from '{text[at:]}' on. It may hold {ALLOWED}."
            )
        found.append(_step(step))
        at = step.end()
    return tuple(found)


def several(path: str) -> bool:
    """Whether a path may lead to several values."""
    return None in steps(path)


def values(body: Any, path: str) -> list[Any]:
    """What stands at a path, in its order; one value where the path has no ``[*]``.

    Raises:
        UserError: the path is wrong, or leads nowhere in this answer; it says from which step on.
    """
    here = [body]
    walked = "$"
    for step in steps(path):
        here = [found for value in here for found in _down(value, step, walked, path)]
        walked += "[*]" if step is None else f"[{step!r}]"
    return here


def _step(match: re.Match[str]) -> Step:
    if match["all"] is not None:
        return None
    if match["place"] is not None:
        return int(match["place"])
    return next(key for key in (match["word"], match["single"], match["double"]) if key is not None)


def _down(value: Any, step: Step, walked: str, path: str) -> list[Any]:
    if step is None and isinstance(value, list):
        return value
    if step is None and isinstance(value, dict):
        return list(value.values())
    if isinstance(step, str) and isinstance(value, dict):
        if step in value:
            return [value[step]]
        raise UserError(
            f"The path '{path}' leads nowhere: at {walked} the answer has no key '{step}'."
            + nearest(step, map(str, value))
        )
    if isinstance(step, int) and isinstance(value, list):
        if -len(value) <= step < len(value):
            return [value[step]]
        raise UserError(
            f"The path '{path}' leads nowhere: the list at {walked} of the answer has "
            f"{len(value)} items and no item [{step}]."
        )
    wanted = "a list or an object" if step is None else "an object" if isinstance(step, str) else ""
    raise UserError(
        f"The path '{path}' leads nowhere: at {walked} the answer holds {_kind(value)}, where the "
        f"path needs {wanted or 'a list'}. Correct `response` so that it fits the answer."
    )


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return "null" if value is None else kinds.get(type(value), "a number")
