"""The parts of a pack as bytes, in a folder or a zip file: read within bounds, written the same.

A stranger's file is never trusted in what it says of its own size: what is unpacked is counted
while it is, and reading ends where a bound is passed.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from bench.contract.documents import parse_json
from bench.contract.errors import UserError, require
from bench.contract.names import fault

INDEX = "pack.json"
RECORDS = "records.jsonl.xz"
PICTURES = "pictures"
SIGNATURES = "signatures"
MOST_BYTES = 256 << 20
"""Most that the parts of a pack may take together, unpacked (the records still compressed)."""
MOST_OF = {INDEX: 32 << 20, RECORDS: 128 << 20, PICTURES: 4 << 20, SIGNATURES: 64 << 10}
"""Most bytes of one part, by its name or its folder."""
MOST_TABLE = 16 << 20
"""Most bytes of any other part: a table or a figure."""
MOST_PARTS = 20_000
"""Most parts."""
MOST_RATIO = 200
"""Most bytes that one compressed byte of a part may unpack to, beyond the first MiB."""
_CHUNK = 1 << 16
_END = 22  # bytes of a zip file's last entry, where it has no comment
_DIRECTORY = 200  # bytes of the directory for each part, about
_DAY_ZERO = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold: none of ours

UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,  # a password, a method of packing that nobody knows, nesting too deep
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What hostile or broken JSON and zip files raise."""


def is_pack(path: Path) -> bool:
    """Whether ``path`` looks like a pack: a folder with an index, or a zip file."""
    return (path / INDEX).is_file() or (path.is_file() and zipfile.is_zipfile(path))


def read(path: Path) -> dict[str, bytes]:
    """Every part of a pack by name; their digests are not compared.

    Raises:
        UserError: a part is missing, has a name that leads elsewhere, or is too large.
    """
    parts: dict[str, bytes] = {}
    left = MOST_BYTES
    for name, file, size in _opened(path):
        most = _most(name)
        # Of what is packed a little may unpack to much: that is what a bomb lives on.
        packed = most if size is None else max(1 << 20, MOST_RATIO * size)
        data = _bounded(file, min(most, packed, left))
        require(
            len(data) <= min(most, left),
            f"'{name}' in '{path}' takes more than {min(most, left) / 2**20:.4g} MiB unpacked, "
            f"which is not allowed (a part {most >> 20 or '1/16'} MiB, a pack "
            f"{MOST_BYTES >> 20} MiB); get it again.",
        )
        require(
            len(data) <= packed,
            f"'{name}' in '{path}' unpacks to more than {MOST_RATIO} times its size, as no honest "
            "part does; get it again.",
        )
        left -= len(data)
        parts[name] = data
    return parts


def _bounded(file: IO[bytes], most: int) -> bytes:
    """What a file holds, or one byte more than is allowed."""
    chunks, left = [], most + 1
    while left > 0 and (chunk := file.read(min(_CHUNK, left))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _most(name: str) -> int:
    return MOST_OF.get(name, MOST_OF.get(name.partition("/")[0], MOST_TABLE))


def _opened(path: Path) -> Iterator[tuple[str, IO[bytes], int | None]]:
    """Every part with its name, open to be read, and the bytes it is packed in, if it is."""
    if not path.is_file():
        for name in named(path):
            if (path / name).is_file():
                with (path / name).open("rb") as file:
                    yield name, file, None
        return
    _plain_zip(path)
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        _number(path, len(names))
        require(
            len(names) == len(set(names)),
            f"'{path}' has two parts of one name; get the pack again.",
        )
        for entry in entries:
            _inside(path, entry.filename)
            require(
                entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
                f"'{entry.filename}' in '{path}' is packed in a way that packs are not; get it "
                "again.",
            )
            with archive.open(entry) as file:
                yield entry.filename, file, entry.compress_size


def _plain_zip(path: Path) -> None:
    """Refuse a zip file whose list of parts alone would fill the memory."""
    size = path.stat().st_size
    require(
        _END <= size <= MOST_BYTES,
        f"'{path}' has {size / 2**20:.4g} MiB, a pack may have {MOST_BYTES >> 20}; get it again.",
    )
    with path.open("rb") as file:
        file.seek(max(0, size - _END - 20))
        tail = file.read()
    end = tail[-_END:]
    require(
        end[:4] == b"PK\x05\x06" and tail[:4] != b"PK\x06\x07",
        f"'{path}' is no zip file that 'invbench submit' writes: it has a comment at its end, or "
        "more parts than a pack; get it again.",
    )
    listed = int.from_bytes(end[12:16], "little")
    require(
        listed <= MOST_PARTS * _DIRECTORY,
        f"'{path}' lists more parts than the {MOST_PARTS} that a pack may have; get it again.",
    )


def named(path: Path) -> list[str]:
    """Every part that the index of a folder names, the index first.

    Raises:
        UserError: one of them is not in the folder, or is a link to elsewhere.
    """
    with (path / INDEX).open("rb") as file:
        data = _bounded(file, MOST_OF[INDEX])
    require(
        len(data) <= MOST_OF[INDEX],
        f"'{path / INDEX}' has more than {MOST_OF[INDEX] >> 20} MiB; get the pack again.",
    )
    index = parse_json(data, f"'{path / INDEX}'")
    names = [INDEX, *index["sha256"], *index.get("signatures", ())]
    _number(path, len(names))
    root = path.resolve()
    for name in names:
        _inside(path, name)
        require(
            (path / name).resolve().is_relative_to(root),
            f"'{path / INDEX}' names parts outside of the pack; get it again.",
        )
    return names


def _number(path: Path, number: int) -> None:
    require(
        number <= MOST_PARTS,
        f"'{path}' has {number} parts, {MOST_PARTS} are allowed; get it again.",
    )


def _inside(path: Path, name: str) -> None:
    """Refuse a name of a part that could lead out of its folder."""
    steps = name.split("/")
    why = next((text for step in steps if (text := fault(step))), "")
    require(
        len(steps) <= 4 and not why and "\\" not in name,
        f"'{path}' names parts outside of the pack, or by no name ({name[:80]!a}: a name "
        f"{why or 'may have 4 parts'}); get it again.",
    )


def write(path: Path, parts: Mapping[str, bytes]) -> None:
    """Write parts as a folder, or as one file where ``path`` ends in ``.zip``.

    Raises:
        UserError: the place cannot be written.
    """
    try:
        if path.suffix == ".zip":
            _zip(path, parts)
        else:
            _folder(path, parts)
    except OSError as error:
        raise UserError(
            f"The pack cannot be written to '{path}': {error.strerror or error}; name another "
            "place or make room there."
        ) from error


def _zip(path: Path, parts: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with zipfile.ZipFile(scratch, "w") as file:
        for name in sorted(parts):
            # Nothing of the day or the machine: the same pack is the same bytes.
            file.writestr(zipfile.ZipInfo(name, _DAY_ZERO), parts[name])
    scratch.replace(path)


def _folder(path: Path, parts: Mapping[str, bytes]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if (path / INDEX).is_file():
        old: set[str] = set()
        with contextlib.suppress(*UNREADABLE):
            old = set(named(path))
        for name in old - set(parts):
            (path / name).unlink(missing_ok=True)
    for name, data in parts.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
