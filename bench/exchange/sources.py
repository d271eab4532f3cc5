"""Where boards come from: a pack, or what the store has of a suite or an execution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bench.contract import UserError
from bench.contract.record import TrialRecord
from bench.engine.settings import Settings
from bench.engine.store import Store
from bench.engine.tracking import stored
from bench.exchange import pack, publish
from bench.exchange.pack import Pack


class _Stored:
    """The records of an execution, read anew from the store at every iteration."""

    def __init__(self, store: Store, manifest: Mapping[str, Any]) -> None:
        self._store, self._keys = store, tuple(manifest["trials"])

    def __iter__(self) -> Iterator[TrialRecord]:
        found = (stored(self._store, key) for key in self._keys)
        return (record for record in found if record is not None)


def split(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Words that name packs, suites or executions, and words that are settings."""
    names = tuple(w for w in words if "=" not in w and not w.startswith("~"))
    return names, tuple(w for w in words if w not in names)


def load(name: str, settings: Settings) -> Pack:
    """The pack at a path, or of a suite's newest run, or of an execution.

    Args:
        name: path of a pack; else the name of a suite or of an execution in the store.
        settings: say where the store is.

    Raises:
        UserError: there is no such thing, or none of its trials has ended.
    """
    path = Path(name)
    if pack.is_pack(path):
        return pack.read(path)
    if not settings.store.is_dir():
        raise UserError(
            f"'{name}' is no pack, and there is no store '{settings.store}' to look in."
        )
    store = Store(settings.store)
    manifests = [m for m in store.executions() if name in (m["suite"], m["name"])]
    if not manifests:
        suites = sorted({m["suite"] for m in store.executions()})
        raise UserError(
            f"'{name}' is no pack (a folder with {pack.INDEX}, or a .zip), and store "
            f"'{settings.store}' has no run of that name; it has suites: "
            f"{', '.join(suites) or 'none'}."
        )
    return of_execution(store, manifests[0])


def joined(found: Pack, names: Sequence[str], settings: Settings) -> Pack:
    """Boards with submissions; says what joined and what these did not meet.

    Raises:
        UserError: one of them does not fit.
    """
    from bench.exchange.merge import merge

    if not names:
        return found
    both = merge(found, *(load(name, settings) for name in names))
    for name, told in zip(names, both.notes["submissions"][-len(names) :], strict=True):
        who = f" by {told['submitter']}" if told.get("submitter") else ""
        none = "" if told["joined"] else ": nothing in it is new here"
        click.echo(f"Joined from {name}{who}: {told['joined']} trials{none}.", err=True)
        for line in told["unmet"]:
            click.echo(f"  {line}: these rows are flagged 'missing'.", err=True)
    return both


def newest(settings: Settings) -> Pack:
    """What the store has of the suite's newest run.

    Raises:
        UserError: it has none.
    """
    if not settings.store.is_dir():
        raise UserError(
            f"Store '{settings.store}' is not there and has no run of suite '{settings.suite}'; "
            f"'invbench run suite={settings.suite}' makes one, store= names another, a word "
            "without '=' a pack."
        )
    store = Store(settings.store)
    return of_execution(store, store.newest(settings.suite))


def of_execution(store: Store, manifest: Mapping[str, Any]) -> Pack:
    """What the store has of an execution.

    Raises:
        UserError: none of its trials has ended.
    """
    records = _Stored(store, manifest)
    if next(iter(records), None) is None:
        raise UserError(f"No trial of suite '{manifest['suite']}' has ended yet; run it first.")
    return Pack(manifest["suite"], records, manifest, publish.pictures(store, records))
