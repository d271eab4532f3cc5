"""Errors that are written for people."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from bench.contract.secrets import redacted


class UserError(Exception):
    """A mistake the user can mend; the command line prints it as one sentence and exits with 2.

    The message says what is wrong, where, what is allowed and what to do, without credentials.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(redacted(str(message)))


class AccessError(RuntimeError):
    """An attack asked an exposure for more than the deployment offers."""


class BudgetError(RuntimeError):
    """An attack asked an exposure for more queries than its budget."""


class KnowledgeError(RuntimeError):
    """An attack read knowledge that it does not declare."""


class DivergedError(RuntimeError):
    """Training or an attack produced NaN or Inf."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """The end of an error message: the valid names, the nearest first.

    Args:
        name: what was given.
        valid: what would have been right.

    Returns:
        ``" Did you mean 'x'? Valid: a, b, x."`` or just the second sentence.
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"{hint} Valid: {', '.join(names) or 'none'}."


def require(condition: bool, message: str) -> None:
    """Raise :class:`UserError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise UserError(message)
