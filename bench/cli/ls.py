"""``invbench ls``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.cli.words import Given, takes
from bench.contract.errors import UserError, nearest, require

_GROUPS = {
    "datasets": "dataset",
    "models": "model",
    "defenses": "defense",
    "attacks": "attack",
    "suites": "suite",
}
_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "dataset": {"sector": "sector", "modality": "records", "goals": "goals", "embedded": "files"},
    "model": {"modalities": "works on", "tasks": "predicts", "recipe": "trained"},
    "defense": {"stages": "acts on", "covers": "covers", "cost": "cost"},
    "attack": {"goal": "goal", "access": "access", "modalities": "works on"},
    "suite": {},
}
"""Keys of an entry that a table shows, and how the column is called."""


@click.command("ls")
@takes("[datasets|models|defenses|attacks|suites]", 0, 1)
@click.option("--options", "named", metavar="NAME", help="Show every option of one of them.")
@click.option(
    "--for",
    "data",
    metavar="dataset=NAME",
    help="Only what fits this data set, and below it why the rest does not.",
)
@click.option("--plain", is_flag=True, help="Tab-separated, with every column, for scripts.")
def command(given: Given, named: str | None, data: str | None, plain: bool) -> None:
    """List datasets, models, defenses, attacks or suites; everything if not told which."""
    from bench import api

    require(
        not given.names or given.name in _GROUPS,
        f"There is nothing called '{given.names[0] if given.names else ''}' to list."
        f"{nearest(given.names[0] if given.names else '', _GROUPS)}",
    )
    groups = [_GROUPS[given.name]] if given.names else list(_GROUPS.values())
    if named is not None:
        _show_options(named, groups, given)
        return
    fits = (
        None if data is None else _entry(_GROUPS["datasets"], data.removeprefix("dataset="), given)
    )
    for group in groups:
        if fits is not None and group in ("dataset", "suite"):
            continue
        listed = api.catalogue(group, given.config_dir)
        reasons = {e["name"]: api.unfit(e, group, fits) for e in listed} if fits else {}
        shown = [entry for entry in listed if not reasons.get(entry["name"])]
        if plain:
            _plain(group, shown)
            continue
        _table(group, shown)
        for name, reason in reasons.items():
            if reason:
                click.echo(f"not {name}: {reason}")
        click.echo()


def _plain(group: str, listed: list[dict[str, Any]]) -> None:
    keys = [key for key in (listed[0] if listed else {"name": ""}) if key != "target"]
    click.echo("\t".join([group if key == "name" else key for key in keys]))
    for entry in listed:
        click.echo("\t".join(_cell(entry.get(key)) for key in keys))


def _table(group: str, listed: list[dict[str, Any]]) -> None:
    columns = _COLUMNS[group]
    table = Table(title=f"{group}s", title_justify="left", box=None, pad_edge=False)
    table.add_column(group, no_wrap=True)
    for key, head in columns.items():
        table.add_column(head, no_wrap=key in ("goal", "stages", "embedded"))
    table.add_column("about", ratio=1)
    for entry in listed:
        cells = [_cell(entry[key]) for key in columns]
        table.add_row(*map(escape, [entry["name"], *cells, entry["about"]]))
    width = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 100
    Console(width=width).print(table)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "embedded" if value else "data_root"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _entry(group: str, name: str, given: Given) -> dict[str, Any]:
    from bench import api

    entries = {entry["name"]: entry for entry in api.catalogue(group, given.config_dir)}
    if name not in entries:
        raise UserError(f"There is no {group} '{name}'.{nearest(name, entries)}")
    return entries[name]


def _show_options(name: str, groups: list[str], given: Given) -> None:
    """What an option is, and every key of it: type, default, range and its line."""
    from bench import api

    kinds = [group for group in groups if group != "suite"]
    everything = {
        (group, entry["name"]): entry
        for group in kinds
        for entry in api.catalogue(group, given.config_dir)
    }
    wanted = [key for key in everything if key[1] == name]
    if not wanted:
        names = {entry for _, entry in everything}
        raise UserError(f"There is no option '{name}'.{nearest(name, names)}")
    for group, option in wanted:
        entry = everything[group, option]
        click.echo(f"{group} {option}: {entry['about']}")
        for key, value in entry.items():
            if key not in ("name", "about", "target") and value not in ("", []):
                click.echo(f"  {key.replace('_', ' ')}: {_cell(value)}")
        for lines in api.option_docs(group, option, given.words, given.config_dir):
            click.echo()
            for line in _described(group, option, lines):
                click.echo(line)
        click.echo()


def _described(group: str, option: str, docs: Any) -> Iterator[str]:
    heading, keys = docs
    yield f"{heading}:"
    for key, value in keys:
        changed = "" if value == key.default else f" (the class: {key.default or 'none'})"
        limits = f"; {key.allowed}" if key.allowed else ""
        yield f"  {group}.{option}.{key.name} = {value}{changed}"
        yield f"      {key.type}{limits}. {key.text}".rstrip()
