"""``invbench data``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bench.cli.printing import as_json, print_json, table, wrapped
from bench.cli.usage import Verbs
from bench.cli.words import Given, takes

_NOT_SAID = "see its card"


def _data_sets(config_dir: Path | None) -> Mapping[str, str]:
    from bench.engine.conf import list_options

    return {name: heading.sentence for name, heading in list_options("dataset", config_dir).items()}


def _fetched(config_dir: Path | None) -> Mapping[str, str]:
    from bench.data.fetch import REGISTRY

    return {name: text for name, text in _data_sets(config_dir).items() if name in REGISTRY}


@click.group("data", cls=Verbs)
def command() -> None:
    """List, fetch and verify data sets: invbench data fetch purchase100 data_root=DIR.

    data_root is the folder that holds them all.
    """


@command.command("list")
@takes("[NAME]...", 0, None, names=_data_sets)
@click.option("--plain", is_flag=True, help="Tab-separated, for scripts.")
@as_json
def list_(given: Given, plain: bool, as_json: bool) -> None:
    """List data sets: whether they are here, their size, their terms, where to get them."""
    from bench import api

    chosen, data_root = api.data_sets(given.names, given.words, given.config_dir)
    listed = [_state(name, data, data_root) for name, data in chosen.items()]
    if as_json:
        print_json("data.list/1", {"data_root": data_root, "datasets": listed})
        return
    head = ["dataset", "state", "size", "terms", "get it with"]
    rows = [
        [row["dataset"], row["state"], _size(row["bytes"]), row["terms"], row["get"] or "-"]
        for row in listed
    ]
    if plain:
        for row in [head, *rows]:
            click.echo("\t".join(row))
        return
    table([head, *rows], ["size"], more="--plain or --json")
    if data_root is None:
        click.echo("data_root is not set; data_root=FOLDER says what is in a folder.")


@command.command("fetch")
@takes("[NAME]...", 0, None, names=_fetched)
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
@takes("[NAME]...", 0, None, names=_data_sets)
@as_json
def verify(given: Given, as_json: bool) -> None:
    """Load what is in data_root as a run does: hashes, row counts, classes, duplicates.

    Of data of your own also what was understood: columns, labels, gaps, records left out, splits,
    and what looks like a mistake. Exit code 1 if a data set is not what its loader expects.
    """
    from bench import api
    from bench.contract.errors import require

    chosen, data_root = api.data_sets(given.names, given.words, given.config_dir)
    named = {*given.names, *(chosen if any(w.startswith("dataset=") for w in given.words) else ())}
    here = data_root is not None or any(chosen[name].missing(None) is None for name in named)
    require(here, "Say where they are: data_root=FOLDER.")
    outcomes = [
        _verified(name, data, data_root)
        for name, data in chosen.items()
        if name in named or not (data.embedded or data.missing(data_root))
    ]
    if as_json:
        print_json("data.verify/1", {"data_root": data_root, "datasets": outcomes})
    for outcome in () if as_json else outcomes:
        if outcome["dataset"] in named:
            for title, lines in outcome["understood"].items():
                _print_section(title, lines)
        click.echo(
            f"{'ok   ' if outcome['ok'] else 'FAIL '} {outcome['dataset']}: {outcome['text']}"
        )
        if outcome["ok"]:
            click.echo(f"  sha256 {outcome['facts']['sha256']}")
        for line in _loaded(outcome["facts"]) if outcome["dataset"] in named else ():
            wrapped(line, "  ", "    ")
    sys.exit(0 if all(outcome["ok"] for outcome in outcomes) else 1)


_SAY = {
    "pinned": "as expected",
    "first use": "as when it was fetched",
    "nothing": "compared with nothing: its loader pins no hash",
}


def _verified(name: str, data: Any, data_root: Path | None) -> dict[str, Any]:
    """What one data set holds, as plain data: also what was understood of one that fails."""
    from bench.contract.errors import UserError
    from bench.contract.understood import Understands

    facts: dict[str, Any] = {}
    understood: dict[str, Any] = {}
    try:
        if isinstance(data, Understands):
            understood = dict(data.understood(data_root))
        facts = dict(data.of_repeat(0).load(0, data_root).facts)
    except UserError as error:
        text = str(error)
    else:
        pinned = getattr(data, "sha256", None) is not None
        against = facts.get("sha256_checked", "pinned" if pinned else "nothing")
        text = f"{facts['n_rows']} records, {_SAY[against]}"
    return {
        "dataset": name,
        "ok": bool(facts),
        "text": text,
        "facts": facts,
        "understood": understood,
    }


def _loaded(facts: Mapping[str, Any]) -> Iterator[str]:
    """Sentences about the splits, the headroom and what was counted."""
    if not facts:
        return
    yield (
        f"splits: {facts['n_train']} members, {facts['n_test']} held-out, {facts['n_public']} "
        f"public records ({facts['split_protocol']})"
    )
    for key, what in (("sensitive_imputer_auc", "AUC"), ("sensitive_imputer_r2", "R2")):
        if key in facts:
            enough = facts.get("no_headroom", "an attack has room to show something")
            yield f"headroom: without the model {what} is {facts[key]:.3f}; {enough}"
    for key, value in facts.items():
        if key.startswith("n_") or key == "sensitive_prevalence":
            continue
        counted = value if isinstance(value, dict) else {"": value}
        if all(isinstance(n, int) and not isinstance(n, bool) and n for n in counted.values()):
            listed = ", ".join(f"{name} {n}".strip() for name, n in counted.items())
            yield f"{key.replace('_', ' ')}: {listed}"


def _print_section(title: str, lines: Sequence[Any]) -> None:
    """A section of what was understood: mappings as a table, texts as sentences."""
    click.echo(f"{title}:")
    rows = [line for line in lines if not isinstance(line, str)]
    if rows:
        cells = [list(rows[0]), *(list(row.values()) for row in rows)]
        table([[str(cell) for cell in row] for row in cells], indent="  ")
    for line in lines:
        if isinstance(line, str):
            wrapped(f"! {line}" if title == "warnings" else line, "  ", "    ")
    click.echo()


def _state(name: str, data: Any, data_root: Path | None) -> dict[str, Any]:
    """State, size, terms and how to get it."""
    from bench.data.fetch import REGISTRY

    known = {"dataset": name, "bytes": None, "terms": getattr(data, "terms", _NOT_SAID), "get": ""}
    if data.embedded:
        return {**known, "state": "embedded"}
    missing = data.missing(data_root)
    if missing is None:
        return {**known, "state": "present", "bytes": _bytes(data, data_root)}
    fetch = f"invbench data fetch {name} data_root=FOLDER"
    return {**known, "state": "missing", "get": fetch if name in REGISTRY else missing}


def _bytes(data: Any, data_root: Path | None) -> int | None:
    """Bytes on disk of what the data set reads."""
    from bench.engine.nodes import files_of

    paths = [Path(path) for named in files_of(data, data_root).values() for path in named]
    files = (f for path in paths for f in ([path] if path.is_file() else path.rglob("*")))
    return sum(f.stat().st_size for f in files if f.is_file()) if paths else None


def _size(count: int | None) -> str:
    if count is None:
        return "-"
    size = float(count)
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
