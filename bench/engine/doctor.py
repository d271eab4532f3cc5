"""What is wrong in a store: everything held against the seal that it was written with."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.engine.store import ASIDE, BLOBS, Store
from bench.engine.store.folders import EXECUTIONS, FAILED, LOGS, V2

What = Literal["bad", "missing", "unknown", "left over"]
WHATS: dict[What, str] = {
    "bad": "holds something else than was written",
    "missing": "is listed in its record and not there",
    "unknown": "is nothing that this program has written",
    "left over": "belongs to no result",
}
"""Kinds of faults and what each says of a file."""

_BESIDES = frozenset({"store.json", "store.lock", "outbox", LOGS, ASIDE, BLOBS, V2})
_LOGS = ("", "-wal", "-shm", "-journal")
_YOUNG_S = 24 * 3600
"""A file that no result has yet may belong to a run that goes on, if it is younger than this."""


@dataclass(frozen=True)
class Fault:
    """Something that is wrong.

    Attributes:
        what: its kind, a key of ``WHATS``.
        path: where it stands; a result's record and small files stand in the database.
        reason: what is wrong with it.
        place: kind and key of the result, run or attempt that is no use because of it, and is set
            aside; None: the file or folder itself is.
        label: what the result is of, where that can still be read.
    """

    what: What
    path: Path
    reason: str
    place: tuple[str, str] | None = None
    label: str = ""


def examine(store: Store) -> Iterator[Fault | None]:
    """Look at everything in a store.

    Yields:
        Faults, and None for every result that is good.
    """
    reason = store.check()
    if reason:
        yield Fault("bad", store.database, reason)
    for kind in store.kinds():
        for key in sorted(store.ids(kind)):
            faults = list(_result(store, kind, key))
            yield from faults or (None,)
    for _ in store.documents():
        pass  # what is damaged of them is named in `store.faults`
    for place, reason in list(store.faults.items()):
        first, *parts = place.split("/")
        if first == FAILED:
            yield Fault(
                "bad", store.root / place, reason, (f"{FAILED}/{parts[0]}", "/".join(parts[1:]))
            )
        elif first in (EXECUTIONS, "beats"):
            yield Fault("bad", store.root / place, reason, (first, "/".join(parts)))
    yield from _strays(store)


def _result(store: Store, kind: str, key: str) -> Iterator[Fault]:
    place = f"{kind}/{key}"
    record = store.record(kind, key)
    if record is None:
        reason = store.faults.get(place, "it cannot be read")
        yield Fault("bad", store.root / place, reason, (kind, key))
        return
    label = str(record.get("label") or "/".join(map(str, record.get("cell", {}).values())))
    for name, blob in store.files(kind, key).items():
        if store.file(kind, key, name) is None:
            what: What = "missing" if not store.holds(blob) else "bad"
            reason = store.faults[f"{place}/{name}"]
            yield Fault(what, store.root / place / name, reason, (kind, key), label)


def _strays(store: Store) -> Iterator[Fault]:
    """Files and folders that are none of a store's, or of no result of it."""
    ours = {f"{store.database.name}{end}" for end in _LOGS} | _BESIDES
    for entry in sorted(store.root.iterdir()):
        if entry.name.startswith("."):
            if _old(entry):
                yield Fault("left over", entry, WHATS["left over"])
        elif entry.name not in ours and entry.name.partition(".")[0] not in ours:
            yield Fault("unknown", entry, WHATS["unknown"])
    named = {store.blobs.path(digest) for digest in store.digests()}
    for path in store.blobs:
        if path not in named and _old(path):
            yield Fault("left over", path, WHATS["left over"])


def _old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _YOUNG_S


def repair(store: Store, faults: Iterable[Fault]) -> int:
    """Set aside what is of no use; nothing is deleted.

    Returns:
        How many things were set aside.
    """
    damaged = ""
    places: dict[tuple[str, str] | Path, str] = {}
    for fault in faults:
        if fault.path == store.database:
            damaged = fault.reason
        else:
            places[fault.place or fault.path] = fault.reason
    for place, reason in places.items():
        if isinstance(place, Path):
            store.move_aside(place, reason)
        else:
            store.set_aside(*place, reason)
    # A result whose very name is damaged is not found by it: a new database leaves it behind.
    if damaged or any(isinstance(place, tuple) and store.has(*place) for place in places):
        store.mend(damaged or "a name in it is damaged")
    return len(places) + bool(damaged)


def affected(store: Store, faults: Iterable[Fault]) -> list[str]:
    """What the same commands will compute again, run by run."""
    lost: dict[str, set[str]] = {}
    for fault in faults:
        if fault.place is not None and fault.place[0] in store.kinds():
            lost.setdefault(fault.place[0], set()).add(fault.place[1])
    lines = [
        f"{len(keys)} {kind} results will be computed again when a run reads them."
        for kind, keys in lost.items()
        if kind != "trial"
    ]
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
