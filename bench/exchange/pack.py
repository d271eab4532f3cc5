"""A pack: the records of a suite with all that a stranger needs to judge them, in one place.

A folder that is committed (``results/published/face``) or one ``.zip`` that is sent. The same pack
gives the same bytes; every part has its digest in ``pack.json``, and reading checks them.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import shlex
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.contract.documents import parse_json
from bench.contract.errors import UserError, require
from bench.contract.names import fault, path_fault, unseen
from bench.contract.record import SCHEMA_VERSION, TrialRecord
from bench.engine.settings import Reported
from bench.exchange import admission, parts
from bench.exchange.parts import INDEX, PICTURES, RECORDS, SIGNATURES, UNREADABLE, is_pack
from bench.exchange.records import chained, first_fault, of_lines, texts

PACK_VERSION = 1
MOST_TRIALS = 1_000_000
"""Most records of a pack."""
MOST_PIXELS = 1 << 24
"""Most pixels of a picture."""


class _Part(BaseModel):
    """What must hold of an entry for the rest of the program to take it at its word."""

    model_config = ConfigDict(extra="allow")


class _Skipped(_Part):
    what: str
    reason: str = ""
    count: int = 1


class _Git(_Part):
    commit: str = ""
    dirty: bool = False


class _Manifest(_Part):
    suite: str = ""
    command: str = ""
    overrides: list[str] = []
    config_dir: str | None = None
    trials: dict[str, str]
    skipped: list[_Skipped] = []
    reported: list[Reported] = []
    git: _Git = _Git()
    merged: list[_Manifest] = []


_LEFT_UNSAID: dict[str, Any] = {
    "suite": "",
    "command": "",
    "overrides": [],
    "skipped": [],
    "reported": [],
    "git": {},
}
"""Of a manifest, what is read of it without asking whether it is there."""


class _Verification(_Part):
    by: str = ""
    utc: str = ""
    said: str = ""
    outcome: str = ""


class _Joined(_Part):
    joined: int
    suite: str
    digest: str
    submitter: str = ""
    note: str = ""
    verification: _Verification | None = None
    unmet: list[str] = []


class _Notes(_Part):
    submitter: str = ""
    note: str = ""
    attack: str = ""
    defense: str = ""
    verification: _Verification | None = None
    submissions: list[_Joined] = []
    parts: dict[str, _Notes] = {}


class _Index(_Part):
    suite: str
    trials: Annotated[int, Field(strict=True, ge=1, le=MOST_TRIALS)]
    manifest: _Manifest
    notes: _Notes
    sha256: dict[str, str]
    signatures: dict[str, str] = {}


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
        signatures: signed statements about it, by the names of their parts;
            :mod:`bench.exchange.signatures` reads them.
        members: of several suites together, the pack of each.
        place: path that it was read from; empty: it was not.
    """

    suite: str
    records: Iterable[TrialRecord]
    manifest: Mapping[str, Any]
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    tables: Mapping[str, bytes] = field(default_factory=dict)
    signatures: Mapping[str, bytes] = field(default_factory=dict)
    members: tuple[Pack, ...] = ()
    place: str = ""

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
    shared = [steps[0] for steps in zip(*names, strict=False) if len({*steps}) == 1]
    suite = "/".join(shared) or "boards"
    manifests = [pack.manifest for pack in packs]
    noted: dict[str, dict[str, Any]] = {}
    for pack in packs:
        same = sum(name.partition(" (")[0] == pack.suite for name in noted)
        noted[f"{pack.suite} ({same + 1})" if same else pack.suite] = dict(pack.notes)
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
        notes={"parts": noted},
        members=tuple(packs),
    )


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
    content = {
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
        "sha256": {name: _sha256(content[name]) for name in sorted(content)},
    }
    if pack.signatures:
        index["signatures"] = {name: _sha256(data) for name, data in pack.signatures.items()}
    parts.write(path, {**content, **pack.signatures, INDEX: _written(index)})
    return _digest(index)


def annotate(
    path: Path,
    notes: Mapping[str, Any] | None = None,
    signatures: Mapping[str, bytes] | None = None,
) -> None:
    """Write what is said of a pack into it: its digest and its records stay as they are.

    Args:
        path: of a pack that can be read.
        notes: instead of its notes; None: they stay.
        signatures: instead of its signatures, by the names of their parts; None: they stay.

    Raises:
        UserError: it cannot be written.
    """
    content = parts.read(path)
    index = json.loads(content.pop(INDEX))
    if notes is not None:
        index["notes"] = dict(notes)
    if signatures is not None:
        content = {name: data for name, data in content.items() if name in index["sha256"]}
        content |= signatures
        index["signatures"] = {name: _sha256(data) for name, data in signatures.items()}
    parts.write(path, {**content, INDEX: _written(index)})


