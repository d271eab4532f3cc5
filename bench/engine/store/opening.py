"""Which file of a folder is the store's database, and how it is made."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.contract.errors import UserError
from bench.contract.files import locked, sync, write_whole
from bench.engine.store.journal import journal_of

STORE_VERSION = 3
MARK = "store.json"
DATABASE = "store.sqlite"
LOCK = "store.lock"
PAGE = 8192
"""Bytes of a page of the database."""
_NAMES = ("store.sqlite", "store-*.sqlite")
_TABLES = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE results(kind TEXT NOT NULL, key TEXT NOT NULL, record TEXT NOT NULL,
    files TEXT NOT NULL, seal TEXT NOT NULL);
CREATE TABLE files(digest TEXT NOT NULL, data BLOB NOT NULL);
CREATE TABLE failures(kind TEXT NOT NULL, key TEXT NOT NULL, number INTEGER NOT NULL,
    record TEXT NOT NULL, seal TEXT NOT NULL);
CREATE TABLE executions(name TEXT NOT NULL, manifest TEXT NOT NULL, seal TEXT NOT NULL);
CREATE TABLE beats(name TEXT NOT NULL, fields TEXT NOT NULL, seal TEXT NOT NULL);
CREATE TABLE drivers(name TEXT PRIMARY KEY, process TEXT NOT NULL, beats INTEGER NOT NULL);
CREATE TABLE claims(key TEXT PRIMARY KEY, driver TEXT NOT NULL);
"""


INDEXES = {
    "results_by_key": ("results", "kind, key"),
    "failures_by_key": ("failures", "kind, key, number"),
    "files_by_digest": ("files", "digest"),
    "executions_by_name": ("executions", "name"),
    "beats_by_name": ("beats", "name"),
}
"""Table and columns of every index; no two rows have the same."""


@dataclass(frozen=True)
class Mark:
    """What ``store.json`` says.

    Attributes:
        version: of the layout.
        uuid: the same for all who see the same store.
        database: name of the database's file.
    """

    version: int
    uuid: str
    database: str


def marked(root: Path) -> Mark | None:
    """What a folder's mark says; of a torn one, what can be told from the databases beside it.

    Returns:
        None: there is no store of version 3 or above.
    """
    try:
        values = json.loads((root / MARK).read_text(encoding="utf-8"))
        if values["version"] < STORE_VERSION:
            return None
        return Mark(int(values["version"]), str(values["uuid"]), str(values["database"]))
    except (OSError, ValueError, KeyError, TypeError):
        databases = [path for name in _NAMES for path in root.glob(name)]
        if not databases:
            return None
        return Mark(STORE_VERSION, uuid.uuid4().hex, max(databases, key=_number).name)


def put_mark(root: Path, mark: Mark) -> None:
    """Say which file is the database, atomically."""
    write_whole(root / MARK, json.dumps(mark.__dict__).encode())


def next_name(database: str) -> str:
    """Name of the database that takes the place of one."""
    return f"store-{_number(Path(database)) + 1}.sqlite"


def _number(path: Path) -> int:
    end = path.stem.partition("-")[2]
    return int(end) if end.isdigit() else 1


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold a folder's lock, where it has locks: one process at a time makes or mends a store."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # who may only read makes nothing
            held.enter_context(locked(root / LOCK))
        yield


def check_version(root: Path, mark: Mark) -> None:
    """Refuse a store of a program to come.

    Raises:
        UserError: says which versions are read.
    """
    if mark.version > STORE_VERSION:
        raise UserError(
            f"Store '{root}' has version {mark.version}, this program reads up to "
            f"{STORE_VERSION}; update it, or name another folder with store=."
        )


@contextlib.contextmanager
def making(final: Path, uuid: str) -> Iterator[sqlite3.Connection]:
    """Fill a new, empty database inside; it comes to its place at the end, or not at all.

    Args:
        final: where it will lie.
        uuid: of its store.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
        sqlite3.Error: the same.
    """
    scratch = final.with_name(f".{final.name}.making")
    connection = _made_empty(scratch)
    try:
        connection.execute("BEGIN")
        yield connection
        connection.execute("INSERT INTO meta VALUES('uuid', ?)", (uuid,))
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        scratch.unlink(missing_ok=True)
        raise
    # The mode is kept in the file: who opens it later need not be alone to change it.
    connection.execute(f"PRAGMA journal_mode={journal_of(final.parent)}")
    connection.close()
    sync(scratch)
    scratch.replace(final)


def _made_empty(path: Path) -> sqlite3.Connection:
    """A new, empty database in a file of that name; written without care until it is complete."""
    for name in (path, Path(f"{path}-journal"), Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.text_factory = bytes
    for pragma in (f"page_size={PAGE}", "journal_mode=OFF", "synchronous=OFF"):
        connection.execute(f"PRAGMA {pragma}")
    connection.executescript(_TABLES)
    for index, (table, columns) in INDEXES.items():
        connection.execute(f"CREATE UNIQUE INDEX {index} ON {table}({columns})")
    return connection


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a database that is there.

    Raises:
        sqlite3.Error: it cannot be opened, or is none.
    """
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    uri = f"{path.resolve().as_uri()}?mode={'rw' if writable else 'ro'}"
    if not writable and not Path(f"{path}-wal").exists():
        uri += "&immutable=1"  # nobody writes, and a folder that cannot be written has no locks
    connection = sqlite3.connect(
        uri, uri=True, timeout=1.0, isolation_level=None, check_same_thread=False
    )
    connection.text_factory = bytes
    try:
        if writable:
            wanted = journal_of(path.parent)
            [(mode,)] = connection.execute("PRAGMA journal_mode")
            if mode.decode() != wanted:
                connection.execute(f"PRAGMA journal_mode={wanted}")
            connection.execute("PRAGMA synchronous=FULL")
            # What is deleted is overwritten: salvage must not find it again.
            connection.execute("PRAGMA secure_delete=ON")
        connection.execute("PRAGMA cache_size=-32768")
    except UnicodeDecodeError as error:  # of SQLite's own message about a damaged schema
        connection.close()
        raise sqlite3.DatabaseError("malformed database schema") from error
    except BaseException:
        connection.close()
        raise
    return connection


def ensure(root: Path) -> Mark:
    """The mark of a folder's store, which is made, or taken over from folders, if need be.

    Raises:
        UserError: the folder cannot be written, or its store is of a program to come.
    """
    mark = marked(root)
    if mark is not None and (root / mark.database).exists() and (root / MARK).exists():
        check_version(root, mark)
        return mark
    try:
        root.mkdir(parents=True, exist_ok=True)
        with alone(root):
            mark = marked(root)
            if mark is not None:
                check_version(root, mark)
            if mark is None or not (root / mark.database).exists():
                mark = _made(root, mark or Mark(STORE_VERSION, uuid.uuid4().hex, DATABASE))
            put_mark(root, mark)
    except (OSError, sqlite3.Error) as error:
        raise UserError(
            f"Store '{root}' cannot be used ({error}); name a writable folder with store=."
        ) from error
    return mark


def _made(root: Path, mark: Mark) -> Mark:
    """Make a database with what lies there in folders."""
    from bench.engine.store import folders

    with making(root / mark.database, mark.uuid) as connection:
        taken = folders.take_over(root, connection)
    if taken:
        # The mark is written before the folders go: who is killed between has lost nothing.
        put_mark(root, mark)
        folders.move_away(root, taken)
    return mark
