"""What files hold: digests of their contents, remembered so that a large file is read once.

A digest is remembered with the file's path, size, inode and times of change. As long as these are
the same the file is not read again; whether two files are equal is decided by contents alone.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from bench.contract import UserError

_FRESH_NS = 2_000_000_000
"""A file that changed this recently may change again without its times showing it."""
_CHUNK = 1 << 20


def contents(paths: Sequence[Path]) -> str:
    """Digest of what files hold and, of a folder, all files below it with their names.

    Hidden files and folders do not count; where a file lies does not either.

    Args:
        paths: files and folders, in an order that counts.

    Raises:
        UserError: one of them is not there, or something in it cannot be read.
    """
    try:
        below = {path: list(_below(path)) for path in paths if path.is_dir()}
        files = [file for path in paths for file in below.get(path, [path])]
        digests = _digests(files)
    except OSError as error:
        raise UserError(
            f"'{error.filename}' cannot be read ({error.strerror}); it must be a file that is "
            "there and that this user may read."
        ) from error
    parts = [
        "\n".join(sorted(f"{f.relative_to(path).as_posix()}\0{digests[f]}" for f in below[path]))
        if path in below
        else digests[path]
        for path in paths
    ]
    text = "\n\n".join(parts).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def _digests(files: Iterable[Path]) -> dict[Path, str]:
    """Digest of every file, those that have not changed from memory."""
    names = {file: str(file.absolute()) for file in files}
    marks = {name: _mark(file) for file, name in names.items()}
    with _Memory() as memory:
        known = memory.recall(marks)
        fresh: dict[str, tuple[str, str]] = {}
        for name, mark in marks.items():
            if known.get(name, ("", ""))[0] == mark:
                continue
            digest = _read(Path(name))
            known[name] = (mark, digest)
            settled = time.time_ns() - int(mark.rpartition(" ")[2]) > _FRESH_NS
            if settled and _mark(Path(name)) == mark:
                fresh[name] = (mark, digest)
        memory.keep(fresh)
    return {file: known[name][1] for file, name in names.items()}


def _mark(file: Path) -> str:
    """What changes whenever a file is written: size, inode, and when it last changed."""
    facts = file.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(0, "it is no ordinary file", str(file))
    # The last one is set by the system alone: who sets a time back cannot hide that he did.
    times = f"{facts.st_mtime_ns} {facts.st_ctime_ns}"
    return f"{facts.st_dev} {facts.st_ino} {facts.st_size} {times}"


def _read(file: Path) -> str:
    sha = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            sha.update(chunk)
    return sha.hexdigest()


class _Memory:
    """Digests of earlier runs in a small database of the user's; without it all is read anew."""

    def __enter__(self) -> _Memory:
        self._base: sqlite3.Connection | None = None
        try:
            place = _place()
            place.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(place, timeout=10)
            self._base.execute(
                "create table if not exists contents "
                "(path text primary key, mark text, sha256 text)"
            )
        except (OSError, sqlite3.Error):
            self._close()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._base is not None:
            self._base.close()
            self._base = None

    def recall(self, paths: Iterable[str]) -> dict[str, tuple[str, str]]:
        """Mark and digest of the paths that are remembered."""
        known: dict[str, tuple[str, str]] = {}
        names = list(paths)
        try:
            for start in range(0, len(names) if self._base else 0, 500):
                assert self._base is not None
                part = names[start : start + 500]
                holes = ",".join("?" * len(part))
                query = f"select path, mark, sha256 from contents where path in ({holes})"
                with closing(self._base.execute(query, part)) as rows:
                    known |= {path: (mark, digest) for path, mark, digest in rows}
        except (sqlite3.Error, UnicodeEncodeError):
            return {}
        return known

    def keep(self, digests: dict[str, tuple[str, str]]) -> None:
        """Remember; a database that cannot be written costs time, nothing else."""
        if self._base is None or not digests:
            return
        rows = [(path, mark, digest) for path, (mark, digest) in digests.items()]
        try:
            with self._base:
                self._base.executemany("insert or replace into contents values (?, ?, ?)", rows)
        except (sqlite3.Error, UnicodeEncodeError):
            return


def _place() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "invbench" / "contents.sqlite"
