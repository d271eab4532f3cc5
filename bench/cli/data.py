"""``invbench data``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

_NOT_SAID = "see its card"


def _complete(ctx: click.Context, param: click.Parameter, text: str) -> list[CompletionItem]:
    from bench.engine.config import list_options

    words = {**list_options("dataset"), "data_root=": ""}
    return [CompletionItem(w, help=about) for w, about in words.items() if w.startswith(text)]


def _words(command: Any) -> Any:
    """Let a verb take names of data sets, Hydra overrides and ``--config-dir``."""
    command = click.argument(
        "words", nargs=-1, metavar="[NAME]... [KEY=VALUE]...", shell_complete=_complete
    )(command)
    return click.option(
        "--config-dir", type=click.Path(path_type=Path), help="Folder with your own options."
    )(command)


@click.group("data")
def command() -> None:
    """List, fetch and verify data sets: invbench data fetch purchase100 data_root=DIR.

    data_root is the folder that holds them all.
    """


@command.command("list")
@_words
@click.option("--plain", is_flag=True, help="Tab-separated, for scripts.")
def list_(words: tuple[str, ...], config_dir: Path | None, plain: bool) -> None:
    """List data sets: whether they are here, their size, their terms, where to get them."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    chosen, data_root = _chosen(words, config_dir)
    head = ("dataset", "state", "size", "terms", "get it with")
    rows = [(name, *_row(name, data, data_root)) for name, data in chosen]
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
@_words
def fetch_(words: tuple[str, ...], config_dir: Path | None) -> None:
    """Download data sets into data_root; a file is kept only if it is whole and its hash right."""
    from bench.contract import require
    from bench.data.fetch import REGISTRY, fetch

    chosen, data_root = _chosen(words, config_dir)
    named = _names(words)
    can = f"can be fetched: {', '.join(REGISTRY)}"
    require(bool(named), f"Name the data sets; these {can}.")
    require(data_root is not None, "Say where to keep them: data_root=FOLDER.")
    assert data_root is not None
    for name, data in chosen:
        require(
            name in REGISTRY,
            f"Data set '{name}' needs no files."
            if data.embedded
            else f"{data.missing(None)} invbench cannot fetch it; these {can}.",
        )
    for name, _ in chosen:
        for remote in REGISTRY[name]:
            with _Progress(remote.file) as progress:
                _, sentence = fetch(name, remote, data_root, progress)
            click.echo(f"{name}: {sentence}")


@command.command("verify")
@_words
def verify(words: tuple[str, ...], config_dir: Path | None) -> None:
    """Load what is in data_root as a run does: hashes, row counts, classes, duplicates.

    Exit code 1 if a data set is not what its loader expects.
    """
    from bench.contract import UserError, require

    chosen, data_root = _chosen(words, config_dir)
    require(data_root is not None, "Say where they are: data_root=FOLDER.")
    named = _names(words)
    bad = 0
    for name, data in chosen:
        missing = data.missing(data_root)
        if data.embedded or (missing and name not in named):
            continue
        try:
            facts = data.load(0, data_root).facts
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


def _names(words: Sequence[str]) -> list[str]:
    return [w for w in words if "=" not in w]


def _chosen(
    words: Sequence[str], config_dir: Path | None
) -> tuple[list[tuple[str, Any]], Path | None]:
    """The named data sets, or all, as components; and the data root."""
    from bench.contract import UserError, nearest
    from bench.engine.components import CORE_PACKAGES, build
    from bench.engine.config import compose_grid, list_options

    known = list_options("dataset", config_dir)
    names = _names(words)
    for name in names:
        if name not in known:
            raise UserError(f"There is no dataset option '{name}'.{nearest(name, known)}")
    grid = compose_grid(
        [f"dataset=[{','.join(names or known)}]", *(w for w in words if "=" in w)], config_dir
    )
    packages = (*CORE_PACKAGES, *grid.settings.plugins)
    found = {
        option.file: build(option.layers[0], option.where, packages)
        for option in grid.options["dataset"]
    }
    root = grid.settings.data_root
    return list(found.items()), None if root is None else Path(root)


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
