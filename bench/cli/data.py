"""``invbench data``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from bench.cli.words import Given, takes

_NOT_SAID = "see its card"


@click.group("data")
def command() -> None:
    """List, fetch and verify data sets: invbench data fetch purchase100 data_root=DIR.

    data_root is the folder that holds them all.
    """


@command.command("list")
@takes("[NAME]...", 0, None)
@click.option("--plain", is_flag=True, help="Tab-separated, for scripts.")
def list_(given: Given, plain: bool) -> None:
    """List data sets: whether they are here, their size, their terms, where to get them."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from bench import api

    chosen, data_root = api.data_sets(given.names, given.words, given.config_dir)
    head = ("dataset", "state", "size", "terms", "get it with")
    rows = [(name, *_row(name, data, data_root)) for name, data in chosen.items()]
    if plain:
        for row in [head, *rows]:
            click.echo("\t".join(row))
        return
    table = Table(*head, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)
    if data_root is None:
        click.echo("data_root is not set; data_root=FOLDER says what is in a folder.")


@command.command("fetch")
@takes("[NAME]...", 0, None)
def fetch_(given: Given) -> None:
    """Download data sets into data_root; a file is kept only if it is whole and its hash right."""
    from bench import api
    from bench.contract.errors import require
    from bench.data.fetch import REGISTRY, fetch

    chosen, data_root = api.data_sets(given.names, given.words, given.config_dir)
    named = given.names
    can = f"can be fetched: {', '.join(REGISTRY)}"
    require(bool(named), f"Name the data sets; these {can}.")
    require(data_root is not None, "Say where to keep them: data_root=FOLDER.")
    assert data_root is not None
    for name, data in chosen.items():
        require(
            name in REGISTRY,
            f"Data set '{name}' needs no files."
            if data.embedded
            else f"{data.missing(None)} invbench cannot fetch it; these {can}.",
        )
    for name, _ in chosen.items():
        for remote in REGISTRY[name]:
            with _Progress(remote.file) as progress:
                _, sentence = fetch(name, remote, data_root, progress)
            click.echo(f"{name}: {sentence}")


@command.command("verify")
@takes("[NAME]...", 0, None)
def verify(given: Given) -> None:
    """Load what is in data_root as a run does: hashes, row counts, classes, duplicates.

    Exit code 1 if a data set is not what its loader expects.
    """
    from bench import api
    from bench.contract.errors import UserError, require

    chosen, data_root = api.data_sets(given.names, given.words, given.config_dir)
    require(data_root is not None, "Say where they are: data_root=FOLDER.")
    named = given.names
    bad = 0
    for name, data in chosen.items():
        missing = data.missing(data_root)
        if data.embedded or (missing and name not in named):
            continue
        try:
            facts = data.of_repeat(0).load(0, data_root).facts
        except UserError as error:
            bad += 1
            click.echo(f"FAIL  {name}: {error}")
            continue
        pinned = getattr(data, "sha256", None) is not None
        against = facts.get("sha256_checked", "pinned" if pinned else "nothing")
        click.echo(
            f"ok    {name}: {facts['n_rows']} records, sha256 {facts['sha256']}, {_SAY[against]}"
        )
    sys.exit(1 if bad else 0)


_SAY = {
    "pinned": "as expected",
    "first use": "as when it was fetched",
    "nothing": "compared with nothing: its loader pins no hash",
}


def _row(name: str, data: Any, data_root: Path | None) -> tuple[str, str, str, str]:
    """State, size, terms and how to get it."""
    from bench.data.fetch import REGISTRY

    terms = getattr(data, "terms", _NOT_SAID)
    if data.embedded:
        return "embedded", "-", terms, "-"
    missing = data.missing(data_root)
    if missing is None:
        return "present", _size(data, data_root), terms, "-"
    fetch = f"invbench data fetch {name} data_root=FOLDER"
    return "missing", "-", terms, fetch if name in REGISTRY else missing


def _size(data: Any, data_root: Path | None) -> str:
    """Bytes on disk of what the data set reads."""
    from bench.engine.nodes import files_of

    paths = [Path(path) for named in files_of(data, data_root).values() for path in named]
    if not paths:
        return "-"
    files: Iterator[Path] = (f for p in paths for f in ([p] if p.is_file() else p.rglob("*")))
    size = float(sum(f.stat().st_size for f in files if f.is_file()))
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


class _Progress:
    """A bar on standard error for pooch, gone when the download ends."""

    def __init__(self, label: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

        console = Console(stderr=True)
        self._bar = Progress(
            "{task.description}",
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(label, total=None)
        self.total = 0

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def update(self, n: int) -> None:
        self._bar.update(self._task, total=self.total or None, advance=n)

    def reset(self) -> None:
        self._bar.update(self._task, completed=0)

    def close(self) -> None:
        self._bar.stop()
