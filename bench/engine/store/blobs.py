"""Large files of a store, each under the digest of what it holds; workers write here themselves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from bench.contract.files import write_whole
from bench.engine.messages import Blob
from bench.engine.seal import DamagedError, digest_of

BLOBS = "blobs"
SMALL = 64 << 10
"""Bytes up to which a file is kept in the database."""


class FileBlobs:
    """``<root>/blobs/<two hex digits>/<the other 62>``.

    Args:
        root: the store's folder; nothing is made before something is put.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        """Where a digest's file stands, or would."""
        return self.root / BLOBS / digest[:2] / digest[2:]

    def put(self, data: bytes) -> Blob:
        """Write a file under its digest, whole or not at all.

        Raises:
            OSError: the disk is full or not writable.
        """
        blob = Blob(digest_of(data), len(data))
        path = self.path(blob.digest)
        with contextlib.suppress(DamagedError, OSError):
            if self.get(blob.digest) == data:
                os.utime(path)  # it is young again, so that no cleaning takes it for left over
                return blob
        write_whole(path, data)
        return blob

    def get(self, digest: str) -> bytes:
        """What stands under a digest.

        Raises:
            DamagedError: it is absent or something else.
        """
        path = self.path(digest)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DamagedError(path, f"it cannot be read ({error.strerror})") from error
        if digest_of(data) != digest:
            raise DamagedError(path, "what it holds is not what was written")
        return data

    def __iter__(self) -> Iterator[Path]:
        """Every file, those of temporary names included, in order."""
        yield from sorted(p for p in (self.root / BLOBS).glob("*/*") if p.is_file())
