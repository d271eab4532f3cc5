"""Trial records that may be read any number of times, wherever they lie; none is kept in memory."""

from __future__ import annotations

import itertools
import lzma
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from bench.contract.errors import UserError, require
from bench.contract.names import unseen
from bench.contract.record import SCHEMA_VERSION, TrialRecord

MOST_RECORD = 4 << 20
"""Most bytes of one record, of which the largest of ours has 8,000: a line that never ends must not
fill the memory."""
MOST_RATIO = 200
"""Most bytes that one compressed byte may unpack to, beyond the first 16 MiB; ours unpack to 18."""
_MEMORY = 96 << 20  # what unpacking may take: the strongest setting of xz takes 65 MiB
_CHUNK = 1 << 18
_ESCAPES = re.compile(
    rb"\\u(?:00[0189]|007[fF]|061[cC]|20[026])"
    rb"|[\x7f]|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]"
)
"""Begins all that :func:`bench.contract.names.unseen` finds, and more: a cheap first look."""


@dataclass(frozen=True)
class Records:
    """Records that are read anew at every iteration.

    Attributes:
        read: gives the records from the first to the last.
    """

    read: Callable[[], Iterable[TrialRecord]]

    def __iter__(self) -> Iterator[TrialRecord]:
        return iter(self.read())

    def where(self, keeps: Callable[[TrialRecord], bool]) -> Records:
        """Those of them that are kept."""
        return Records(lambda: filter(keeps, self))


def chained(parts: Iterable[Iterable[TrialRecord]]) -> Records:
    """All records of several collections, one collection after the other."""
    several = tuple(parts)
    return Records(lambda: itertools.chain.from_iterable(several))


def of_lines(data: bytes, source: str, count: int) -> Records:
    """Records in a compressed file of JSON lines.

    Args:
        data: the file.
        source: how error messages name it.
        count: how many there must be.

    Raises:
        UserError: at reading, if the file is damaged, holds something else or another number.
    """

    def read() -> Iterator[TrialRecord]:
        at = 0
        for line in _lines(data, source):
            at += 1
            require(at <= count, _miscounted(source, "more", count))
            yield _record(line, f"{source}, line {at}")
        require(at == count, _miscounted(source, str(at), count))

    return Records(read)


def _lines(data: bytes, source: str) -> Iterator[bytes]:
    """Lines of a compressed file, unpacked a little at a time."""
    most = max(16 << 20, MOST_RATIO * len(data))
    kept, total = b"", 0
    for chunk in _unpacked(data, source):
        total += len(chunk)
        require(
            total <= most,
            f"'{source}' unpacks to more than {MOST_RATIO} times its size, as no honest records "
            "do; get the pack again.",
        )
        *whole, kept = (kept + chunk).split(b"\n")
        for line in (*whole, kept):
            require(
                len(line) <= MOST_RECORD,
                f"'{source}' has a record of more than {MOST_RECORD >> 10} KiB; get the pack "
                "again.",
            )
        yield from whole
    if kept:
        yield kept


def _unpacked(data: bytes, source: str) -> Iterator[bytes]:
    try:
        xz = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY)
        chunk = xz.decompress(data, _CHUNK)
        while chunk or not xz.eof:
            require(
                bool(chunk) or not xz.needs_input,
                f"'{source}' is damaged (it ends too early); get the pack again.",
            )
            yield chunk
            chunk = b"" if xz.eof else xz.decompress(b"", _CHUNK)
    except lzma.LZMAError as error:
        raise UserError(f"'{source}' is damaged ({error}); get the pack again.") from error
    require(not xz.unused_data, f"'{source}' has something behind its records; get the pack again.")


def _miscounted(source: str, number: str, count: int) -> str:
    return f"'{source}' has {number} records, its index says {count}; get the pack again."


def _record(line: bytes, where: str) -> TrialRecord:
    try:
        record = TrialRecord.model_validate_json(line)
        for text in texts(record.model_dump()) if _ESCAPES.search(line) else ():
            sign = unseen(text)
            require(
                not sign,
                f"{where} has the text {text[:80]!a}, whose character {sign} changes what a "
                "terminal or a page shows around it; get the pack again.",
            )
        return record
    except ValidationError as error:
        raise UserError(
            f"{where} is no trial record of schema {SCHEMA_VERSION}: {first_fault(error)}."
        ) from error


def texts(document: Any) -> Iterator[str]:
    """Every text of a document, keys included."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, Mapping):
        for key, value in document.items():
            yield str(key)
            yield from texts(value)
    elif isinstance(document, (list, tuple)):
        for value in document:
            yield from texts(value)


def first_fault(error: ValidationError) -> str:
    """The first thing that is wrong in a document, and where."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
