"""A damaged database is built anew from every row of it that is still what was written."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.engine.seal import digest_of, seal_of
from bench.engine.store import opening, pages

ASIDE = "aside"
_DIGEST = 64
"""Letters of a digest."""
_INTO = {
    "results": "INSERT OR IGNORE INTO results VALUES(?,?,?,?,?)",
    "failures": "INSERT OR IGNORE INTO failures VALUES(?,?,?,?,?)",
    "executions": "INSERT OR IGNORE INTO executions VALUES(?,?,?)",
    "beats": "INSERT OR REPLACE INTO beats VALUES(?,?,?)",
    "files": "INSERT OR IGNORE INTO files VALUES(?,?)",
}


def rebuild(root: Path, damaged: opening.Mark) -> str:
    """Put a new database in the place of a damaged one, which is kept below ``aside``.

    Returns:
        What was done, to be told; empty if another process has done it meanwhile.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
        sqlite3.Error: the same.
    """
    with opening.alone(root):
        mark = opening.marked(root) or damaged
        if mark.database != damaged.database:
            return ""
        old = root / mark.database
        with _held(old):
            name = opening.next_name(mark.database)
            counts: Counter[str] = Counter()
            with opening.making(root / name, mark.uuid) as new:
                for table, row in _sound(old):
                    counts[table] += max(0, new.execute(_INTO[table], row).rowcount)
            opening.put_mark(root, opening.Mark(opening.STORE_VERSION, mark.uuid, name))
        lies = _moved(root, old)
    return (
        f"it was damaged; {counts['results']} results, {counts['failures']} failures and "
        f"{counts['executions']} runs could be read of it and stand in '{name}' now, what else it "
        f"held is made again; it lies at '{lies}'"
    )


def _sound(path: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Rows that are what was written, with their tables."""
    for row in pages.rows(path):
        match row:
            case (bytes(kind), bytes(key), bytes(record), bytes(files), bytes(seal)):
                places = {"results": b"%b/%b" % (kind, key)}
                texts: tuple[bytes, ...] = (record, files)
            case (bytes(kind), bytes(key), int(number), bytes(record), bytes(seal)):
                places, texts = {"failures": b"failed/%b/%b/%d" % (kind, key, number)}, (record,)
            case (bytes(name), bytes(text), bytes(seal)):
                places = {"executions": b"executions/%b" % name, "beats": b"beats/%b" % name}
                texts = (text,)
            case (bytes(digest), bytes(data)):
                # What it holds says what it is called; if it is damaged, nobody will ask for it.
                if len(digest) == _DIGEST:
                    yield "files", (digest_of(data), data)
                continue
            case _:
                continue
        for table, place in places.items():
            if _sealed(place, texts, seal):
                yield table, tuple(v.decode() if isinstance(v, bytes) else v for v in row)


def _sealed(place: bytes, texts: tuple[bytes, ...], seal: bytes) -> bool:
    try:
        return seal_of(place.decode(), *texts).encode() == seal
    except UnicodeDecodeError:
        return False


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Keep others from writing to a database, as far as it is still one."""
    connection = None
    try:
        with contextlib.suppress(sqlite3.Error):
            connection = opening.connect(path)
            connection.execute("PRAGMA busy_timeout=60000")
            connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _moved(root: Path, old: Path) -> Path:
    """Move a database and its logs out of the way."""
    folder = root / ASIDE
    folder.mkdir(exist_ok=True)
    taken = sum(1 for _ in folder.glob(f"{old.name}.*"))
    new = folder / f"{old.name}.{taken}"
    for end in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(OSError):
            Path(f"{old}{end}").rename(f"{new}{end}")
    return new
