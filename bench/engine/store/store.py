"""The class that all others read and write a store through."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.contract.errors import UserError
from bench.contract.files import write_whole
from bench.engine.messages import Blob
from bench.engine.names import RECORD
from bench.engine.seal import DamagedError, digest_of
from bench.engine.store import folders, opening, rows
from bench.engine.store.blobs import SMALL
from bench.engine.store.claims import Claims
from bench.engine.store.reading import Reading
from bench.engine.store.salvage import ASIDE


class Store(Reading):
    """Results by kind and identity, failures, runs and claims under one folder.

    Several threads and processes may use a folder at once.

    Args:
        root: the folder; made if absent.

    Raises:
        UserError: the folder cannot be written, or belongs to a newer version.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._examined = False
        opening.ensure(root)

    @property
    def uuid(self) -> str:
        """The same for all who see the same store."""
        return opening.ensure(self.root).uuid

    @property
    def database(self) -> Path:
        """The database's file."""
        return self.root / opening.ensure(self.root).database

    def batch(self) -> AbstractContextManager[None]:
        """Everything within is one transaction and one wait for the disk.

        Keep it short: nobody else can write meanwhile. An error within leaves nothing written.
        """
        return self._database.transaction()

    def close(self) -> None:
        """Close the database; what is called afterwards opens it again."""
        self._database.close()

    # ------------------------------------------------------------ results
    def put(
        self,
        kind: str,
        key: str,
        record: Mapping[str, Any] | str,
        files: Mapping[str, bytes | Blob],
    ) -> None:
        """Write a result once: who writes the same identity after that changes nothing.

        Args:
            kind: of the result.
            key: its identity.
            record: plain JSON values; a text is canonical JSON already.
            files: what stands beside it, by name; a blob is in ``blobs`` already.

        Raises:
            UserError: the disk is full or not writable; what is recorded stays.
            ValueError: a number is not finite.
        """
        blobs = {name: self._written(data) for name, data in files.items()}
        row = rows.result(kind, key, rows.text_of(record), blobs)
        sql = "INSERT INTO results VALUES(?,?,?,?,?) ON CONFLICT DO NOTHING"
        database = self._database
        with database.transaction():
            for name, data in files.items():
                if isinstance(data, bytes) and len(data) <= SMALL:
                    self._put_small(blobs[name], data)
            if not database.write(sql, row):
                old = self._row(kind, key)
                if old is None or not self._sound(f"{kind}/{key}", old):
                    self._replace(kind, key, row)

    def _put_small(self, blob: Blob, data: bytes) -> None:
        sql = "INSERT INTO files VALUES(?,?) ON CONFLICT DO NOTHING"
        if self._database.write(sql, (blob.digest, data)):
            return
        try:
            self._content(blob)
        except DamagedError:
            self._mend_if_torn()
            self._database.write("DELETE FROM files WHERE digest=?", (blob.digest,))
            self._database.write(sql, (blob.digest, data))

    def _replace(self, kind: str, key: str, row: tuple[str, ...]) -> None:
        """Write what stands in the place of a damaged row."""
        self._mend_if_torn()
        self._database.write("DELETE FROM results WHERE kind=? AND key=?", (kind, key))
        self._database.write("INSERT INTO results VALUES(?,?,?,?,?)", row)
        self._forget(f"{kind}/{key}")

    def _mend_if_torn(self) -> None:
        """Before a damaged row is deleted: in a torn file that could hit another one.

        Looks at the whole file, so once for all damage that is found in this process.
        """
        if not self._examined:
            self._examined = True
            reason = self.check()
            if reason:
                self.mend(reason)

    def remove(self, kind: str, key: str) -> None:
        """Forget a result that is to be computed again (``rerun=all``)."""
        with self.batch():
            self._database.write("DELETE FROM results WHERE kind=? AND key=?", (kind, key))

    def set_aside(self, kind: str, key: str, reason: str) -> Path:
        """Write a result as plain files below ``aside`` with a note, and forget it.

        Args:
            kind: of the result; ``executions`` for a run, whose name is the key; ``failed/<kind>``
                for a failed attempt, whose key is ``<identity>/<number>``; ``beats`` for how far
                a run was.
            key: its identity.
            reason: what is wrong with it.

        Returns:
            Where it lies now.
        """
        place = f"{kind}/{key}"
        try:
            new = self._noted(place, reason)
            for name, data in self._raw(kind, key):
                write_whole(new / name, data)
                if name == RECORD and place in self.faults:
                    self._mend_if_torn()
        except OSError as error:
            raise self._unwritable(error) from error
        with self.batch():
            table, _, where, values = _where(kind, key)
            self._database.write(f"DELETE FROM {table} WHERE {where}", values)
        self._forget(place)
        return new

    def move_aside(self, path: Path, reason: str) -> Path:
        """Move a file or folder of the store's below ``aside`` with a note; see ``set_aside``."""
        try:
            new = self._noted(path.relative_to(self.root).as_posix(), reason)
            path.rename(new)
        except OSError as error:
            raise self._unwritable(error) from error
        return new

    def _noted(self, place: str, reason: str) -> Path:
        """A name below ``aside`` for what stands at a place, with a note beside it."""
        safe = re.sub(r"[^\w/.-]|\.\.|^[/.]", "_", place)  # what is damaged may be called anything
        new = self.root / ASIDE / f"{safe}.{uuid.uuid4().hex[:8]}"
        utc = datetime.now(UTC).isoformat(timespec="seconds")
        note = {"was": place, "reason": reason, "utc": utc}
        write_whole(new.with_name(f"{new.name}.json"), json.dumps(note, indent=1).encode())
        return new

    # ------------------------------------------------------------ failures
    def put_failure(self, kind: str, key: str, record: Mapping[str, Any] | str) -> None:
        """Append an attempt that did not end in ``done``.

        Raises:
            UserError: the disk is full or not writable; what is recorded stays.
        """
        text = rows.text_of(record)
        sql = "SELECT max(number) FROM failures WHERE kind=? AND key=?"
        with self.batch():
            [(last,)] = self._database.read(sql, (kind, key))
            number = (last if isinstance(last, int) else 0) + 1
            row = rows.failure(kind, key, number, text)
            self._database.write("INSERT INTO failures VALUES(?,?,?,?,?)", row)

    # ------------------------------------------------------------ runs
    def put_execution(self, name: str, manifest: Mapping[str, Any]) -> None:
        """Write once what a run set out to do; what changes later is its beat.

        Raises:
            UserError: the disk is full or not writable; what is recorded stays.
        """
        row = rows.execution(name, rows.text_of(manifest))
        with self.batch():
            self._database.write("INSERT OR IGNORE INTO executions VALUES(?,?,?)", row)

    def beat(self, name: str, fields: Mapping[str, Any]) -> None:
        """Note how far a run is; small, and takes the place of its last beat.

        Raises:
            UserError: the disk is full or not writable; what is recorded stays.
        """
        sql = "INSERT OR REPLACE INTO beats VALUES(?,?,?)"
        with self._database.transaction(durable=False):
            self._database.write(sql, rows.beat(name, rows.text_of(fields)))

    # ------------------------------------------------------------ the rest
    def claims(self, driver: str) -> Claims:
        """Who works on what, for a driver of that name; see :class:`Claims`."""
        return Claims(self._database, driver)

    def export(self, folder: Path, kinds: tuple[str, ...] | None = None) -> int:
        """Write everything as plain folders; see :func:`bench.engine.store.folders.export`."""
        return folders.export(self, folder, kinds)

    def check(self) -> str:
        """What SQLite finds wrong with the database; empty if nothing."""
        return self._database.examine()

    def mend(self, reason: str) -> None:
        """Build the database anew from every row of it that agrees with its seal.

        Raises:
            UserError: it cannot be written.
        """
        self._database.salvage(reason)

    def _written(self, data: bytes | Blob) -> Blob:
        if isinstance(data, Blob):
            return data
        if len(data) <= SMALL:
            return Blob(digest_of(data), len(data))
        try:
            return self.blobs.put(data)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"Store '{self.root}' cannot be written ({error.strerror}); free some space or "
            f"name another folder with store=. What is recorded is kept."
        )

    def _raw(self, kind: str, key: str) -> Iterator[tuple[str, bytes]]:
        """What stands at a place, as it is, by name of the file it makes."""
        table, columns, where, values = _where(kind, key)
        for row in self._database.read(f"SELECT {columns} FROM {table} WHERE {where}", values):
            yield RECORD, row[0] if isinstance(row[0], bytes) else str(row[0]).encode()
            for name, blob in self.files(kind, key).items() if len(row) > 1 else ():
                try:
                    yield name, self._content(blob)
                except DamagedError:
                    if self.blobs.path(blob.digest).is_file():
                        yield name, self.blobs.path(blob.digest).read_bytes()


def _where(kind: str, key: str) -> tuple[str, str, str, tuple[object, ...]]:
    """Table, columns of what it holds, condition and values of what stands at a place."""
    first, _, second = kind.partition("/")
    if first == folders.FAILED:
        identity, _, number = key.rpartition("/")
        values = (second, identity, int(number))
        return "failures", "record", "kind=? AND key=? AND number=?", values
    if kind == folders.EXECUTIONS:
        return "executions", "manifest", "name=?", (key,)
    if kind == "beats":
        return "beats", "fields", "name=?", (key,)
    return "results", "record, files", "kind=? AND key=?", (kind, key)
