"""A pack: the records of a suite with all that a stranger needs to judge them, in one place.

A folder that is committed (``results/published/face``) or one ``.zip`` that is sent. The same pack
gives the same bytes; every part has its digest in ``pack.json``, and reading checks them.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictInt, ValidationError

from bench.contract.errors import UserError, require
from bench.contract.record import SCHEMA_VERSION, TrialRecord
from bench.exchange.records import chained, first_fault, of_lines

PACK_VERSION = 1
INDEX = "pack.json"
RECORDS = "records.jsonl.xz"
PICTURES = "pictures"
MOST_BYTES = 2 << 30
"""Most that the parts of a pack may take, unpacked."""
_DAY_ZERO = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold: none of ours


class _Part(BaseModel):
    """What must hold of an entry for the rest of the program to take it at its word."""

    model_config = ConfigDict(extra="allow")


class _Manifest(_Part):
    suite: str = ""
    command: str = ""
    overrides: list[str] = []
    config_dir: str | None = None
    trials: dict[str, str]
    skipped: list[dict[str, Any]] = []
    reported: list[dict[str, Any]] = []
    git: dict[str, Any] = {}
    merged: list[_Manifest] = []


class _Notes(_Part):
    submitter: str = ""
    note: str = ""
    attack: str = ""
    defense: str = ""
    verification: dict[str, Any] = {}
    submissions: list[dict[str, Any]] = []


class _Index(_Part):
    suite: str
    trials: StrictInt
    manifest: _Manifest
    notes: _Notes
    sha256: dict[str, str]


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
        tables: further parts that were read with it, tables and figures, by name; they say nothing
            that the records do not, and are not written again by :func:`write`.
    """

    suite: str
    records: Iterable[TrialRecord]
    manifest: Mapping[str, Any]
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    tables: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def parts(self) -> list[Mapping[str, Any]]:
        """Manifests of the suites that it was made from: its own, where nothing joined it."""
        return list(self.manifest.get("merged", ())) or [self.manifest]

    def manifest_of(self, record: TrialRecord) -> Mapping[str, Any]:
        """The manifest that planned a record."""
        planned = (part for part in self.parts if record.trial_id in part["trials"])
        return next(planned, self.manifest)


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
    parts: dict[str, dict[str, Any]] = {}
    for pack in packs:
        same = sum(name.partition(" (")[0] == pack.suite for name in parts)
        parts[f"{pack.suite} ({same + 1})" if same else pack.suite] = dict(pack.notes)
    gits = [dict(manifest.get("git", {})) for manifest in manifests]
    return Pack(
        suite=suite,
        records=chained(pack.records for pack in packs),
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
        notes={"parts": parts},
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
        version = index["pack_version"]
        require(
            version <= PACK_VERSION,
            f"'{path}' has pack version {version}, this program reads up to {PACK_VERSION}; "
            "update it.",
        )
        _Index.model_validate(index)
    except ValidationError as error:
        raise UserError(
            f"'{path}' cannot be read as a pack ({INDEX}: {first_fault(error)}); get it again."
        ) from error
    except _UNREADABLE as error:
        raise UserError(f"'{path}' cannot be read as a pack ({error!r}); get it again.") from error
    digests, suite = index["sha256"], index["suite"]
    for name in parts:
        require(
            name in digests or name == INDEX,
            f"'{path}' has a part '{name}' that {INDEX} does not name; get the pack again.",
        )
    for name, digest in digests.items():
        require(name in parts, f"'{path}' lacks its part '{name}'; get the pack again.")
        require(
            _sha256(parts[name]) == digest,
            f"'{name}' in '{path}' is not what the pack was made with: its sha256 is "
            f"{_sha256(parts[name])[:12]}..., {INDEX} says {digest[:12]}...; get the pack again.",
        )
    pictures = {
        Path(name).stem: data for name, data in parts.items() if name.startswith(f"{PICTURES}/")
    }
    require(RECORDS in digests, f"'{path}' has no {RECORDS}; get the pack again.")
    records = of_lines(parts[RECORDS], f"{path}/{RECORDS}", index["trials"])
    tables = {
        name: data
        for name, data in parts.items()
        if name not in (INDEX, RECORDS) and not name.startswith(f"{PICTURES}/")
    }
    return Pack(suite, records, index["manifest"], pictures, index["notes"], _digest(index), tables)


_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,  # a password, a method of packing that nobody knows, nesting too deep
    zipfile.BadZipFile,
)
"""What hostile or broken JSON and zip files raise."""


def files(path: Path) -> dict[str, bytes]:
    """Every part of a pack by name, unchecked: :func:`read` checks."""
    return _unzipped(path) if path.is_file() else _read_folder(path)


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
        try:
            old = set(_named(path))
        except _UNREADABLE:
            old = set()
        for name in old - set(parts):
            (path / name).unlink(missing_ok=True)
    for name, data in parts.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def _unzipped(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        entries = file.infolist()
        # Never more is unpacked of an entry than it says.
        _not_too_large(path, sum(entry.file_size for entry in entries))
        names = [entry.filename for entry in entries]
        require(
            len(names) == len(set(names)),
            f"'{path}' has two parts of one name; get the pack again.",
        )
        return {name: file.read(name) for name in names}


def _read_folder(path: Path) -> dict[str, bytes]:
    found = [name for name in _named(path) if (path / name).is_file()]
    _not_too_large(path, sum((path / name).stat().st_size for name in found))
    return {name: (path / name).read_bytes() for name in found}


def _named(path: Path) -> list[str]:
    """Every part that the index of a folder names, the index first.

    Raises:
        UserError: one of them is not in the folder, or is a link to elsewhere.
    """
    names = [INDEX, *json.loads((path / INDEX).read_bytes())["sha256"]]
    root = path.resolve()
    require(
        all((path / name).resolve().is_relative_to(root) for name in names),
        f"'{path / INDEX}' names parts outside of the pack; get it again.",
    )
    return names


def _not_too_large(path: Path, size: int) -> None:
    require(
        size <= MOST_BYTES,
        f"'{path}' would take {size / 2**30:.1f} GiB unpacked, a pack may take "
        f"{MOST_BYTES / 2**30:.0f}; get it again.",
    )
