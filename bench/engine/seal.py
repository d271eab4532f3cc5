"""Seals: JSON documents that carry digests of themselves and of the files beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.contract.identity import canonical

_SEAL = "seal"


class DamagedError(Exception):
    """A stored file is not what was written.

    Attributes:
        path: the file.
        reason: what is wrong with it, in a few words.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"'{path}' is damaged: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type[DamagedError], tuple[Path, str]]:
        return type(self), (self.path, self.reason)


def digest_of(data: bytes) -> str:
    """Digest of a file's contents."""
    return hashlib.sha256(data).hexdigest()


def sealed(place: str, document: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """A document as JSON with its seal.

    Args:
        place: where it stands in its store, so that it cannot take another one's place.
        document: plain JSON values, every key a text.
        files: what stands beside it, by name.

    Raises:
        ValueError: a number is not finite.
    """
    digests = {name: digest_of(data) for name, data in files.items()}
    seal = {"files": digests, "sha256": _digest(place, document, digests)}
    whole = {**document, _SEAL: seal}
    return (json.dumps(whole, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def opened(path: Path, place: str) -> tuple[dict[str, Any], dict[str, str]]:
    """A sealed document, and the digests of the files beside it.

    Raises:
        FileNotFoundError: it is not there.
        DamagedError: it is not what was written at this place.
    """
    try:
        return unsealed(path.read_bytes(), place)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise DamagedError(path, str(error)) from error


def unsealed(data: bytes, place: str) -> tuple[dict[str, Any], dict[str, str]]:
    """As :func:`opened`, from bytes.

    Raises:
        ValueError: it is not what was written at this place; says why.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no whole JSON ({error})") from error
    seal = document.pop(_SEAL, None) if isinstance(document, dict) else None
    if not isinstance(seal, dict):
        raise ValueError("it has no seal: it was edited, or written by a version before seals")
    digests = seal.get("files")
    try:
        good = seal.get("sha256") == _digest(place, document, digests)
    except (ValueError, TypeError, RecursionError):
        good = False
    if not good or not isinstance(digests, dict):
        raise ValueError("what it holds is not what was written there")
    return document, digests


def _digest(place: str, document: Mapping[str, Any], digests: Any) -> str:
    return digest_of(canonical([place, document, digests]).encode())


def seal_of(place: str, *texts: bytes) -> str:
    """Seal of texts that stand at a place, over the very bytes that are stored."""
    parts = (place.encode(), *texts)
    # A length before each part: no part can lend its end to the next one's beginning.
    return digest_of(b"".join(b"%d:%b" % (len(part), part) for part in parts))
