"""Rows of an SQLite file read page by page, whatever is wrong with the rest of the file.

Every leaf of a table tells its rows by itself; which table they are of is told by their seals. See
https://www.sqlite.org/fileformat2.html for the layout.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from bench.engine.store.opening import PAGE

Value = bytes | int | None
_LEAF = 0x0D
_WAL = (0x377F0682, 0x377F0683)
_WIDTHS = (0, 1, 2, 3, 4, 6, 8)


def rows(path: Path) -> Iterator[tuple[Value, ...]]:
    """Every row that can be read of every table, with what stands in the log beside the file.

    A row's text and bytes both come as bytes; a number that is not whole comes as None.
    """
    with _mapped(path) as main, _mapped(Path(f"{path}-wal")) as log:
        newer = _logged(log)
        count = max(len(main) // PAGE, max(newer, default=0))

        def page(number: int) -> bytes | memoryview:
            if number in newer:
                return log[newer[number] : newer[number] + PAGE]
            return main[(number - 1) * PAGE : number * PAGE] if number else b""

        for number in range(1, count + 1):
            data = page(number)
            start = 100 if number == 1 else 0
            if len(data) < PAGE or data[start] != _LEAF:
                continue
            cells = int.from_bytes(data[start + 3 : start + 5], "big")
            for index in range(min(cells, (PAGE - start - 8) // 2)):
                place = start + 8 + 2 * index
                try:
                    payload = _payload(data, int.from_bytes(data[place : place + 2], "big"), page)
                    yield _values(payload)
                except (IndexError, ValueError):
                    continue


class _mapped:
    """The bytes of a file, none if it is not there; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> mmap.mmap | bytes:
        self._file = None
        try:
            self._file = self._path.open("rb")
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # an empty file cannot be mapped
            return b""
        return self._map

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _logged(log: mmap.mmap | bytes) -> dict[int, int]:
    """Page to where its last committed version stands in a write-ahead log."""
    if len(log) < 32 or int.from_bytes(log[:4], "big") not in _WAL:
        return {}
    salts = log[16:24]
    kept: dict[int, int] = {}
    pending: dict[int, int] = {}
    for place in range(32, len(log) - PAGE - 23, PAGE + 24):
        number, commit = struct.unpack(">II", log[place : place + 8])
        if log[place + 8 : place + 16] != salts:
            break
        pending[number] = place + 24
        if commit:
            kept |= pending
            pending.clear()
    return kept


def _payload(data: bytes | memoryview, at: int, page: object) -> bytes:
    """A row's bytes, its overflow pages included."""
    size, at = _varint(data, at)
    _, at = _varint(data, at)
    most = PAGE - 35
    if size <= most:
        part = bytes(data[at : at + size])
    else:
        least = (PAGE - 12) * 32 // 255 - 23
        local = least + (size - least) % (PAGE - 4)
        local = local if local <= most else least
        parts = [bytes(data[at : at + local])]
        following = int.from_bytes(data[at + local : at + local + 4], "big")
        left = size - local
        while left > 0 and following:
            more = page(following)  # type: ignore[operator]
            following = int.from_bytes(more[:4], "big")
            parts.append(bytes(more[4 : 4 + min(left, PAGE - 4)]))
            left -= len(parts[-1])
            if not parts[-1]:
                break
        part = b"".join(parts)
    if len(part) != size:
        raise ValueError("the row is not whole")
    return part


def _values(payload: bytes) -> tuple[Value, ...]:
    """The columns of a row."""
    head, at = _varint(payload, 0)
    types = []
    while at < head:
        kind, at = _varint(payload, at)
        types.append(kind)
    values: list[Value] = []
    for kind in types:
        if kind >= 12:
            width = (kind - 12) // 2
            values.append(payload[at : at + width])
        elif kind in (8, 9):
            width = 0
            values.append(kind - 8)
        else:
            width = 8 if kind == 7 else _WIDTHS[kind]
            whole = 0 < kind < 7
            number = int.from_bytes(payload[at : at + width], "big", signed=True)
            values.append(number if whole else None)
        at += width
    if at != len(payload):
        raise ValueError("the row is not whole")
    return tuple(values)


def _varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    value = 0
    for index in range(8):
        byte = data[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return value << 8 | data[at + 8], at + 9
