"""What is recorded of an error: its status, a message and a traceback, cut to size."""

from __future__ import annotations

import traceback

from bench.contract import DivergedError, UserError
from bench.contract.secrets import redacted

LONGEST_MESSAGE = 2000
_LONGEST_TRACE = 16_000


class UnfitError(UserError):
    """This machine cannot run the job as it was planned."""


def status_of(error: BaseException) -> str:
    """Status of a job that ended in an error."""
    if isinstance(error, UnfitError):
        return "unfit"
    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "oom"
    return "failed"


def message_of(error: BaseException) -> str:
    """What an error says, in one line without credentials; its type where it says nothing."""
    try:
        text = str(error)
    except Exception as broken:  # a component's own error may fail to say what it is
        text = f"its text cannot be had: {type(broken).__name__}"
    return " ".join(_cut(text, LONGEST_MESSAGE).split()) or type(error).__name__


def trace_of(error: BaseException) -> str:
    """Where an error came from, without credentials."""
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    return _cut("".join(lines), _LONGEST_TRACE)


def _cut(text: str, longest: int) -> str:
    """Text without credentials, its beginning and its end where it is long.

    It is redacted before it is cut to size, so that no half of a credential is left, and here,
    because the driver does not know this host's variables. Of a huge text only the parts near
    what is kept are looked at.
    """
    around = 4 * longest
    if len(text) > 2 * around:
        text = text[:around] + text[-around:]
    text = redacted(text)
    if len(text) <= longest:
        return text
    half = longest // 2 - 30
    return f"{text[:half]}\n... {len(text) - 2 * half} characters are left out ...\n{text[-half:]}"
