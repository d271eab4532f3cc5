"""Trial records that may be read any number of times, wherever they lie; none is kept in memory."""

from __future__ import annotations

import io
import itertools
import lzma
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from bench.contract.errors import UserError, require
from bench.contract.record import SCHEMA_VERSION, TrialRecord

MOST_RECORD = 64 << 20
"""Most bytes of one record: a line that never ends must not fill the memory."""


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
        try:
            with lzma.open(io.BytesIO(data)) as lines:
                while line := lines.readline(MOST_RECORD):
                    at += 1
                    require(at <= count, _miscounted(source, "more", count))
                    yield _record(line, f"{source}, line {at}")
        except (lzma.LZMAError, EOFError) as error:
            raise UserError(f"'{source}' is damaged ({error}); get the pack again.") from error
        require(at == count, _miscounted(source, str(at), count))

    return Records(read)


def _miscounted(source: str, number: str, count: int) -> str:
    return f"'{source}' has {number} records, its index says {count}; get the pack again."


def _record(line: bytes, where: str) -> TrialRecord:
    try:
        return TrialRecord.model_validate_json(line)
    except ValidationError as error:
        raise UserError(
            f"{where} is no trial record of schema {SCHEMA_VERSION}: {first_fault(error)}."
        ) from error


def first_fault(error: ValidationError) -> str:
    """The first thing that is wrong in a document, and where."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
