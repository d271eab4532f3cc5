"""What is wrong in a store: every file held against the seal that it was written with."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.engine.graph import KINDS
from bench.engine.names import RECORD
from bench.engine.seal import DamagedError, opened
from bench.engine.store import ASIDE, Store, checked

What = Literal["bad", "missing", "torn", "unknown", "left over"]
WHATS: dict[What, str] = {
    "bad": "holds something else than was written",
    "missing": "is listed in its record and not there",
    "torn": "is not whole",
    "unknown": "is nothing that this program has written",
    "left over": "is the beginning of a result that was never finished",
}
"""Kinds of faults and what each says of a file."""

_RESULTS = (*KINDS, "trial")
_BESIDES = frozenset({"store.json", "executions", "failed", "logs", ASIDE, *_RESULTS})
_YOUNG_S = 600
"""A file of a temporary name that is younger than this may belong to a run that goes on."""


@dataclass(frozen=True)
class Fault:
    """Something that is wrong.

    Attributes:
        what: its kind, a key of ``WHATS``.
        path: the file or folder.
        reason: what is wrong with it.
        result: the folder or file that is no use because of it, and is set aside.
        label: what the result is of, where that can still be read.
    """

    what: What
    path: Path
    reason: str
    result: Path
    label: str = ""


def size(store: Store) -> int:
    """Number of results in a store."""
    return sum(len(store.ids(kind)) for kind in _RESULTS)


def examine(store: Store) -> Iterator[Fault | None]:
    """Look at every file of a store.

    Yields:
        Faults, and None for every result that is good.
    """
    for entry in sorted(store.root.iterdir()):
        if entry.name not in _BESIDES:
            yield _stray(entry)
    for kind in _RESULTS:
        folder = store.root / kind
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            if entry.name.startswith("."):
                yield _stray(entry)
            elif not entry.is_dir():
                yield Fault("unknown", entry, WHATS["unknown"], entry)
            else:
                faults = list(_result(entry, f"{kind}/{entry.name}"))
                yield from faults
                if not faults:
                    yield None
    yield from _documents(store.root / "executions", "executions")
    failed = store.root / "failed"
    for folder in sorted(failed.glob("*/*")) if failed.is_dir() else ():
        yield from _documents(folder, str(folder.relative_to(store.root)))


def _stray(path: Path) -> Fault | None:
    """A file or folder that is no result; None while it may still become one."""
    if not path.name.startswith("."):
        return Fault("unknown", path, WHATS["unknown"], path)
    if time.time() - path.stat().st_mtime < _YOUNG_S:
        return None
    return Fault("left over", path, WHATS["left over"], path)


def _result(folder: Path, place: str) -> Iterator[Fault]:
    record, digests, wrong = _sealed(folder / RECORD, place)
    if wrong is not None:
        what, reason = wrong
        yield Fault(what, folder / RECORD, reason, folder)
        return
    label = str(record.get("label") or "/".join(map(str, record.get("cell", {}).values())))
    for name, digest in digests.items():
        path = folder / name
        try:
            checked(path, digest)
        except DamagedError as error:
            missing = not path.exists()
            yield Fault("missing" if missing else "bad", path, error.reason, folder, label)
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.name != RECORD and entry.name not in digests:
                yield Fault("unknown", Path(entry.path), WHATS["unknown"], Path(entry.path))


def _documents(folder: Path, place: str) -> Iterator[Fault | None]:
    """Manifests of runs, or attempts that failed."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix != ".json" or path.name.startswith("."):
            yield _stray(path)
            continue
        _, _, wrong = _sealed(path, f"{place}/{path.stem}")
        if wrong is not None:
            yield Fault(wrong[0], path, wrong[1], path)


def _sealed(
    path: Path, place: str
) -> tuple[dict[str, Any], dict[str, str], tuple[What, str] | None]:
    """A document, digests of the files beside it, and what is wrong with it."""
    try:
        return *opened(path, place), None
    except FileNotFoundError:
        return {}, {}, ("torn", "it is not there")
    except DamagedError as error:
        whole = "JSON" not in error.reason
        return {}, {}, ("bad" if whole else "torn", error.reason)


def affected(store: Store, faults: Iterable[Fault]) -> list[str]:
    """What the same commands will compute again, run by run."""
    lost: dict[str, set[str]] = {}
    for fault in faults:
        place = fault.result.relative_to(store.root).parts
        if len(place) == 2:
            lost.setdefault(place[0], set()).add(place[1])
    lines = []
    for kind, keys in lost.items():
        if kind not in ("trial", "executions"):
            lines.append(
                f"{len(keys)} {kind} results will be computed again when a run reads them."
            )
    seen: set[str] = set()
    for manifest in store.executions():
        cells = [c for k, c in manifest["trials"].items() if k in lost.get("trial", ())]
        if cells and manifest["suite"] not in seen:
            seen.add(manifest["suite"])
            more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
            lines.append(
                f"{len(cells)} trials of {manifest['suite']} will be made again by "
                f"'{manifest['command']}': {', '.join(cells[:3])}{more}."
            )
    return lines