def _written(index: Mapping[str, Any]) -> bytes:
    text = json.dumps(index, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return text.encode()


def read(path: Path) -> Pack:
    """A pack from its folder or file; every part is compared with its digest.

    Nothing that it says is taken at its word: sizes are bounded while it is unpacked, names and
    overrides are checked, and nothing is imported or composed.

    Raises:
        UserError: there is none, a part is missing or was changed, it is of a newer version, or it
            says what no pack may say.
    """
    require(
        is_pack(path),
        f"'{path}' is no pack: a folder with {INDEX}, or the .zip that 'invbench submit' writes.",
    )
    try:
        content = parts.read(path)
        index = parse_json(content[INDEX], f"'{path}' ({INDEX})")
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
    except UNREADABLE as error:
        reason = ascii(str(error))[:200]
        raise UserError(
            f"'{path}' cannot be read as a pack ({type(error).__name__}: {reason}); get it again."
        ) from error
    digests = {**index["sha256"], **index.get("signatures", {})}
    for name in content:
        require(
            name in digests or name == INDEX,
            f"'{path}' has a part '{name}' that {INDEX} does not name; get the pack again.",
        )
    for name, digest in digests.items():
        require(name in content, f"'{path}' lacks its part '{name}'; get the pack again.")
        require(
            _sha256(content[name]) == digest,
            f"'{name}' in '{path}' is not what the pack was made with: its sha256 is "
            f"{_sha256(content[name])[:12]}..., {INDEX} says {digest[:12]}...; get the pack again.",
        )
    require(RECORDS in digests, f"'{path}' has no {RECORDS}; get the pack again.")
    _admitted(index, str(path))
    folders = {name: name.partition("/")[0] for name in content}
    pictures = {Path(n).stem: data for n, data in content.items() if folders[n] == PICTURES}
    for name, data in pictures.items():
        _picture(data, f"'{PICTURES}/{name}.png' in '{path}'")
    return Pack(
        index["suite"],
        of_lines(content[RECORDS], f"{path}/{RECORDS}", index["trials"]),
        _filled(index["manifest"]),
        pictures,
        index["notes"],
        _digest(index),
        {n: d for n, d in content.items() if folders[n] not in _OWN},
        {n: d for n, d in content.items() if n in index.get("signatures", {})},
        place=str(path),
    )


def _filled(manifest: Mapping[str, Any]) -> dict[str, Any]:
    filled = {**_LEFT_UNSAID, **manifest}
    if "merged" in filled:
        filled["merged"] = [_filled(part) for part in filled["merged"]]
    return filled


_OWN = (INDEX, RECORDS, PICTURES, SIGNATURES)


def command_of(words: Sequence[str]) -> str:
    """The command that runs a suite with these overrides."""
    return " ".join(["invbench run", *map(shlex.quote, words)])


def _admitted(index: Mapping[str, Any], where: str) -> None:
    """Refuse what an index may not say, whoever reads it.

    Raises:
        RefusedError: a name, an override or a text is refused; the message says which.
    """
    for text in texts(index):
        sign = unseen(text)
        if sign:
            raise admission.RefusedError(
                f"'{where}' has the text {text[:80]!a} in its {INDEX}, whose character {sign} "
                "changes what a terminal or a page shows around it; get the pack again."
            )
    manifest = index["manifest"]
    for part in [manifest, *manifest.get("merged", ())]:
        for key, name in (("suite", index["suite"]), ("manifest.suite", part.get("suite"))):
            why = path_fault(name) if name else ""
            if why:
                raise admission.RefusedError(
                    f"'{where}' has {key} {name[:80]!a}: a name {why}; get the pack again."
                )
        folder = part.get("config_dir")
        if folder and fault(folder):
            raise admission.RefusedError(
                f"'{where}' has config_dir {folder[:80]!a}: of a pack it is the name of a folder, "
                "not a place; get the pack again."
            )
        words = part.get("overrides", [])
        admission.readable(words, where)
        # Pages show it, and people run it.
        command = part.get("command") or ""
        if command not in ("", command_of(words)):
            raise admission.RefusedError(
                f"'{where}' says that it was run by {command[:120]!a}, but its overrides are "
                f"{command_of(words)[:120]!r}; get the pack again."
            )


def _picture(data: bytes, where: str) -> None:
    """Refuse what is no PNG, or one that fills the memory of who looks at it."""
    head = data[:24]
    right = head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR" and len(head) == 24
    width, height = struct.unpack(">II", head[16:24]) if right else (0, 0)
    require(
        0 < width * height <= MOST_PIXELS,
        f"{where} is no PNG of at most {MOST_PIXELS} pixels; get the pack again.",
    )


def _digest(index: Mapping[str, Any]) -> str:
    """What a pack is known by: all but what was said of it later, signed or not."""
    told = {key: value for key, value in index.items() if key not in ("notes", "signatures")}
    return _sha256(json.dumps(told, sort_keys=True).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
