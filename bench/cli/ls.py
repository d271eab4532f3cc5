"""``invbench ls``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from bench.cli.printing import as_json, print_json, table, wrapped
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
    "model": {"tasks": "predicts", "modalities": "works on", "recipe": "trained"},
    "defense": {"stages": "acts on", "covers": "covers", "cost": "cost"},
    "attack": {"access": "access", "goal": "goal", "modalities": "works on"},
    "suite": {},
}
"""Keys of an entry that a table shows, the most important first, and how the column is called."""

Entry = Mapping[str, Any]


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names that complete ``--for`` and ``--options``."""
    from bench.engine.conf import list_options

    groups = ["dataset"] if param.name == "data" else ["dataset", "model", "defense", "attack"]
    return [
        CompletionItem(name, help=heading.sentence)
        for group in groups
        for name, heading in list_options(group, ctx.params.get("config_dir")).items()
        if name.startswith(incomplete)
    ]


@click.command("ls")
@takes("[datasets|models|defenses|attacks|suites]", 0, 1, names=tuple(_GROUPS))
@click.option(
    "--options",
    "named",
    metavar="NAME",
    help="Show every option of one of them.",
    shell_complete=_names,
)
@click.option(
    "--for",
    "data",
    metavar="DATASET",
    help="Only what fits this data set, and below it why the rest does not.",
    shell_complete=_names,
)
@click.option("--plain", is_flag=True, help="Tab-separated, with every column, for scripts.")
@as_json
def command(given: Given, named: str | None, data: str | None, plain: bool, as_json: bool) -> None:
    """List datasets, models, defenses, attacks or suites; everything if not told which.

    invbench ls attacks --for german lists the attacks that a data set can be attacked with.
    """
    from bench import api

    require(
        not given.names or given.name in _GROUPS,
        f"There is nothing called '{given.names[0] if given.names else ''}' to list."
        f"{nearest(given.names[0] if given.names else '', _GROUPS)}",
    )
    groups = [_GROUPS[given.name]] if given.names else list(_GROUPS.values())
    if named is not None:
        _show_options(named, groups, given, as_json)
        return
    told = [data] if data is not None else [w for w in given.words if w.startswith("dataset=")]
    fits = _data_set(told[-1].removeprefix("dataset="), given) if told else None
    groups = [group for group in groups if fits is None or group not in ("dataset", "suite")]
    require(
        bool(groups),
        f"--for lists what fits a data set, and that is no {' '.join(given.names)}; name models, "
        "defenses or attacks.",
    )
    listed: dict[str, list[dict[str, Any]]] = {}
    unfit: dict[str, dict[str, str]] = {}
    for group in groups:
        entries = api.catalogue(group, given.config_dir)
        reasons = {e["name"]: api.unfit(e, group, fits) for e in entries} if fits else {}
        listed[group] = [entry for entry in entries if not reasons.get(entry["name"])]
        unfit[group] = {name: reason for name, reason in reasons.items() if reason}
    if as_json:
        content = {f"{group}s": entries for group, entries in listed.items()}
        print_json("ls/1", {"for": fits and fits["name"], **content, "unfit": unfit})
        return
    for group, entries in listed.items():
        if plain:
            _plain(group, entries)
            continue
        _table(group, entries)
        for name, reason in unfit[group].items():
            wrapped(f"{name}: {reason}", "not ")
        click.echo()


def _plain(group: str, listed: Sequence[Entry]) -> None:
    keys = [key for key in (listed[0] if listed else {"name": ""}) if key != "target"]
    click.echo("\t".join([group if key == "name" else key for key in keys]))
    for entry in listed:
        click.echo("\t".join(_cell(entry.get(key)) for key in keys))


def _table(group: str, listed: Sequence[Entry]) -> None:
    titled = any(entry.get("title") for entry in listed)
    heads = {"name": group, **({"title": "title"} if titled else {}), **_COLUMNS[group]}
    heads["about"] = "about"
    rows = [list(heads.values()), *([_cell(e.get(key)) for key in heads] for e in listed)]
    # A title says what an entry is; without one its sentence has to.
    spare = [*_COLUMNS[group].values()][::-1]
    table(rows, [*spare[:-1], "about", *spare[-1:]] if titled else spare, more="--plain or --json")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "embedded" if value else "data_root"
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _data_set(name: str, given: Given) -> dict[str, Any]:
    from bench import api

    entries = {entry["name"]: entry for entry in api.catalogue("dataset", given.config_dir)}
    if name not in entries:
        raise UserError(f"There is no dataset '{name}'.{nearest(name, entries)}")
    return entries[name]


def _show_options(name: str, groups: list[str], given: Given, as_json: bool) -> None:
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
    described = {
        (group, option): list(api.option_docs(group, option, given.words, given.config_dir))
        for group, option in wanted
    }
    if as_json:
        options = [
            {"group": group, **everything[group, option], "components": _components(docs)}
            for (group, option), docs in described.items()
        ]
        print_json("ls.options/1", {"options": options})
        return
    for (group, option), docs in described.items():
        entry = everything[group, option]
        called = f" ({entry['title']})" if entry.get("title") else ""
        wrapped(f"{group} {option}{called}: {entry['about']}", rest="  ")
        for key, value in entry.items():
            if key not in ("name", "title", "about", "target") and value not in ("", []):
                wrapped(f"{key.replace('_', ' ')}: {_cell(value)}", "  ", "      ")
        for heading, keys in docs:
            click.echo(f"\n{heading}:")
            for indent, line in _described(group, option, keys):
                wrapped(line, indent)
        click.echo()


def _components(docs: Sequence[tuple[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "class": heading,
            "options": [
                {
                    "name": doc.name,
                    "value": value,
                    "default": doc.default,
                    "type": doc.type,
                    "allowed": doc.allowed,
                    "about": doc.text,
                }
                for doc, value in keys
            ],
        }
        for heading, keys in docs
    ]


def _described(group: str, option: str, keys: Any) -> Iterator[tuple[str, str]]:
    for key, value in keys:
        changed = "" if value == key.default else f" (the class: {key.default or 'none'})"
        limits = f"; {key.allowed}" if key.allowed else ""
        yield "  ", f"{group}.{option}.{key.name} = {value}{changed}"
        yield "      ", f"{key.type}{limits}. {key.text}"
