"""The store: one folder a result, written once, atomically. It is the truth; all else is rebuilt.

``<root>/<kind>/<id>/record.json`` with ``tensors.safetensors`` and pictures beside it. A node that
did not end well leaves ``<root>/failed/<kind>/<id>/<attempt>.json``: attempts are kept, never
overwritten. No pickle is ever written or read.

Every JSON file carries a seal: digests of all files of its result and of itself, under its own
place. What does not agree with its seal counts as not there, whoever reads it; :attr:`Store.faults`
says which files that were. A run sets such a result aside, below ``<root>/aside``, and makes it
again. A seal shows damage and mistakes; who edits a file and its seal together is not found out.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contract.errors import UserError
from bench.engine.names import RECORD, TENSORS
from bench.engine.seal import DamagedError, digest_of, opened, sealed, unsealed

if TYPE_CHECKING:
    from bench.engine.stages.result import Result

STORE_VERSION = 2
ASIDE = "aside"
FAULTS: dict[Path, str] = {}
"""What any store of this process has read and found damaged, until it is set aside."""
_LARGE = 2**28
"""Bytes of tensors from which on a result is read anew each time it is asked for."""
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system says that has no hard links."""


class Store:
    """Results by kind and identity under one folder.

    Args:
        root: the folder; made if absent.

    Raises:
        UserError: the folder cannot be written, or belongs to a newer version.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        mark = root / "store.json"
        try:
            root.mkdir(parents=True, exist_ok=True)
            marked = json.loads(mark.read_text(encoding="utf-8")) if mark.exists() else {}
            version = marked["version"] if marked else 0
            if version > STORE_VERSION:
                raise UserError(
                    f"Store '{root}' has version {version}, this program reads up to "
                    f"{STORE_VERSION}; update it, or name another folder with store=."
                )
            if version < STORE_VERSION:
                write(mark, json.dumps({"version": STORE_VERSION}).encode())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"Store '{root}' cannot be used ({error}); name a writable folder with store=."
            ) from error

    @property
    def faults(self) -> dict[Path, str]:
        """What was read of this store in this process and is damaged: the reason by path."""
        return {path: reason for path, reason in FAULTS.items() if path.is_relative_to(self.root)}

    # ------------------------------------------------------------ done
    def path(self, kind: str, key: str) -> Path:
        """Folder of a result."""
        return self.root / kind / key

    def has(self, kind: str, key: str) -> bool:
        """Whether the result is there, damaged or not."""
        return self.path(kind, key).exists()

    def ids(self, kind: str) -> set[str]:
        """Identities of every result of a kind, from one listing of its folder."""
        try:
            with os.scandir(self.root / kind) as entries:
                return {e.name for e in entries if not e.name.startswith(".")}
        except FileNotFoundError:
            return set()

    def record(self, kind: str, key: str) -> dict[str, Any] | None:
        """The JSON record of a result; None if it is not there or damaged."""
        record, _ = self._opened(self.path(kind, key) / RECORD, f"{kind}/{key}")
        return record

    def file(self, kind: str, key: str, name: str) -> bytes | None:
        """A file of a result; None if the result has none of that name, or it is damaged."""
        folder = self.path(kind, key)
        _, digests = self._opened(folder / RECORD, f"{kind}/{key}")
        return self._read(folder / name, digests[name]) if name in digests else None

    def intact(self, kind: str, key: str) -> bool:
        """Whether the record and every file of a result agree with its seal."""
        folder = self.path(kind, key)
        record, digests = self._opened(folder / RECORD, f"{kind}/{key}")
        good = [self._read(folder / name, digests[name]) is not None for name in digests]
        return record is not None and all(good)

    def put(
        self, kind: str, key: str, record: Mapping[str, Any], files: Mapping[str, bytes]
    ) -> None:
        """Write a result once: under a temporary name, synced, then renamed.

        Raises:
            UserError: the disk is full or not writable; what is recorded stays.
        """
        final = self.path(kind, key)
        scratch = final.parent / f".{key}.{uuid.uuid4().hex[:8]}"
        with self._writing(scratch):
            scratch.mkdir(parents=True)
            for name, data in files.items():
                write(scratch / name, data)
            write(scratch / RECORD, sealed(f"{kind}/{key}", record, files))
            try:
                scratch.rename(final)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                # Another driver has written the same identity: the same result.
                shutil.rmtree(scratch)
            _sync(final.parent)

    def remove(self, kind: str, key: str) -> None:
        """Forget a result that is to be computed again (``rerun=all``)."""
        old = self.path(kind, key)
        if old.exists():
            grave = old.parent / f".{key}.{uuid.uuid4().hex[:8]}"
            old.rename(grave)
            shutil.rmtree(grave)

    def set_aside(self, path: Path, reason: str) -> Path:
        """Move a file or folder out of the way, and note where it lay and why.

        Returns:
            Where it lies now.
        """
        place = path.relative_to(self.root)
        name = f"{place.name.lstrip('.')}.{uuid.uuid4().hex[:8]}"
        new = self.root / ASIDE / place.parent / name
        with self._writing(None):
            new.parent.mkdir(parents=True, exist_ok=True)
            note = {
                "was": str(place),
                "reason": reason,
                "utc": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            write(new.with_name(f"{new.name}.json"), json.dumps(note, indent=1).encode())
            path.rename(new)
        for bad in [bad for bad in FAULTS if bad.is_relative_to(path)]:
            del FAULTS[bad]
        return new

    # ------------------------------------------------------------ failed
    def put_failure(self, kind: str, key: str, record: Mapping[str, Any]) -> None:
        """Append an attempt that did not end in ``done``.

        Raises:
            UserError: the disk is full or not writable; what is recorded stays.
        """
        folder = self.root / "failed" / kind / key
        scratch = folder / f".{uuid.uuid4().hex[:8]}"
        with self._writing(scratch):
            folder.mkdir(parents=True, exist_ok=True)
            number = max(map(_number, folder.glob("*.json")), default=0) + 1
            while True:
                write(scratch, sealed(f"failed/{kind}/{key}/{number}", record, {}))
                try:
                    # A link, unlike a rename, never replaces what another driver has written.
                    os.link(scratch, folder / f"{number}.json")
                    break
                except FileExistsError:
                    number += 1
                except OSError as error:
                    if error.errno not in _NO_LINKS:
                        raise
                    scratch.rename(folder / f"{number}.json")
                    break
            scratch.unlink(missing_ok=True)
            _sync(folder)

    def failure(self, kind: str, key: str) -> dict[str, Any] | None:
        """The last attempt that did not end in ``done`` and is not damaged, if there is one."""
        folder = self.root / "failed" / kind / key
        for path in sorted(folder.glob("*.json"), key=_number, reverse=True):
            record, _ = self._opened(path, f"failed/{kind}/{key}/{path.stem}")
            if record is not None:
                return record
        return None

    def failures(self, kind: str) -> set[str]:
        """Identities of a kind with a failed attempt."""
        folder = self.root / "failed" / kind
        return {p.name for p in folder.iterdir()} if folder.is_dir() else set()

    # ------------------------------------------------------------ executions
    def put_execution(self, name: str, manifest: Mapping[str, Any]) -> None:
        """Write what a run set out to do and how far it is, atomically.

        Raises:
            UserError: the disk is full or not writable; what is recorded stays.
        """
        folder = self.root / "executions"
        scratch = folder / f".{name}.{uuid.uuid4().hex[:8]}"
        with self._writing(scratch):
            folder.mkdir(exist_ok=True)
            write(scratch, sealed(f"executions/{name}", manifest, {}))
            scratch.rename(folder / f"{name}.json")
            _sync(folder)

    def executions(self) -> Iterator[dict[str, Any]]:
        """Manifests of every run, the newest first; damaged ones are passed over."""
        folder = self.root / "executions"
        paths = sorted(folder.glob("*.json"), reverse=True) if folder.is_dir() else []
        for path in paths:
            manifest, _ = self._opened(path, f"executions/{path.stem}")
            if manifest is not None:
                yield manifest

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

    # ------------------------------------------------------------ reading and writing
    def _opened(self, path: Path, place: str) -> tuple[dict[str, Any] | None, Mapping[str, str]]:
        try:
            return opened(path, place)
        except FileNotFoundError:
            if path.parent.is_dir() and path.name == RECORD:
                FAULTS[path] = "it is not there"
        except DamagedError as error:
            FAULTS[error.path] = error.reason
        return None, {}

    def _read(self, path: Path, digest: str) -> bytes | None:
        try:
            return checked(path, digest)
        except DamagedError as error:
            FAULTS[error.path] = error.reason
            return None

    @contextmanager
    def _writing(self, scratch: Path | None) -> Iterator[None]:
        """Leave nothing half-written, and say what is wrong in a sentence."""
        try:
            yield
        except OSError as error:
            if scratch is not None and scratch.is_dir():
                shutil.rmtree(scratch, ignore_errors=True)
            elif scratch is not None:
                scratch.unlink(missing_ok=True)
            raise UserError(
                f"Store '{self.root}' cannot be written ({error.strerror}); free some space or "
                f"name another folder with store=. What is recorded is kept."
            ) from error


@dataclass(frozen=True)
class Parcel:
    """A parent's result as it travels to a machine that does not share the store.

    Attributes:
        place: where it stands in the store.
        record: bytes of its record.
        tensors: bytes of its tensors; None if it has none.
    """

    place: str
    record: bytes
    tensors: bytes | None


def checked(path: Path, digest: str) -> bytes:
    """What a file holds.

    Raises:
        DamagedError: it is not there, or its digest is another one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedError(path, f"it cannot be read ({error.strerror})") from error
    if digest_of(data) != digest:
        raise DamagedError(path, "what it holds is not what was written")
    return data


