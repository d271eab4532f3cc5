"""One SQLite file: statements, transactions, waiting for others, and mending what is damaged."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bench.contract.errors import UserError
from bench.engine.store import opening, salvage

T = TypeVar("T")
Values = Sequence[object]
WAIT_S = 60.0
"""Seconds that a statement waits for another process's."""
_MOST_SALVAGED = 3
_OF_PARENTS: list[sqlite3.Connection] = []
"""Connections that came through a fork: SQLite allows neither to use nor to close them."""
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_PLACE = {
    sqlite3.SQLITE_FULL: "no space left on the device",
    sqlite3.SQLITE_IOERR: "the disk reports an error, or is full",
    sqlite3.SQLITE_READONLY: "it may not be written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_PERM: "it may not be opened",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
    sqlite3.SQLITE_PROTOCOL: "the file system has no locks that work",
    sqlite3.SQLITE_NOLFS: "the file system takes no files of that size",
}
"""What is no fault of the file's: all else that SQLite reports is damage."""


class Database:
    """A connection that opens itself; any thread may use it, one at a time.

    Args:
        root: the store's folder, whose mark names the file.
        tell: told once what was damaged and what became of it.
    """

    def __init__(self, root: Path, tell: Callable[[str, str], None]) -> None:
        self._root, self._tell = root, tell
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._mark: opening.Mark | None = None
        self._seen: tuple[int, int, int] | None = None
        self._ordered: tuple[int, int, int] | None = None
        self._depth = 0
        self._durable = True
        self._journal: list[tuple[str, Values, bool]] = []
        self._salvaged = 0

    # ------------------------------------------------------------ statements
    def read(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Rows of a query; texts are bytes."""
        return self.fold(sql, values, list)

    def fold(self, sql: str, values: Values, fold: Callable[[Iterator[tuple[Any, ...]]], T]) -> T:
        """What ``fold`` makes of the rows of a query; it may be called again from the beginning."""
        return self._tried(lambda connection: fold(connection.execute(sql, values)))

    def write(self, sql: str, values: Values = ()) -> int:
        """Change something, within a transaction; returns how many rows were changed."""
        count = self._tried(lambda connection: connection.execute(sql, values).rowcount)
        self._journal.append((sql, values, False))
        return count

    def write_many(self, sql: str, rows: Sequence[Values]) -> None:
        """The same statement for each of several rows, within a transaction."""
        self._tried(lambda connection: connection.executemany(sql, rows))
        self._journal.append((sql, rows, True))

    @contextlib.contextmanager
    def transaction(self, durable: bool = True) -> Iterator[None]:
        """All or nothing; within another transaction a part of that one.

        Args:
            durable: whether to wait until the disk has it. What need not outlive a loss of power,
                such as a heartbeat, does not wait.
        """
        with self._lock:
            if self._depth:
                yield
                return
            self._durable = durable
            self._depth = 1
            try:
                self._tried(self._begin)
                yield
                self._tried(lambda connection: connection.execute("COMMIT"))
            except BaseException:
                self._abandon()
                raise
            finally:
                self._depth = 0
                self._journal = []

    def examine(self) -> str:
        """What SQLite finds wrong with the file; empty if nothing. Reads all of it."""
        stored = self.read("PRAGMA integrity_check(1)")
        faults = " ".join(str(value, "utf-8", "replace") for (value,) in stored)
        return "" if faults == "ok" else " ".join(faults.split())[:200]

    def close(self) -> None:
        """Close the file; the next statement opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is None:
                return
            if self._seen is not None and self._seen[-1] != os.getpid():
                _OF_PARENTS.append(connection)
                return
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def salvage(self, reason: str) -> None:
        """Build the database anew from what of it is in order; a transaction goes on in it.

        Raises:
            UserError: it cannot be written.
        """
        journal, self._journal = self._journal, []
        self._abandon()
        self.close()
        mark = self._mark or opening.ensure(self._root)
        try:
            what = salvage.rebuild(self._root, mark)
        except (OSError, sqlite3.Error) as error:
            raise UserError(
                f"Store '{self._root}' is damaged ({reason}) and cannot be mended here ({error}); "
                "free some space, or call 'invbench doctor' where it may be written."
            ) from error
        if what:
            self._tell(mark.database, what)
        if self._depth:
            self._tried(self._begin)
            for sql, values, many in journal:
                (self.write_many if many else self.write)(sql, values)  # type: ignore[arg-type]

    # ------------------------------------------------------------ within
    def _tried(self, call: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            until = None
            while True:
                try:
                    return call(self._connected())
                except UnicodeDecodeError as error:  # of SQLite's own message, which names damage
                    until = self._mended(sqlite3.DatabaseError(str(error)), until)
                except sqlite3.Error as error:
                    until = self._mended(error, until)

    def _begin(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            return
        if self._ordered != self._seen:
            _check_order(connection)
            self._ordered = self._seen
        connection.execute(f"PRAGMA synchronous={'FULL' if self._durable else 'NORMAL'}")
        connection.execute("BEGIN IMMEDIATE")
        if self._changed():  # mended by another process while this one waited
            self.close()
            self._begin(self._connected())

    def _abandon(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _connected(self) -> sqlite3.Connection:
        connection = self._connection
        if connection is not None:
            if (self._depth and connection.in_transaction) or not self._changed():
                return connection
            self.close()
        self._mark = opening.ensure(self._root)
        self._seen = self._stamp()
        self._connection = opening.connect(self._root / self._mark.database)
        return self._connection

    def _changed(self) -> bool:
        """Whether another file is the database now, or this is another process."""
        return self._stamp() != self._seen

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = (self._root / opening.MARK).stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, os.getpid()

    def _mended(self, error: sqlite3.Error, until: float | None) -> float | None:
        """Make ready to try once more.

        Returns:
            Until when to wait for others, on the monotonic clock.

        Raises:
            UserError: trying again is of no use; says why.
        """
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        if isinstance(error, sqlite3.ProgrammingError):
            raise error
        if code & 0xFF in _BUSY:
            until = until or time.monotonic() + WAIT_S
            if time.monotonic() > until:
                raise UserError(
                    f"Store '{self._root}' has been locked by another process for {WAIT_S:g} s; "
                    "see which commands use it, and call this one again."
                ) from error
            return until
        if code & 0xFF in _PLACE and code != sqlite3.SQLITE_IOERR_SHORT_READ:
            raise UserError(
                f"Store '{self._root}' cannot be written or read ({_PLACE[code & 0xFF]}); free "
                "some space, or name another folder with store=. What is recorded is kept."
            ) from error
        self._salvaged += 1
        if self._salvaged > _MOST_SALVAGED:
            raise UserError(
                f"Store '{self._root}' is damaged again and again ({error}); look at its disk, and "
                "name another folder with store=."
            ) from error
        self.salvage(str(error))
        return until


def _check_order(connection: sqlite3.Connection) -> None:
    """Hold every index against its order, once before a file is first written.

    Where it is not in order, something that is there is not found, and SQLite does not notice;
    whatever was then written could put more of it out of reach.

    Raises:
        sqlite3.DatabaseError: it is not in order.
    """
    for index, (table, columns) in opening.INDEXES.items():
        last: tuple[Any, ...] = ()
        for row in connection.execute(f"SELECT {columns} FROM {table} INDEXED BY {index}"):
            try:
                good = last < row
            except TypeError:  # a text that has become a number
                good = False
            if not good:
                raise sqlite3.DatabaseError(f"index {index} is not in order")
            last = row
