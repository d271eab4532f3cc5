"""The outbox: which trials are still to be sent to which MLflow, beside the store.

It is an aid that can be built again from the store: nothing in it waits for the disk, and an outbox
that cannot be read is begun anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from bench.contract.files import locked
from bench.contract.secrets import redacted

FILE = "outbox.sqlite"
ATTEMPTS = 3
"""So often a trial is sent that the server refuses for itself, before it waits for a ``sync``."""
_WAIT_S = 30.0
_TABLES = """
CREATE TABLE IF NOT EXISTS trials (
    uri TEXT, suite TEXT, trial TEXT, execution TEXT, version TEXT,
    status TEXT, attempts INTEGER, error TEXT, sent_utc TEXT,
    PRIMARY KEY (uri, suite, trial)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting ON trials (uri, suite, status, execution, trial);
CREATE TABLE IF NOT EXISTS experiments (
    uri TEXT, suite TEXT, identity TEXT, PRIMARY KEY (uri, suite)) WITHOUT ROWID;
"""
_PUT = """
INSERT INTO trials VALUES (:uri, :suite, :trial, :execution, :version, 'waiting', 0, NULL, NULL)
ON CONFLICT DO UPDATE SET
    execution = excluded.execution, version = excluded.version,
    status = 'waiting', attempts = 0, error = NULL
WHERE version != excluded.version
"""


class Outbox:
    """What is to be sent of one suite to one tracking URI.

    It belongs to the thread that made it.

    Args:
        root: folder of the store.
        uri: tracking URI; credentials in it are not written down.
        suite: name of the experiment.
    """

    def __init__(self, root: Path, uri: str, suite: str) -> None:
        self._names = {"uri": redacted(uri), "suite": suite}
        self._lock = root / f"outbox.{hashlib.sha256(redacted(uri).encode()).hexdigest()[:8]}.lock"
        path = root / FILE
        try:
            self._db = _opened(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            path.unlink()
            self._db = _opened(path)

    def put(self, execution: str, versions: Mapping[str, str]) -> None:
        """Note trials to be sent; those noted in this version already stay as they are.

        Args:
            execution: name of the run that has them.
            versions: identity to what tells this record of the trial from another one.
        """
        rows = [
            {**self._names, "execution": execution, "trial": trial, "version": version}
            for trial, version in versions.items()
        ]
        with self._db:
            self._db.executemany(_PUT, rows)

    def unknown(self, trials: Iterable[str]) -> list[str]:
        """Those of ``trials`` that were never noted."""
        keys = sorted(trials)
        known = {
            key
            for (key,) in self._db.execute(
                "SELECT trial FROM trials WHERE uri = :uri AND suite = :suite "
                "AND trial IN (SELECT value FROM json_each(:keys))",
                {**self._names, "keys": json.dumps(keys)},
            )
        }
        return [key for key in keys if key not in known]

    def waiting(self, after: tuple[str, str] = ("", ""), limit: int = -1) -> list[tuple[str, str]]:
        """Trials to be sent: identity and execution, ordered by execution and identity.

        Args:
            after: execution and identity that they come after in this order.
            limit: at most so many; -1: all.
        """
        return self._db.execute(
            "SELECT trial, execution FROM trials WHERE uri = :uri AND suite = :suite "
            "AND status = 'waiting' AND attempts < :attempts "
            "AND (execution, trial) > (:execution, :trial) "
            "ORDER BY execution, trial LIMIT :limit",
            {
                **self._names,
                "attempts": ATTEMPTS,
                "execution": after[0],
                "trial": after[1],
                "limit": limit,
            },
        ).fetchall()

    def left(self) -> tuple[int, str]:
        """How many trials are not sent, and the last error that the server gave for one of them."""
        [(count, error)] = self._db.execute(
            "SELECT count(*), coalesce(max(error), '') FROM trials "
            "WHERE uri = :uri AND suite = :suite AND status = 'waiting'",
            self._names,
        )
        return count, error

    def sent(self, trials: Iterable[str]) -> None:
        """MLflow has these trials."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._update("status = 'sent', error = NULL, sent_utc = :now", trials, {"now": now})

    def refused(self, trial: str, error: str) -> None:
        """The server did not take a trial although it takes others."""
        self._update("attempts = attempts + 1, error = :error", [trial], {"error": error})

    def again(self, trials: Iterable[str]) -> None:
        """These trials are to be sent, whatever was noted of them."""
        self._update("status = 'waiting', attempts = 0, error = NULL", trials, {})

    def drop(self, trials: Iterable[str]) -> None:
        """The store has these trials no more."""
        with self._db:
            self._db.executemany(
                "DELETE FROM trials WHERE uri = :uri AND suite = :suite AND trial = :trial",
                [{**self._names, "trial": trial} for trial in trials],
            )

    def meet(self, identity: str) -> None:
        """Remember which experiment this is; nothing was sent to it if it is another than before.

        Args:
            identity: what tells it from an experiment of the same name in a database made anew.
        """
        with self._db:
            known = self._db.execute(
                "SELECT identity FROM experiments WHERE uri = :uri AND suite = :suite", self._names
            ).fetchone()
            if known is not None and known[0] != identity:
                self._db.execute(
                    "UPDATE trials SET status = 'waiting', attempts = 0 "
                    "WHERE uri = :uri AND suite = :suite",
                    self._names,
                )
            self._db.execute(
                "INSERT OR REPLACE INTO experiments VALUES (:uri, :suite, :identity)",
                {**self._names, "identity": identity},
            )

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """Within it no other process sends from this store to this URI.

        The lock goes with its process. On a file system without locks nobody is kept out; what is
        then sent twice is found and removed afterwards.
        """
        with locked(self._lock):
            yield

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _update(self, what: str, trials: Iterable[str], values: Mapping[str, str]) -> None:
        with self._db:
            self._db.executemany(
                f"UPDATE trials SET {what} WHERE uri = :uri AND suite = :suite AND trial = :trial",
                [{**self._names, **values, "trial": trial} for trial in trials],
            )


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_WAIT_S)
    try:
        # Everything in it can be found out again, so it need not wait for the disk; the journal is
        # a file, which network file systems can do as well.
        database.execute("PRAGMA synchronous = OFF")
        database.executescript(_TABLES)
    except sqlite3.Error:
        database.close()
        raise
    return database
