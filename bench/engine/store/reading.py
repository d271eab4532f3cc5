"""Reading a store: what does not agree with its seal is named, and counts as not there."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.contract.errors import UserError
from bench.engine.messages import Blob, Parcel
from bench.engine.names import TENSORS
from bench.engine.seal import DamagedError, digest_of
from bench.engine.store import rows
from bench.engine.store.blobs import SMALL, FileBlobs
from bench.engine.store.database import Database

FAULTS: dict[Path, str] = {}
"""What any store of this process has read and found damaged, until it is set aside."""
_CHUNK = 500
_IN = "key IN (SELECT value FROM json_each(?))"


class Reading:
    """What a store holds.

    Args:
        root: the store's folder.

    Attributes:
        root: the folder.
        blobs: its large files.
        faults: what was read and is damaged: the reason by place, ``kind/key`` or
            ``kind/key/file``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = FileBlobs(root)
        self.faults: dict[str, str] = {}
        self._database = Database(root, self._fault)

    # ------------------------------------------------------------ results
    def has(self, kind: str, key: str) -> bool:
        """Whether the result is there, damaged or not."""
        sql = "SELECT 1 FROM results WHERE kind=? AND key=?"
        return bool(self._database.read(sql, (kind, key)))

    def ids(self, kind: str) -> set[str]:
        """Identities of every result of a kind."""
        return self._database.fold("SELECT key FROM results WHERE kind=?", (kind,), _texts)

    def count(self) -> int:
        """How many results there are."""
        [(count,)] = self._database.read("SELECT count(*) FROM results")
        return int(count)

    def holds(self, blob: Blob) -> bool:
        """Whether a file is there, damaged or not."""
        sql = "SELECT 1 FROM files WHERE digest=?"
        small = self._database.read(sql, (blob.digest,))
        return bool(small) or self.blobs.path(blob.digest).exists()

    def digests(self) -> set[str]:
        """Digests of every large file that a result has."""

        def large(stored: Iterator[tuple[Any, ...]]) -> set[str]:
            digests: set[str] = set()
            for (listed,) in stored:
                with contextlib.suppress(ValueError, TypeError, AttributeError):  # it is damaged
                    blobs = rows.files_of(listed).values()
                    digests |= {blob.digest for blob in blobs if blob.size > SMALL}
            return digests

        return self._database.fold("SELECT DISTINCT files FROM results", (), large)

    def kinds(self) -> list[str]:
        """Kinds of which there are results."""
        return sorted(self._database.fold("SELECT DISTINCT kind FROM results", (), _texts))

    def record(self, kind: str, key: str) -> dict[str, Any] | None:
        """The JSON record of a result; None if it is not there or damaged."""
        return next((record for _, record in self.records(kind, (key,))), None)

    def records(self, kind: str, keys: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Records of those results that are there and in order, in the order of ``keys``."""
        for key, text in self.texts(kind, keys):
            yield key, json.loads(text)

    def texts(self, kind: str, keys: Iterable[str]) -> Iterator[tuple[str, str]]:
        """As :meth:`records`, the JSON as it is stored."""
        for key, record in self._sealed(kind, keys):
            yield key, record.decode()

    def sound(self, kind: str, keys: Iterable[str]) -> Iterator[str]:
        """Those of ``keys`` whose record is there and in order; nothing of it is decoded."""
        return (key for key, _ in self._sealed(kind, keys))

    def _sealed(self, kind: str, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        sql = f"SELECT key, record, files, seal FROM results WHERE kind=? AND {_IN}"
        for chunk in _chunks(keys):
            stored = self._database.fold(sql, (kind, json.dumps(chunk)), _by_key)
            for key in chunk:
                if key in stored and self._sound(f"{kind}/{key}", stored[key]):
                    yield key, stored[key][0]

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
        sound = row is not None and self._sound(place, row)
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
        return Parcel(place, record["output"], None if blob is None else blob.digest, data)

    # ------------------------------------------------------------ failures
    def failure(self, kind: str, key: str) -> dict[str, Any] | None:
        """The last attempt that did not end in ``done`` and is not damaged, if there is one."""
        return self.latest_failures(kind, (key,)).get(key)

    def failures(self, kind: str) -> set[str]:
        """Identities of a kind with a failed attempt."""
        return self._database.fold("SELECT key FROM failures WHERE kind=?", (kind,), _texts)

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
    def executions(self) -> Iterator[dict[str, Any]]:
        """Manifests of every run with their last beats, the newest first; not the damaged ones."""
        names = self._database.fold("SELECT name FROM executions", (), _texts)
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

    def _sound(self, place: str, row: tuple[Any, ...]) -> bool:
        """Whether the texts that a row begins with agree with the seal that ends it."""
        *texts, seal = row
        try:
            rows.check(place, seal, *texts)
        except DamagedError as error:
            self._fault(place, error.reason)
            return False
        return True

    def _parsed(self, place: str, row: tuple[Any, ...]) -> dict[str, Any] | None:
        """The document whose text begins a row; None if it is damaged."""
        if not self._sound(place, row):
            return None
        document: dict[str, Any] = json.loads(row[0])
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

    # ------------------------------------------------------------ within
    def _fault(self, place: str, reason: str) -> None:
        self.faults[place] = FAULTS[self.root / place] = reason

    def _forget(self, place: str) -> None:
        for bad in [bad for bad in self.faults if f"{bad}/".startswith(f"{place}/")]:
            del self.faults[bad]
            FAULTS.pop(self.root / bad, None)


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
