"""A store as plain folders, as version 2 was: written by an export, and taken over from one.

``<kind>/<id>/record.json`` with its files beside it, ``failed/<kind>/<id>/<number>.json`` and
``executions/<name>.json``; every JSON file carries a seal.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contract.errors import UserError, require
from bench.contract.identity import canonical
from bench.engine.messages import Blob
from bench.engine.names import RECORD
from bench.engine.seal import DamagedError, digest_of, opened, sealed
from bench.engine.store import rows
from bench.engine.store.blobs import BLOBS, SMALL, FileBlobs
from bench.engine.store.salvage import ASIDE

if TYPE_CHECKING:
    from bench.engine.store.store import Store

V2 = "v2"
FAILED, EXECUTIONS, LOGS = "failed", "executions", "logs"
OTHERS = frozenset({ASIDE, BLOBS, LOGS, V2})
"""Folders of a store that hold no results."""
_VERSION = 2
_LOG = logging.getLogger(__name__)


# ---------------------------------------------------------------- out
def export(store: Store, folder: Path, kinds: tuple[str, ...] | None) -> int:
    """Write results, and without ``kinds`` failures and runs too, as plain folders.

    Returns:
        How many results were written; what is damaged is left out.

    Raises:
        UserError: the folder is not empty or cannot be written, or there is no such kind.
    """
    known = store.kinds()
    for kind in kinds or ():
        require(
            kind in known,
            f"Store '{store.root}' has no results of kind '{kind}'; it has: {', '.join(known)}.",
        )
    count = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        require(
            next(folder.iterdir(), None) is None,
            f"Folder '{folder}' is not empty; name an empty one to export to.",
        )
        for kind in kinds or known:
            for key, record in store.records(kind, sorted(store.ids(kind))):
                files = {name: store.file(kind, key, name) for name in store.files(kind, key)}
                good = {name: data for name, data in files.items() if data is not None}
                if len(good) == len(files):
                    _write(folder / kind / key, RECORD, f"{kind}/{key}", record, good)
                    count += 1
        if kinds is None:
            for place, record in store.documents():
                path = folder / f"{place}.json"
                _write(path.parent, path.name, place, record, {})
        (folder / "store.json").write_text(f'{{"version": {_VERSION}}}\n', encoding="utf-8")
    except OSError as error:
        raise UserError(f"Folder '{folder}' cannot be written ({error}); name another.") from error
    return count


def _write(
    folder: Path, name: str, place: str, record: Mapping[str, Any], files: Mapping[str, bytes]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        (folder / file).write_bytes(data)
    (folder / name).write_bytes(sealed(place, record, files))


# ---------------------------------------------------------------- in
def take_over(root: Path, connection: sqlite3.Connection) -> list[str]:
    """Put what lies in folders into a new database; large files are linked, not copied.

    Returns:
        The folders that were read. What is damaged in them is not taken, and stays in them.
    """
    blobs = FileBlobs(root)
    names = sorted(
        path.name
        for path in root.iterdir()
        if path.is_dir() and path.name not in OTHERS and not path.name.startswith(".")
    )
    left = 0
    for name in names:
        for table, row in _read(root, name, blobs, connection):
            if table:
                marks = ",".join("?" * len(row))
                connection.execute(f"INSERT OR IGNORE INTO {table} VALUES({marks})", row)
            else:
                left += 1
    if names:
        more = f", {left} of it damaged and not taken over" if left else ""
        _LOG.warning(
            "Store '%s' is of version 2: what lies in its folders is taken over%s; the folders lie "
            "in '%s' then and may be deleted.",
            root,
            more,
            root / V2,
        )
    return names


def move_away(root: Path, names: list[str]) -> None:
    """Move folders that were taken over below ``v2``."""
    (root / V2).mkdir(exist_ok=True)
    for name in names:
        (root / name).rename(root / V2 / name)


def _read(
    root: Path, name: str, blobs: FileBlobs, connection: sqlite3.Connection
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Tables and rows of a folder; no table of what is damaged."""
    pattern = {EXECUTIONS: "*.json", FAILED: "*/*/*.json"}.get(name, f"*/{RECORD}")
    for path in sorted((root / name).glob(pattern)):
        parts = path.relative_to(root).parts
        if any(part.startswith(".") for part in parts):
            continue
        try:
            if name == EXECUTIONS:
                manifest, _ = opened(path, f"{name}/{path.stem}")
                yield "executions", rows.execution(path.stem, canonical(manifest))
            elif name == FAILED:
                _, kind, key, _ = parts
                record, _ = opened(path, f"{name}/{kind}/{key}/{path.stem}")
                yield "failures", rows.failure(kind, key, int(path.stem), canonical(record))
            else:
                key = parts[1]
                record, digests = opened(path, f"{name}/{key}")
                files = {
                    file: _taken(path.with_name(file), digest, blobs, connection)
                    for file, digest in digests.items()
                }
                yield "results", rows.result(name, key, canonical(record), files)
        except (DamagedError, OSError, ValueError):
            yield "", ()


def _taken(path: Path, digest: str, blobs: FileBlobs, connection: sqlite3.Connection) -> Blob:
    data = path.read_bytes()
    if digest_of(data) != digest:
        raise DamagedError(path, "what it holds is not what was written")
    blob = Blob(digest, len(data))
    new = blobs.path(digest)
    if blob.size <= SMALL:
        connection.execute("INSERT OR IGNORE INTO files VALUES(?,?)", (digest, data))
    elif not new.exists():
        new.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, new)
        except OSError:  # a file system without links
            blobs.put(data)
    return blob
