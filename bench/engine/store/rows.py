"""Rows of the database: what is sealed, under which place, and how it is read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.contract.identity import canonical
from bench.engine.messages import Blob
from bench.engine.seal import DamagedError, seal_of

Files = dict[str, Blob]


def result(kind: str, key: str, text: str, files: Mapping[str, Blob]) -> tuple[str, ...]:
    """A row of ``results``."""
    listed = canonical({name: [blob.digest, blob.size] for name, blob in files.items()})
    return kind, key, text, listed, seal_of(f"{kind}/{key}", text.encode(), listed.encode())


def failure(kind: str, key: str, number: int, text: str) -> tuple[str | int, ...]:
    """A row of ``failures``."""
    return kind, key, number, text, seal_of(f"failed/{kind}/{key}/{number}", text.encode())


def execution(name: str, text: str) -> tuple[str, ...]:
    """A row of ``executions``."""
    return name, text, seal_of(f"executions/{name}", text.encode())


def beat(name: str, text: str) -> tuple[str, ...]:
    """A row of ``beats``."""
    return name, text, seal_of(f"beats/{name}", text.encode())


def text_of(record: Mapping[str, Any] | str) -> str:
    """A record as it is stored; a text is canonical JSON already.

    Raises:
        ValueError: a number is not finite.
    """
    return record if isinstance(record, str) else canonical(record)


def check(place: str, seal: Any, *texts: Any) -> None:
    """Hold texts against the seal that they were written with.

    Raises:
        DamagedError: they are not what was written at this place.
    """
    good = all(isinstance(text, bytes) for text in (seal, *texts))
    if not good or seal_of(place, *texts).encode() != seal:
        raise DamagedError(Path(place), "what it holds is not what was written there")


def files_of(listed: bytes) -> Files:
    """Files of a result by name, from a text that was checked."""
    return {name: Blob(digest, size) for name, (digest, size) in json.loads(listed).items()}
