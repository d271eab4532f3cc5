"""Reads the rows of a log as tables of some thousand rows: CSV, JSON lines and Parquet."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from bench.contract import UserError, require
from bench.contract.documents import parse_json
from bench.engine.audit.files import MOST_LINE, STDIN, Source, lines, opened, whole

ROWS = 20_000
"""Rows of JSON or Parquet that are held as Python objects or as one batch."""
_UNNAMED = "\0"
"""How the name of a column without a name begins; such columns are no data."""


def tables(log: Source) -> Iterator[pa.Table]:
    """The rows of a log in order; values are as they were written, text where that is not known.

    Raises:
        UserError: it cannot be read as what it says it is.
    """
    try:
        if log.container == "csv":
            yield from _csv(log)
        elif log.container == "parquet":
            yield from _parquet(log)
        else:
            yield from batches(dict(_flat(row)) for _, row in objects(log))
    except (pa.ArrowException, csv.Error, OSError, UnicodeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{log} cannot be read as {log.container} ({reason}); write it again, in UTF-8."
        ) from error


# ---------------------------------------------------------------- CSV
def _csv(log: Source) -> Iterator[pa.Table]:
    with opened(log) as stream:
        head = _line(log, stream).removeprefix(b"\xef\xbb\xbf")
        first = _line(log, stream)
        while first and not first.strip():
            first = _line(log, stream)
        text = head.decode("utf-8")
        mark = max(",;\t", key=text.count)
        names = [name.strip() for name in next(csv.reader([text], delimiter=mark), [])]
        twice = [name for name, count in Counter(names).items() if count > 1 and name]
        require(
            not twice,
            f"{log} names the column '{(twice or [''])[0]}' twice; name every column once.",
        )
        if not first:
            return
        names, trailing = _names(names, next(csv.reader([first.decode("utf-8")], delimiter=mark)))
        rest = io.BufferedReader(_Chained(first, stream), 1 << 20)
        read = pacsv.open_csv(
            pa.PythonFile(rest, mode="r"),
            read_options=pacsv.ReadOptions(column_names=names, block_size=MOST_LINE // 4),
            parse_options=pacsv.ParseOptions(delimiter=mark, newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                column_types={name: pa.string() for name in names}, strings_can_be_null=False
            ),
        )
        row = 0
        for batch in read:
            table = pa.Table.from_batches([batch])
            for name in trailing:
                full = [i for i, value in enumerate(table[name].to_pylist()) if value.strip()]
                require(
                    not full,
                    f"{log}, row {row + (full or [0])[0] + 1} has a value in a column without a "
                    "name; name every column.",
                )
            row += len(table)
            yield _named(table)


def _line(log: Source, stream: IO[bytes]) -> bytes:
    line = stream.readline(MOST_LINE + 1)
    require(len(line) <= MOST_LINE, f"{log} has a line longer than {MOST_LINE >> 20} MiB.")
    return line


def _names(names: list[str], first: list[str]) -> tuple[list[str], list[str]]:
    """Names for every field of the rows, and those of fields that must be empty.

    A row may have one field more than the header has names: an empty one after a last comma, or in
    front the names of rows, as R writes them.
    """
    marked = [name or f"{_UNNAMED}{i}" for i, name in enumerate(names)]
    trailing = [marked[-1]] if names and not names[-1] else []
    if len(first) == len(names) + 1:
        if first[-1].strip():
            return [f"{_UNNAMED}rows", *marked], trailing
        marked.append(f"{_UNNAMED}last")
        trailing.append(marked[-1])
    return marked, trailing


def _named(table: pa.Table) -> pa.Table:
    return table.select([name for name in table.column_names if not name.startswith(_UNNAMED)])


class _Chained(io.RawIOBase):
    """A stream with a line that was read already put back in front."""

    def __init__(self, first: bytes, stream: IO[bytes]) -> None:
        self.first, self.stream = first, stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data, self.first = self.first[: len(buffer)], self.first[len(buffer) :]
        data = data or self.stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


# ---------------------------------------------------------------- Parquet
def _parquet(log: Source) -> Iterator[pa.Table]:
    with opened(log) as stream:
        # Parquet is read from its end: what cannot be sought is read as a whole.
        packed = log.path == STDIN or not getattr(stream, "name", None)
        file = pq.ParquetFile(io.BytesIO(whole(log, stream)) if packed else log.path)
        names = file.schema_arrow.names
        twice = [name for name, count in Counter(names).items() if count > 1]
        require(
            not twice,
            f"{log} names the column '{(twice or [''])[0]}' twice; name every column once.",
        )
        for batch in file.iter_batches(batch_size=ROWS):
            table = pa.Table.from_batches([batch])
            if any(pa.types.is_nested(field.type) for field in table.schema):
                yield from batches(dict(_flat(row)) for row in table.to_pylist())
            else:
                yield _named(table)


# ---------------------------------------------------------------- JSON
def objects(
    log: Source, read: Iterable[tuple[int, bytes]] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and value of every object of a log: an object a line, or an array of objects.

    Args:
        log: where it is.
        read: its lines with their numbers, where they are being read already.

    Raises:
        UserError: it is no JSON, or something in it is no object.
    """
    if log.container in ("csv", "parquet"):
        row = 0
        for table in tables(log):
            for value in table.to_pylist():
                row += 1
                yield row, value
        return
    first = True
    for number, line in lines(log) if read is None else read:
        if first and (line.lstrip().startswith(b"[") or line.strip() == b"{"):
            yield from _array(log)  # written over several lines
            return
        first = False
        value = parse_json(line, f"{log}, line {number}")
        require(
            isinstance(value, dict),
            f"{log}, line {number} is no JSON object; write a query a line, as "
            '{"time": ..., "account": ...}.',
        )
        yield number, value


def _array(log: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    require(
        log.path != STDIN,
        "A JSON array cannot be read from standard input; write a JSON object a line.",
    )
    with opened(log) as stream:
        value = parse_json(whole(log, stream), str(log))
    for number, item in enumerate(value if isinstance(value, list) else [value], start=1):
        require(isinstance(item, dict), f"{log}, item {number} is no JSON object; a query is.")
        yield number, item


def _flat(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Fields by their dotted name; a list of values becomes ``name0, name1, ...``."""
    for name, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{before}{name}.")
        elif isinstance(item, list):
            yield from ((f"{before}{name}{i}", part) for i, part in enumerate(_leaves(item)))
        else:
            yield f"{before}{name}", item


def _leaves(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, list):
            yield from _leaves(item)
        elif not isinstance(item, dict):
            yield item


def batches(rows: Iterable[Mapping[str, Any]]) -> Iterator[pa.Table]:
    """Tables of some thousand rows, given as mappings of plain values."""
    held: list[Mapping[str, Any]] = []
    for row in rows:
        held.append(row)
        if len(held) == ROWS:
            yield _table(held)
            held = []
    if held:
        yield _table(held)


def _table(rows: list[Mapping[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: list[Any]) -> pa.Array:
    """Numbers as numbers; anything else as text, null where it is missing."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {int} and max(abs(value) for value in values if value is not None) < 2**63:
        return pa.array(values, pa.int64())
    if kinds == {float}:
        return pa.array(values, pa.float64())
    return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)
