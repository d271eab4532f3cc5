"""The class that all others read and write a store through."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.contract.errors import UserError
from bench.engine.messages import Blob, Parcel
from bench.engine.names import RECORD, TENSORS
from bench.engine.seal import DamagedError, digest_of
from bench.engine.store import folders, opening, rows
from bench.engine.store.blobs import SMALL, FileBlobs, write
from bench.engine.store.claims import Claims
from bench.engine.store.database import Database
from bench.engine.store.salvage import ASIDE

FAULTS: dict[Path, str] = {}
"""What any store of this process has read and found damaged, until it is set aside."""
_CHUNK = 500
_IN = "key IN (SELECT value FROM json_each(?))"


class Store:
    """Results by kind and identity, failures, runs and claims under one folder.

    Several threads and processes may use a folder at once. What is damaged counts as not there
    and is named in ``faults``.

    Args:
        root: the folder; made if absent.

    Attributes:
        root: the folder.
        blobs: its large files.
        faults: what was read and is damaged: the reason by place, ``kind/key`` or
            ``kind/key/file``.

    Raises:
        UserError: the folder cannot be written, or belongs to a newer version.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = FileBlobs(root)
        self.faults: dict[str, str] = {}
        self._database = Database(root, self._fault)
        opening.ensure(root)

    @property
    def uuid(self) -> str:
        """The same for all who see the same store."""
        return opening.ensure(self.root).uuid

    def batch(self) -> AbstractContextManager[None]:
        """Everything within is one transaction and one wait for the disk.

        Keep it short: nobody else can write meanwhile. An error within leaves nothing written.
        """
        return self._database.transaction()

    def close(self) -> None:
        """Close the database; what is called afterwards opens it again."""
        self._database.close()

    # ------------------------------------------------------------ results
    def has(self, kind: str, key: str) -> bool:
        """Whether the result is there, damaged or not."""
        sql = "SELECT 1 FROM results WHERE kind=? AND key=?"
        return bool(self._database.read(sql, (kind, key)))

    def ids(self, kind: str) -> set[str]:
        """Identities of every result of a kind."""
        return self._database.read("SELECT key FROM results WHERE kind=?", (kind,), _texts)

    def kinds(self) -> list[str]:
        """Kinds of which there are results."""
        return sorted(self._database.read("SELECT DISTINCT kind FROM results", (), _texts))

    def record(self, kind: str, key: str) -> dict[str, Any] | None:
        """The JSON record of a result; None if it is not there or damaged."""
        return next((record for _, record in self.records(kind, (key,))), None)

    def records(self, kind: str, keys: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Records of those results that are there and in order, in the order of ``keys``."""
        sql = f"SELECT key, record, files, seal FROM results WHERE kind=? AND {_IN}"
        for chunk in _chunks(keys):
            stored = self._database.read(sql, (kind, json.dumps(chunk)), _by_key)
            for key in chunk:
                if key in stored:
                    record = self._parsed(f"{kind}/{key}", stored[key])
                    if record is not None:
                        yield key, record

    def seconds(self, kind: str, most: int) -> Iterator[tuple[str, float]]:
        """Label and seconds of at most ``most`` results; for expectations, so not checked."""
        sql = (
            "SELECT CASE WHEN json_valid(record) THEN json_extract(record, '$.label') END, "
            "CASE WHEN json_valid(record) THEN json_extract(record, '$.seconds') END "
            "FROM results WHERE kind=? LIMIT ?"
        )
        for label, seconds in self._database.read(sql, (kind, most)):
            if isinstance(label, bytes) and isinstance(seconds, int | float):
                yield label.decode("utf-8", "replace"), float(seconds)

    def files(self, kind: str, key: str) -> dict[str, Blob]:
        """Files of a result by name; none if it is not there or damaged."""
        row = self._row(kind, key)
        place = f"{kind}/{key}"
        sound = row is not None and self._parsed(place, row) is not None
        return rows.files_of(row[1]) if row is not None and sound else {}

    def file(self, kind: str, key: str, name: str) -> bytes | None:
        """A file of a result; None if the result has none of that name, or it is damaged."""
        blob = self.files(kind, key).get(name)
        if blob is None:
            return None
        try:
            return self._content(blob)
        except DamagedError as error:
            self._fault(f"{kind}/{key}/{name}", error.reason)
            return None

    def intact(self, kind: str, key: str) -> bool:
        """Whether the record and every file of a result agree with its seal."""
        names = self.files(kind, key)
        good = [self.file(kind, key, name) is not None for name in names]
        return self.record(kind, key) is not None and all(good)

    def parcel(self, kind: str, key: str) -> Parcel:
        """A result as a worker needs it; tensors that are large by their digest alone.

        Raises:
            DamagedError: it is not there, or not what was written.
        """
        place = f"{kind}/{key}"
        row = self._row(kind, key)
        record = None if row is None else self._parsed(place, row)
        if row is None or record is None:
            raise DamagedError(self.root / place, self.faults.get(place, "it is not there"))
        blob = rows.files_of(row[1]).get(TENSORS)
        small = blob is not None and blob.size <= SMALL
        data = self.file(kind, key, TENSORS) if small else None
        if small and data is None:
            where = f"{place}/{TENSORS}"
            raise DamagedError(self.root / where, self.faults.get(where, "it is not there"))
        return Parcel(place, record["output"], blob and blob.digest, data)

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
                    database.write(
                        "INSERT INTO files VALUES(?,?) ON CONFLICT(digest) "
                        "DO UPDATE SET data=excluded.data WHERE data IS NOT excluded.data",
                        (blobs[name].digest, data),
                    )
            if not database.write(sql, row):
                old = self._row(kind, key)
                if old is None or self._parsed(f"{kind}/{key}", old) is None:
                    self._replace(kind, key, row)

    def _replace(self, kind: str, key: str, row: tuple[str, ...]) -> None:
        """Write what stands in the place of a damaged row."""
        self._database.write("DELETE FROM results WHERE kind=? AND key=?", (kind, key))
        self._database.write("INSERT INTO results VALUES(?,?,?,?,?)", row)
        self._forget(f"{kind}/{key}")

    def remove(self, kind: str, key: str) -> None:
        """Forget a result that is to be computed again (``rerun=all``)."""
        with self.batch():
            self._database.write("DELETE FROM results WHERE kind=? AND key=?", (kind, key))

    def set_aside(self, kind: str, key: str, reason: str) -> Path:
        """Write a result as plain files below ``aside`` with a note, and forget it.

        Args:
            kind: of the result; ``executions`` for a run, whose name is the key; ``failed/<kind>``
                for a failed attempt, whose key is ``<identity>/<number>``.
            key: its identity.
            reason: what is wrong with it.

        Returns:
            Where it lies now.
        """
        place = f"{kind}/{key}"
        new = self.root / ASIDE / kind / f"{key}.{uuid.uuid4().hex[:8]}"
        utc = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            for name, data in self._raw(kind, key):
                write(new / name, data)
            note = {"was": place, "reason": reason, "utc": utc}
            write(new.with_name(f"{new.name}.json"), json.dumps(note, indent=1).encode())
        except OSError as error:
            raise self._unwritable(error) from error
        with self.batch():
            for sql, values in _deletions(kind, key):
                self._database.write(sql, values)
        self._forget(place)
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

    def failure(self, kind: str, key: str) -> dict[str, Any] | None:
        """The last attempt that did not end in ``done`` and is not damaged, if there is one."""
        return self.latest_failures(kind, (key,)).get(key)

    def failures(self, kind: str) -> set[str]:
        """Identities of a kind with a failed attempt."""
        return self._database.read("SELECT key FROM failures WHERE kind=?", (kind,), _texts)

    def attempts(self, kind: str, key: str) -> list[dict[str, Any]]:
        """Every failed attempt that is not damaged, the first first."""
        attempts = (self._failed(kind, row) for row in self._failures(kind, (key,)))
        return [record for record in attempts if record is not None][::-1]

    def latest_failures(self, kind: str, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The last failed attempt, of those of ``keys`` that have one that is not damaged."""
        latest: dict[str, dict[str, Any]] = {}
        for row in self._failures(kind, keys):
            key = _text(row[0])
            record = None if key in latest else self._failed(kind, row)
            if record is not None:
                latest[key] = record
        return latest

    def _failures(self, kind: str, keys: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        sql = (
            f"SELECT key, number, record, seal FROM failures WHERE kind=? AND {_IN} "
            "ORDER BY key, number DESC"
        )
        for chunk in _chunks(keys):
            yield from self._database.read(sql, (kind, json.dumps(chunk)))

    def _failed(self, kind: str, row: tuple[Any, ...]) -> dict[str, Any] | None:
        key, number, record, seal = row
        return self._parsed(f"failed/{kind}/{_text(key)}/{number}", (record, seal))

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

    def executions(self) -> Iterator[dict[str, Any]]:
        """Manifests of every run with their last beats, the newest first; not the damaged ones."""
        names = self._database.read("SELECT name FROM executions", (), _texts)
        for name in sorted(names, reverse=True):
            sql = "SELECT manifest, seal FROM executions WHERE name=?"
            manifest = self._document(f"executions/{name}", sql, name)
            beat = self._document(
                f"beats/{name}", "SELECT fields, seal FROM beats WHERE name=?", name
            )
            if manifest is not None:
                yield {**manifest, **(beat or {})}

    def newest(self, suite: str) -> dict[str, Any]:
        """The manifest of a suite's newest run.

        Raises:
            UserError: there is none.
        """
        for manifest in self.executions():
            if manifest["suite"] == suite:
                return manifest
        raise UserError(
            f"Store '{self.root}' has no run of suite '{suite}'; 'invbench run suite={suite}' "
            f"makes one, 'invbench status' lists what is there."
        )

    def _document(self, place: str, sql: str, name: str) -> dict[str, Any] | None:
        stored = self._database.read(sql, (name,))
        return self._parsed(place, stored[0]) if stored else None

    # ------------------------------------------------------------ the rest
    def claims(self, driver: str) -> Claims:
        """Who works on what, for a driver of that name; see :class:`Claims`."""
        return Claims(self._database, driver)

    def export(self, folder: Path, kinds: tuple[str, ...] | None = None) -> int:
        """Write everything as plain folders; see :func:`bench.engine.store.folders.export`."""
        return folders.export(self, folder, kinds)

    def documents(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Failed attempts and runs that are in order, with their places."""
        sql = "SELECT kind, key, number, record, seal FROM failures"
        for kind, *row in self._database.read(sql):
            record = self._failed(_text(kind), tuple(row))
            if record is not None:
                yield f"failed/{_text(kind)}/{_text(row[0])}/{row[1]}", record
        for manifest in self.executions():
            yield f"executions/{manifest['name']}", manifest

    def _row(self, kind: str, key: str) -> tuple[Any, ...] | None:
        """Record, files and seal as they stand there."""
        sql = "SELECT record, files, seal FROM results WHERE kind=? AND key=?"
        stored = self._database.read(sql, (kind, key))
        return stored[0] if stored else None

    def _parsed(self, place: str, row: tuple[Any, ...]) -> dict[str, Any] | None:
        """The document whose text begins a row and whose seal ends it; None if it is damaged."""
        *texts, seal = row
        try:
            rows.check(place, seal, *texts)
        except DamagedError as error:
            self._fault(place, error.reason)
            return None
        document: dict[str, Any] = json.loads(texts[0])
        return document

    def _content(self, blob: Blob) -> bytes:
        if blob.size > SMALL:
            return self.blobs.get(blob.digest)
        stored = self._database.read("SELECT data FROM files WHERE digest=?", (blob.digest,))
        if not stored:
            return self.blobs.get(blob.digest)
        [(data,)] = stored
        if not isinstance(data, bytes) or digest_of(data) != blob.digest:
            raise DamagedError(Path(blob.digest), "what it holds is not what was written")
        return data

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
        for sql, values in _selections(kind, key):
            for row in self._database.read(sql, values):
                yield RECORD, _bytes(row[0])
                for name, blob in self.files(kind, key).items() if len(row) > 1 else ():
                    try:
                        yield name, self._content(blob)
                    except DamagedError:
                        if self.blobs.path(blob.digest).is_file():
                            yield name, self.blobs.path(blob.digest).read_bytes()

    def _fault(self, place: str, reason: str) -> None:
        self.faults[place] = FAULTS[self.root / place] = reason

    def _forget(self, place: str) -> None:
        for bad in [bad for bad in self.faults if f"{bad}/".startswith(f"{place}/")]:
            del self.faults[bad]
            FAULTS.pop(self.root / bad, None)


def _where(kind: str, key: str) -> tuple[str, str, str, tuple[object, ...]]:
    """Table, column of the text, condition and values of what stands at a place."""
    first, _, second = kind.partition("/")
    if first == folders.FAILED:
        identity, _, number = key.rpartition("/")
        values = (second, identity, int(number))
        return "failures", "record", "kind=? AND key=? AND number=?", values
    if kind == folders.EXECUTIONS:
        return "executions", "manifest", "name=?", (key,)
    return "results", "record", "kind=? AND key=?", (kind, key)


def _selections(kind: str, key: str) -> Iterator[tuple[str, tuple[object, ...]]]:
    table, column, where, values = _where(kind, key)
    columns = f"{column}, files" if table == "results" else column
    yield f"SELECT {columns} FROM {table} WHERE {where}", values


def _deletions(kind: str, key: str) -> Iterator[tuple[str, tuple[object, ...]]]:
    table, _, where, values = _where(kind, key)
    yield f"DELETE FROM {table} WHERE {where}", values


def _chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(keys)
    while chunk := list(itertools.islice(remaining, _CHUNK)):
        yield chunk


def _texts(stored: Iterator[tuple[Any, ...]]) -> set[str]:
    return {_text(value) for (value,) in stored}


def _by_key(stored: Iterator[tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    return {_text(key): tuple(rest) for key, *rest in stored}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
