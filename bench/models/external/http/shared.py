"""An SQLite file that several processes write and read at once."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.contract import UserError
from bench.contract.secrets import in_one_line

_BUSY_S = 60.0
"""Seconds to wait for the transaction of another process."""
_inherited: list[sqlite3.Connection] = []
"""Connections of a parent process, which its child must neither use nor close."""


class SharedFile:
    """The file, which stays open as long as this object lives.

    Args:
        path: made if absent; on a disk of this machine.
        tables: statements that make its tables where they are absent.

    Raises:
        UserError: the file cannot be opened or made, or is of another kind.
    """

    def __init__(self, path: Path, tables: Sequence[str]) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._process = 0
        self._connection: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"The folder of {path} cannot be made: {in_one_line(error)}. Choose a folder that "
                "can be written."
            ) from None
        self._use_wal()
        with self.transaction() as file:
            for table in tables:
                file.execute(table)

    @contextlib.contextmanager
    def transaction(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection within one transaction: all of it is kept, or none.

        Args:
            durable: it must outlive a loss of power, and with it all before; this takes a while.

        Raises:
            UserError: the file cannot be used.
        """
        try:
            with self._lock:
                file = self._connected()
                file.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                file.execute("BEGIN IMMEDIATE")
                try:
                    yield file
                    file.execute("COMMIT")
                except BaseException:
                    # A disk that is full may have rolled it back already.
                    if file.in_transaction:
                        file.execute("ROLLBACK")
                    raise
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _connected(self) -> sqlite3.Connection:
        """The connection of this process, which is closed with this object."""
        if self._connection is None or self._process != os.getpid():
            if self._connection is not None:
                _inherited.append(self._connection)
            self._process = os.getpid()
            self._connection = sqlite3.connect(
                self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            weakref.finalize(self, _close, self._connection, self._process)
        return self._connection

    def _use_wal(self) -> None:
        """Readers and one writer at once; SQLite does not wait by itself for this change."""
        until = time.monotonic() + _BUSY_S
        while True:
            try:
                with contextlib.closing(sqlite3.connect(self._path, timeout=_BUSY_S)) as file:
                    file.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.Error as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise self._unusable(error) from None
                time.sleep(0.05)

    def _unusable(self, error: sqlite3.Error) -> UserError:
        return UserError(
            f"The file {self._path} cannot be used: {in_one_line(error)}. It must be an SQLite "
            "file on a local disk with free space that can be written. If it is damaged, put it "
            "aside; the answers it holds will then be asked again."
        )


def _close(connection: sqlite3.Connection, process: int) -> None:
    if process == os.getpid():
        connection.close()
    else:
        _inherited.append(connection)
