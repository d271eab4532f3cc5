"""Opens a log: a file, a gzipped file or standard input, with limits on what it may unpack to."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from bench.contract import UserError, nearest, require

STDIN = "-"
MOST_RATIO = 200
"""Most that a gzipped log may unpack to, as a multiple: logs reach 10 to 40, a bomb 1,000."""
FREE = 64 << 20
"""Bytes that may be unpacked at any ratio."""
MOST_LINE = 16 << 20
"""Most bytes of one line."""
MOST_WHOLE = 1 << 30
"""Most bytes of a log that can only be read as a whole (a JSON array, Parquet from a pipe)."""

_ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
TABLES = ("csv", "jsonl", "parquet")
EVENTS = ("kserve", "v2", "mlflow", "seldon")
ACCESS = ("nginx", "uvicorn")
FORMATS = (*TABLES, *EVENTS, *ACCESS)


@dataclass(frozen=True)
class Source:
    """Where a log is and how it is written.

    Attributes:
        path: the file, or ``-`` for standard input.
        format: one of ``FORMATS``.
        container: how the rows are kept: ``csv``, ``jsonl``, ``parquet``, or ``text`` (lines).
    """

    path: str
    format: str
    container: str

    def __str__(self) -> str:
        return "standard input" if self.path == STDIN else f"'{self.path}'"


def source(path: str | Path, name: str | None) -> Source:
    """The source for ``path``, whose ending says the format unless ``name`` does.

    Raises:
        UserError: there is no such file or format, or nothing says what the format is.
    """
    path = str(path)
    require(
        name is None or name in FORMATS,
        f"There is no format '{name}' of logs.{nearest(name or '', FORMATS)}",
    )
    require(
        path == STDIN or Path(path).is_file(), f"There is no log '{path}'; name a file that exists."
    )
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    suffixes = suffixes[:-1] if suffixes[-1:] == [".gz"] else suffixes
    ending = suffixes[-1] if suffixes else ""
    kept = _ENDINGS.get(ending)
    if name is None:
        which = "Standard input" if path == STDIN else f"'{path}'"
        require(
            kept is not None,
            f"{which} does not say how the log is written; end its name in "
            f"{', '.join(sorted(_ENDINGS))} (and .gz), or give --format with one of "
            f"{', '.join(FORMATS)}.",
        )
        name = str(kept)
    if name in TABLES:
        return Source(path, name, name)
    if name in ACCESS:
        return Source(path, name, "text")
    return Source(path, name, kept or "jsonl")


@contextmanager
def opened(log: Source) -> Iterator[IO[bytes]]:
    """The bytes of a log, unpacked if it is gzipped.

    Raises:
        UserError: it cannot be read, or unpacks to more than is allowed.
    """
    try:
        with _raw(log) as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            stream = io.BufferedReader(_Unpacked(raw, log), 1 << 20) if packed else raw
            yield stream
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{log} cannot be read ({error}); write it again.") from error


@contextmanager
def _raw(log: Source) -> Iterator[Any]:
    if log.path == STDIN:
        yield io.BufferedReader(cast(Any, sys.stdin.buffer), 1 << 20)
        return
    with Path(log.path).open("rb", buffering=1 << 20) as stream:
        yield stream


class _Counted(io.RawIOBase):
    """Counts the packed bytes that were read."""

    def __init__(self, raw: IO[bytes]) -> None:
        self.raw, self.count = raw, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.raw.read(size)
        self.count += len(data)
        return data


class _Unpacked(io.RawIOBase):
    """Gzipped bytes, as long as they unpack to no more than a log does."""

    def __init__(self, raw: IO[bytes], log: Source) -> None:
        self.packed = _Counted(raw)
        self.stream = gzip.GzipFile(fileobj=self.packed)
        self.log, self.count = log, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self.stream.read(len(buffer))
        self.count += len(data)
        require(
            self.count <= max(FREE, MOST_RATIO * self.packed.count),
            f"{self.log} unpacks to more than {MOST_RATIO} times its size, which no log does; "
            "unpack it yourself if you trust it.",
        )
        buffer[: len(data)] = data
        return len(data)


def lines(log: Source) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and bytes of every line that is not empty.

    Raises:
        UserError: it cannot be read, or a line is too long.
    """
    with opened(log) as stream:
        number = 0
        while line := stream.readline(MOST_LINE + 1):
            number += 1
            require(
                len(line) <= MOST_LINE,
                f"{log}, line {number} is longer than {MOST_LINE >> 20} MiB; no query is.",
            )
            if line.strip():
                yield number, line


def whole(log: Source, stream: IO[bytes]) -> bytes:
    """All bytes of a log that cannot be read in pieces.

    Raises:
        UserError: it is too large.
    """
    data = stream.read(MOST_WHOLE + 1)
    require(
        len(data) <= MOST_WHOLE,
        f"{log} is larger than {MOST_WHOLE >> 30} GiB and written so that it can only be read as a "
        "whole; write it as JSON lines, or as a Parquet file.",
    )
    return data