def read(folder: Path) -> Result:
    """A result from its folder; content-addressed, so it is remembered unless it is large.

    Raises:
        DamagedError: the record or the tensors are not what was written.
    """
    tensors = folder / TENSORS
    if tensors.is_file() and tensors.stat().st_size > _LARGE:
        return remembered.__wrapped__(folder)
    return remembered(folder)


@lru_cache(maxsize=16)
def remembered(folder: Path) -> Result:
    """:func:`read` of a result that is not large."""
    try:
        record, digests = opened(folder / RECORD, f"{folder.parent.name}/{folder.name}")
    except FileNotFoundError as error:
        raise DamagedError(folder / RECORD, "it is not there") from error
    from bench.engine.stages.result import decode  # PyTorch: who reads records alone does not wait

    tensors = checked(folder / TENSORS, digests[TENSORS]) if TENSORS in digests else None
    return decode(record["output"], tensors)


def parcel(folder: Path) -> Parcel:
    """What is in a result's folder, to be sent to another machine, which looks at its seal."""

    def data(name: str) -> bytes | None:
        path = folder / name
        return path.read_bytes() if path.is_file() else None

    place = f"{folder.parent.name}/{folder.name}"
    return Parcel(place, data(RECORD) or b"", data(TENSORS))


def unpacked(source: Parcel) -> Result:
    """A result from what was sent.

    Raises:
        DamagedError: the record or the tensors are not what was written.
    """
    from bench.engine.stages.result import decode

    try:
        record, digests = unsealed(source.record, source.place)
    except ValueError as error:
        raise DamagedError(Path(source.place, RECORD), str(error)) from error
    if digests.get(TENSORS) != (digest_of(source.tensors) if source.tensors else None):
        reason = "what it holds is not what was written"
        raise DamagedError(Path(source.place, TENSORS), reason)
    return decode(record["output"], source.tensors)


def _number(path: Path) -> int:
    """Number of an attempt; 0 of a file that is none."""
    return int(path.stem) if path.stem.isdigit() else 0


def write(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
