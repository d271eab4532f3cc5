"""What must never leave the process: credentials, and the command lines of other people.

Text leaves through records, manifests, pages, logs, MLflow and the terminal. Each of them passes
what it writes through :func:`redacted` or :func:`clean`; only what connects uses the real value.
"""

from __future__ import annotations

import json
import os
import re
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from bench.contract.identity import canonical

HIDDEN = "***"
"""What stands where something was left out."""

_WORDS = (
    r"pass(?:word|wd|phrase)?|secret|token|credentials?|"
    r"(?:api|access|account|private|secret)[-_]?key"
)
_IN_QUERIES = rf"{_WORDS}|key|code|auth|sig(?:nature)?|x-amz-[\w-]+|x-goog-[\w-]+"
_USER_AND_PASSWORD = re.compile(r"(?<=://)[^\s/?#:@'\"<>]*:(?!\d+[/?#])[^\s'\"<>]*@")
_USER = re.compile(r"(?<=://)[^\s/?#@'\"<>]+@")
_QUERY = re.compile(rf"(?i)([?&;](?:[\w.-]*[_.-])?(?:{_IN_QUERIES})=)[^\s&;'\"<>]+")
_NAMED = re.compile(
    rf"(?i)((?<![a-z0-9])(?:\w*_)?(?:{_WORDS}|pwd)['\"]?\s*(?:=|(?<=['\"]):)\s*)"
    r"(\"[^\"]*\"|'[^']*'|[^\s&;,'\"<>)}\]]+)"
)
_HEADER = re.compile(r"(?i)\b((?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?|bearer\s+)[^'\"\n]+")
_SIGN = re.compile(r"[:=]|PID|earer")
"""A text without any of these names no credential: most texts are looked at no further."""
_PROCESSES = re.compile(
    r"(?:Top \d+ memory users:|PID\s+MEM\(GB\)\s+COMMAND).*?(?=Refer to the documentation|\Z)"
    r"|^[^\n]*\bPID\b[^\n]*\b(?:COMMAND|CMD)\b[^\n]*\n(?:[^\n]*\d[^\n]*(?:\n|\Z))*",
    re.DOTALL | re.MULTILINE,
)
_NAME = re.compile(rf"(?i)(?:^|_)(?:{_WORDS})$|_pwd$")  # PWD itself is a folder
_SHORTEST = 8
"""A shorter value of a variable may be an ordinary word: it is hidden only where it is named."""


def redacted(text: str) -> str:
    """Text without credentials and without lists of processes; doing it twice changes nothing.

    Left out are user and password of a URI, keys in its query, what is assigned to a name such as
    ``password`` or ``api_key``, the header ``Authorization``, every value of an environment
    variable with such a name wherever it stands, and lists of running processes with their command
    lines, as Ray appends to what it says of memory.
    """
    return _redacted(text, _of_environment())


def in_one_line(error: object, limit: int = 300) -> str:
    """What an error says, redacted, as one line of at most ``limit`` characters."""
    return " ".join(redacted(str(error)).split())[:limit]


def clean(value: Any) -> Any:
    """Plain data in which every text is redacted; tuples become lists."""
    return _clean(value, _of_environment())


def clean_text(text: str) -> str:
    """JSON text of what :func:`clean` makes of what this JSON text holds.

    Nearly every record names no credential and is returned as it is after a first look, which
    takes a fifth of the time of walking through what it holds.
    """
    values = _of_environment()
    if not _suspicious(text, values):
        return text
    return canonical(_clean(json.loads(text), values))


_TAIL = r"""(?:\\?["'])?(?:\s|\\[a-z0-9]+)*[=:]"""
_NAMES = tuple(
    (word, re.compile(word + rest + _TAIL))
    for word, rest in (
        ("pass", "(?:word|wd|phrase)?"),
        ("secret", ""),
        ("token", ""),
        ("credential", "s?"),
        ("key", ""),
        ("pwd", ""),
    )
)
_MARKS = ("authorization", "bearer", "pid", "memory users:")
_ALIKE = re.compile(r"[\u017f\u212a\u0130\u0131]|\\u(?:017f|212a|0130|0131)")
"""Letters that are s, k or i to a search that ignores upper and lower case."""


@lru_cache(maxsize=64)
def _forms(value: str) -> tuple[str, ...]:
    """How a value stands in JSON text."""
    return tuple({json.dumps(value, ensure_ascii=ascii)[1:-1] for ascii in (True, False)})


def _suspicious(text: str, values: tuple[str, ...]) -> bool:
    """Whether a credential may stand in JSON text; most texts without one give no suspicion.

    Every question is what must be true of a text that :func:`_redacted` changes, or of a name and
    a value that :func:`_clean` hides.
    """
    if any(form in text for value in values for form in _forms(value)):
        return True
    if not (text.isascii() and "\\" not in text) and _ALIKE.search(text):
        return True
    small = text.lower()
    if "@" in small and re.search('://[^"]*@', small):
        return True
    if "=" in small and (
        any(part.endswith(("code", "auth", "sig", "signature")) for part in small.split("=")[:-1])
        or "x-amz-" in small
        or "x-goog-" in small
    ):
        return True
    return any(mark in small for mark in _MARKS) or any(
        word in small and pattern.search(small) for word, pattern in _NAMES
    )


def _redacted(text: str, values: tuple[str, ...]) -> str:
    for value in values:
        text = text.replace(value, HIDDEN)
    if not _SIGN.search(text):
        return text
    text = _PROCESSES.sub("(a list of processes is left out) ", text)
    text = _USER_AND_PASSWORD.sub(f"{HIDDEN}@", text)
    text = _USER.sub(f"{HIDDEN}@", text)
    text = _QUERY.sub(rf"\1{HIDDEN}", text)
    text = _HEADER.sub(rf"\1{HIDDEN}", text)
    return _NAMED.sub(rf"\1{HIDDEN}", text)


_again = lru_cache(maxsize=8192)(_redacted)
"""For short texts, which records repeat: names, versions, paths of modules."""
_SHORT = 200


def _clean(value: Any, values: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return (_again if len(value) < _SHORT else _redacted)(value, values)
    if isinstance(value, dict):
        return {
            _clean(name, values): HIDDEN
            if isinstance(kept, str) and kept and _secret(name)
            else _clean(kept, values)
            for name, kept in value.items()
        }
    if isinstance(value, list | tuple):
        return [_clean(item, values) for item in value]
    return value


@lru_cache(maxsize=4096)
def _secret(name: object) -> bool:
    """Whether a value of this name is a credential."""
    return isinstance(name, str) and _NAME.search(name) is not None


_known_environment: tuple[dict[Any, Any], tuple[str, ...]] = ({}, ())
"""The environment when it was last looked through, and what was found."""


def _of_environment() -> tuple[str, ...]:
    """Values of environment variables whose names say that they are secret, the longest first."""
    global _known_environment  # noqa: PLW0603  it is looked at for every record
    # What it holds undecoded is compared much faster than it is decoded.
    now = getattr(os.environ, "_data", os.environ)
    before, values = _known_environment
    if now != before:
        before = dict(now)
        values = _secret_values(before)
        _known_environment = before, values
    return values


def _secret_values(environment: dict[Any, Any]) -> tuple[str, ...]:
    values = {
        form
        for name, value in environment.items()
        if _secret(os.fsdecode(name)) and len(os.fsdecode(value)) >= _SHORTEST
        for form in (os.fsdecode(value), unquote(os.fsdecode(value)))
    }
    return tuple(sorted(values, key=len, reverse=True))
