"""Where results come from: a pack, or what the store has of a suite or an execution."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.contract.errors import UserError, require
from bench.contract.names import path_fault
from bench.contract.record import TrialRecord
from bench.engine.settings import Settings
from bench.engine.store import Store
from bench.engine.tracking.sink import picture, stored
from bench.exchange import pack
from bench.exchange.merge import merge
from bench.exchange.pack import Pack
from bench.exchange.parts import INDEX, is_pack
from bench.exchange.records import Records


def load(name: str, settings: Settings) -> Pack:
    """The pack at a path, or of a suite's newest run, or of an execution.

    Args:
        name: path of a pack; else the name of a suite or of an execution in the store.
        settings: say where the store is.

    Raises:
        UserError: there is no such thing, or none of its trials has ended.
    """
    path = Path(name)
    if is_pack(path):
        return pack.read(path)
    if not settings.store.is_dir():
        raise UserError(
            f"'{name}' is no pack, and there is no store '{settings.store}' to look for a suite "
            "of that name in; name a folder with pack.json, a .zip, or another store with store=."
        )
    store = Store(settings.store)
    for manifest in store.executions():
        if name in (manifest["suite"], manifest["name"]):
            return of_execution(store, manifest)
    suites = sorted({manifest["suite"] for manifest in store.executions()})
    raise UserError(
        f"'{name}' is no pack (a folder with {INDEX}, or a .zip), and store "
        f"'{settings.store}' has no run of that name; it has suites: "
        f"{', '.join(suites) or 'none'}."
    )


def joined(boards: Pack, names: Sequence[str], settings: Settings) -> Pack:
    """Boards with submissions.

    Raises:
        UserError: one of them does not fit.
    """
    return merge(boards, *(load(name, settings) for name in names)) if names else boards


def newest(settings: Settings) -> Pack:
    """What the store has of the suite's newest run.

    Raises:
        UserError: it has none.
    """
    if not settings.store.is_dir():
        raise UserError(
            f"Store '{settings.store}' is not there and has no run of suite '{settings.label}'; "
            f"'invbench run suite={settings.suite}' makes one, store= names another, a word "
            "without '=' a pack."
        )
    store = Store(settings.store)
    return of_execution(store, store.newest(settings.label))


def of_execution(store: Store, manifest: Mapping[str, Any]) -> Pack:
    """What the store has of an execution.

    Raises:
        UserError: none of its trials has ended.
    """
    why = path_fault(str(manifest["suite"]))
    require(
        not why,
        f"Store '{store.root}' has a run called {str(manifest['suite'])[:80]!a}: a name {why}.",
    )
    keys = tuple(manifest["trials"])
    records = Records(lambda: (r for key in keys if (r := stored(store, key)) is not None))
    if next(iter(records), None) is None:
        raise UserError(f"No trial of suite '{manifest['suite']}' has ended yet; run it first.")
    return Pack(manifest["suite"], records, manifest, pictures(store, records))


def pictures(store: Store, records: Iterable[TrialRecord]) -> dict[str, bytes]:
    """Pictures that may be shown, by trial."""
    strips = ((record.trial_id, picture(store, record)) for record in records)
    return {key: strip for key, strip in strips if strip is not None}


def in_store(store: Store, name: str) -> tuple[TrialRecord, Mapping[str, Any]]:
    """The newest trial that ``name`` names, and the newest execution it belongs to.

    Args:
        store: where to look.
        name: the beginning of a trial's identity, or ``dataset/model/defense/attack/seed``.

    Raises:
        UserError: none or several.
    """
    planned = None
    for manifest in store.executions():
        keys = [key for key, cell in manifest["trials"].items() if _named(name, key, cell)]
        for key in keys:
            record = stored(store, key)
            if record is not None:
                if len(keys) > 1:
                    raise UserError(
                        f"'{name}' begins {len(keys)} trials of {manifest['suite']}; give more "
                        "of it."
                    )
                return record, manifest
            planned = manifest["trials"][key]
    if planned is not None:
        raise UserError(
            f"Trial '{planned}' is planned and has no record that can be read: it has not ended, "
            "or its record is damaged or gone; the command of its run, which 'invbench status' "
            "shows, makes it."
        )
    raise UserError(
        f"There is no trial '{name}' in store '{store.root}'; 'invbench plan --trials' lists "
        "identities and cells, store= names another store."
    )


def in_pack(boards: Pack, name: str) -> tuple[TrialRecord, Mapping[str, Any]]:
    """The trial of a pack that ``name`` names, and the manifest that planned it.

    Raises:
        UserError: none or several.
    """
    named = [r for r in boards.records if _named(name, r.trial_id, r.cell.key())]
    named = [record for record in named if not record.control] or named
    if not named:
        raise UserError(
            f"There is no trial '{name}' in '{boards.suite}'; name one by the beginning of its "
            "identity or by its cell, dataset/model/defense/attack/seed."
        )
    if len(named) > 1:
        raise UserError(f"'{name}' names {len(named)} trials of '{boards.suite}'; give more of it.")
    return named[0], boards.manifest_of(named[0])


def _named(name: str, key: str, cell: str) -> bool:
    return cell == name or ("/" not in name and key.startswith(name))
