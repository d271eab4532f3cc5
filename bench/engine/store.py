"""The store: one folder a result, written once, atomically. It is the truth; all else is rebuilt.

``<root>/<kind>/<id>/record.json`` with ``tensors.safetensors`` and pictures beside it. A node that
did not end well leaves ``<root>/failed/<kind>/<id>/<attempt>.json``: attempts are kept, never
overwritten. No pickle is ever written or read.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from bench.contract import UserError
from bench.engine.stages import Result

STORE_VERSION = 1


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
            if mark.exists():
                version = json.loads(mark.read_text(encoding="utf-8"))["version"]
                if version > STORE_VERSION:
                    raise UserError(
                        f"Store '{root}' has version {version}, this program reads up to "
                        f"{STORE_VERSION}; update it, or name another folder with store=."
                    )
            else:
                _write(mark, json.dumps({"version": STORE_VERSION}).encode())
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"Store '{root}' cannot be used ({error}); name a writable folder with store=."
            ) from error

    # ------------------------------------------------------------ done
    def path(self, kind: str, key: str) -> Path:
        """Folder of a result."""
        return self.root / kind / key

    def has(self, kind: str, key: str) -> bool:
        """Whether the result is there."""
        return (self.path(kind, key) / "record.json").exists()

    def ids(self, kind: str) -> set[str]:
        """Identities of every result of a kind, from one listing of its folder."""
        try:
            with os.scandir(self.root / kind) as entries:
                return {e.name for e in entries if not e.name.startswith(".")}
        except FileNotFoundError:
            return set()

    def record(self, kind: str, key: str) -> dict[str, Any]:
        """The JSON record of a result.

        Raises:
            UserError: it is not there or not readable.
        """
        path = self.path(kind, key) / "record.json"
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"'{path}' cannot be read ({error}); remove its folder and run again."
            ) from error
        return found

    def put(
        self, kind: str, key: str, record: Mapping[str, Any], files: Mapping[str, bytes]
    ) -> None:
        """Write a result once: under a temporary name, synced, then renamed.

        Raises:
            UserError: the disk is full or not writable; what is recorded stays.
        """
        final = self.path(kind, key)
        scratch = final.parent / f".{key}.{uuid.uuid4().hex[:8]}"
        try:
            scratch.mkdir(parents=True)
            for name, data in files.items():
                _write(scratch / name, data)
            _write(scratch / "record.json", _json(record))
            try:
                scratch.rename(final)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                # Another driver has written the same identity: the same result.
                shutil.rmtree(scratch)
            _sync(final.parent)
        except OSError as error:
            shutil.rmtree(scratch, ignore_errors=True)
            raise UserError(
                f"Store '{self.root}' cannot be written ({error.strerror}); free some space or "
                f"name another folder with store=. What is recorded is kept."
            ) from error

    def remove(self, kind: str, key: str) -> None:
        """Forget a result that is to be computed again (``rerun=all``)."""
        old = self.path(kind, key)
        if old.exists():
            grave = old.parent / f".{key}.{uuid.uuid4().hex[:8]}"
            old.rename(grave)
            shutil.rmtree(grave)

    # ------------------------------------------------------------ failed
    def put_failure(self, kind: str, key: str, record: Mapping[str, Any]) -> None:
        """Append an attempt that did not end in ``done``."""
        folder = self.root / "failed" / kind / key
        folder.mkdir(parents=True, exist_ok=True)
        taken = [int(p.stem) for p in folder.glob("*.json")]
        _write(folder / f"{max(taken, default=0) + 1}.json", _json(record))

    def failure(self, kind: str, key: str) -> dict[str, Any] | None:
        """The last attempt that did not end in ``done``, if there is one."""
        folder = self.root / "failed" / kind / key
        attempts = sorted(folder.glob("*.json"), key=lambda p: int(p.stem))
        if not attempts:
            return None
        found: dict[str, Any] = json.loads(attempts[-1].read_text(encoding="utf-8"))
        return found

    def failures(self, kind: str) -> set[str]:
        """Identities of a kind with a failed attempt."""
        folder = self.root / "failed" / kind
        return {p.name for p in folder.iterdir()} if folder.is_dir() else set()

    # ------------------------------------------------------------ executions
    def put_execution(self, name: str, manifest: Mapping[str, Any]) -> None:
        """Write what a run set out to do and how far it is, atomically."""
        folder = self.root / "executions"
        folder.mkdir(exist_ok=True)
        scratch = folder / f".{name}.{uuid.uuid4().hex[:8]}"
        _write(scratch, _json(manifest))
        scratch.rename(folder / f"{name}.json")

    def executions(self) -> Iterator[dict[str, Any]]:
        """Manifests of every run, the newest first."""
        folder = self.root / "executions"
        paths = sorted(folder.glob("*.json"), reverse=True) if folder.is_dir() else []
        for path in paths:
            yield json.loads(path.read_text(encoding="utf-8"))

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


def encode(result: Result) -> dict[str, bytes]:
    """The files of a result besides its record."""
    files = dict(result.files)
    if result.tensors:
        files["tensors.safetensors"] = save_tensors(dict(result.tensors))
    return files


def decode(record: bytes, tensors: bytes | None) -> Result:
    """A result from the bytes of its record and tensors."""
    node = json.loads(record)
    loaded = load_tensors(tensors) if tensors else {}
    return Result(node["output"], loaded, {}, node["identity"]["config"])


@lru_cache(maxsize=16)
def read(folder: Path) -> Result:
    """A result from its folder; content-addressed, so it may be remembered."""
    tensors = folder / "tensors.safetensors"
    return decode(
        (folder / "record.json").read_bytes(), tensors.read_bytes() if tensors.exists() else None
    )


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _write(path: Path, data: bytes) -> None:
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
