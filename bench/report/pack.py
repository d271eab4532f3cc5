"""A pack: the records of a suite with all that a stranger needs to judge them, in one place.

A folder that is committed (``results/published/face``) or one ``.zip`` that is sent. The same pack
gives the same bytes; every part has its digest in ``pack.json``, and reading checks them.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import lzma
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.contract.errors import UserError, require
from bench.contract.record import SCHEMA_VERSION, TrialRecord

PACK_VERSION = 1
INDEX = "pack.json"
RECORDS = "records.jsonl.xz"
PICTURES = "pictures"
_DAY_ZERO = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold: none of ours


@dataclass(frozen=True)
class Pack:
    """Records of one suite and where they come from.

    Attributes:
        suite: its name.
        records: trials; may be iterated any number of times.
        manifest: what was set out to do, as the store keeps it of an execution: ``suite``,
            ``overrides``, ``command``, ``trials`` (identity to cell), ``skipped``, ``reported``,
            ``git``.
        pictures: PNG strips by trial identity, of data that may be shown.
        notes: what was said of it since: ``submitter``, ``note``, ``verification``, ``submissions``
            that joined it; of several suites together ``parts``, the notes of each by its name.
        digest: of the whole pack once it is written or read; empty before.
    """

    suite: str
    records: Iterable[TrialRecord]
    manifest: Mapping[str, Any]
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""


class Records:
    """Records in a compressed file of JSON lines, read anew at every iteration."""

    def __init__(self, data: bytes, source: str) -> None:
        self._data, self._source = data, source

    def __iter__(self) -> Iterator[TrialRecord]:
        try:
            with lzma.open(io.BytesIO(self._data)) as lines:
                for at, line in enumerate(lines, 1):
                    yield _record(line, f"{self._source}, line {at}")
        except (lzma.LZMAError, EOFError) as error:
            raise UserError(
                f"'{self._source}' is damaged ({error}); get the pack again."
            ) from error


class _Chained:
    def __init__(self, packs: Sequence[Pack]) -> None:
        self._packs = packs

    def __iter__(self) -> Iterator[TrialRecord]:
        return itertools.chain.from_iterable(pack.records for pack in self._packs)


def together(packs: Sequence[Pack]) -> Pack:
    """Several suites as one, for one site of all their boards.

    It is called what their names begin with (``reference/face`` and ``reference/credit``:
    ``reference``), else ``boards``.

    Args:
        packs: at least one; one alone is returned as it is.
    """
    if len(packs) == 1:
        return packs[0]
    names = [pack.suite.split("/") for pack in packs]
    shared = [parts[0] for parts in zip(*names, strict=False) if len({*parts}) == 1]
    suite = "/".join(shared) or "boards"
    manifests = [pack.manifest for pack in packs]
    gits = [dict(manifest.get("git", {})) for manifest in manifests]
    return Pack(
        suite=suite,
        records=_Chained(packs),
        manifest={
            "suite": suite,
            "overrides": [],
            "command": "\n".join(dict.fromkeys(m.get("command", "") for m in manifests)),
            "trials": {k: v for m in manifests for k, v in m.get("trials", {}).items()},
            "skipped": [entry for m in manifests for entry in m.get("skipped", ())],
            "reported": [entry for m in manifests for entry in m.get("reported", ())],
            "git": gits[0] if all(git == gits[0] for git in gits) else {},
        },
        pictures={k: v for pack in packs for k, v in pack.pictures.items()},
        notes={"parts": {pack.suite: dict(pack.notes) for pack in packs}},
    )


def is_pack(path: Path) -> bool:
    """Whether ``path`` looks like a pack: a folder with an index, or a zip file."""
    return (path / INDEX).is_file() or (path.is_file() and zipfile.is_zipfile(path))


def write(pack: Pack, path: Path, files: Mapping[str, bytes] | None = None) -> str:
    """Write a pack as a folder, or as one file where ``path`` ends in ``.zip``.

    Args:
        pack: what to write.
        path: where to; what is there of an earlier pack is replaced.
        files: further parts by name, such as tables; they get their digest too.

    Returns:
        The digest of the pack.

    Raises:
        UserError: the place cannot be written.
    """
    lines = sorted((r.trial_id, r.model_dump_json()) for r in pack.records)
    require(bool(lines), f"Suite '{pack.suite}' has no records to pack; run it first.")
    text = "".join(f"{line}\n" for _, line in lines)
    parts = {
        **(files or {}),
        RECORDS: lzma.compress(text.encode(), preset=6),
        **{f"{PICTURES}/{name}.png": data for name, data in pack.pictures.items()},
    }
    index = {
        "pack_version": PACK_VERSION,
        "schema_version": SCHEMA_VERSION,
        "suite": pack.suite,
        "trials": len(lines),
        "manifest": dict(pack.manifest),
        "notes": dict(pack.notes),
        "sha256": {name: _sha256(parts[name]) for name in sorted(parts)},
    }
    text = json.dumps(index, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    parts[INDEX] = text.encode()
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
    return _digest(index)


def read(path: Path) -> Pack:
    """A pack from its folder or file; every part is compared with its digest.

    Raises:
        UserError: there is none, a part is missing or was changed, or it is of a newer version.
    """
    require(
        is_pack(path),
        f"'{path}' is no pack: a folder with {INDEX}, or the .zip that 'invbench submit' writes.",
    )
    try:
        parts = _unzipped(path) if path.is_file() else _read_folder(path)
        index = json.loads(parts[INDEX])
        version, digests, suite = index["pack_version"], index["sha256"], index["suite"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"'{path}' cannot be read as a pack ({error!r}); get it again.") from error
    require(
        version <= PACK_VERSION,
        f"'{path}' has pack version {version}, this program reads up to {PACK_VERSION}; update it.",
    )
    for name, digest in digests.items():
        require(name in parts, f"'{path}' lacks its part '{name}'; get the pack again.")
        require(
            _sha256(parts[name]) == digest,
            f"'{name}' in '{path}' is not what the pack was made with: its sha256 is "
            f"{_sha256(parts[name])[:12]}..., {INDEX} says {digest[:12]}...; get the pack again.",
        )
    pictures = {
        Path(name).stem: data
        for name, data in parts.items()
        if name.startswith(f"{PICTURES}/") and name in digests
    }
    require(RECORDS in digests, f"'{path}' has no {RECORDS}; get the pack again.")
    records = Records(parts[RECORDS], f"{path}/{RECORDS}")
    return Pack(suite, records, index["manifest"], pictures, index["notes"], _digest(index))


def files(path: Path) -> dict[str, bytes]:
    """Every part of a pack by name, unchecked: :func:`read` checks."""
    return _unzipped(path) if path.is_file() else _read_folder(path)


def _record(line: bytes, where: str) -> TrialRecord:
    try:
        return TrialRecord.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{where} is no trial record of schema {SCHEMA_VERSION}: {place}: {first['msg']}."
        ) from error


def _digest(index: Mapping[str, Any]) -> str:
    """What a pack is known by: all but what was said of it later."""
    told = {key: value for key, value in index.items() if key != "notes"}
    return _sha256(json.dumps(told, sort_keys=True).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


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
        old = json.loads((path / INDEX).read_bytes()).get("sha256", {})
        for name in set(old) - set(parts):
            (path / name).unlink(missing_ok=True)
    for name, data in parts.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def _unzipped(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def _read_folder(path: Path) -> dict[str, bytes]:
    index = json.loads((path / INDEX).read_bytes())
    names = [INDEX, *index["sha256"]]
    require(
        all(not Path(name).is_absolute() and ".." not in Path(name).parts for name in names),
        f"'{path / INDEX}' names parts outside of the pack; get it again.",
    )
    return {name: (path / name).read_bytes() for name in names if (path / name).is_file()}
