"""Pages that are made of the program itself while the documentation is built.

MkDocs calls :func:`on_files`. What a page says of an option, a verb or a setting is read from where
the program reads it, so that it cannot say anything else.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from bench import api
from bench.cli import cli
from bench.contract import Component
from bench.contract.options import options_of, shown_default

Page = tuple[str, str]
"""Where a page lies below ``docs/``, and its text."""

ROOT = Path(__file__).parents[1]
GROUPS = {
    "dataset": ("Data sets", "datasets"),
    "model": ("Models", "models"),
    "defense": ("Defenses", "defenses"),
    "attack": ("Attacks", "attacks"),
}
FACTS = {"embedded": "files", "recipe": "trained", "covers": "covers access"}
"""How a fact of an option is called, where its key does not say it."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    for make in (options, suites, settings, command_line, python, own_data, copied, notebook):
        for place, text in make():
            files.append(File.generated(config, place, content=text))
    return files


def on_page_content(html: str, **_: object) -> str:
    """Take away the markup of docstrings that Markdown does not know: roles, and ``::``."""
    return re.sub(r":(?:attr|class|data|func|meth|mod):(?=<code>)|:(?=:</p>)", "", html)


def joined(*parts: str) -> str:
    """The text of a page."""
    return "\n\n".join(parts) + "\n"


def cell(text: object) -> str:
    """A text in a cell of a table; what is not code means itself."""
    plain = " ".join(str(text).split()).replace("``", "`").replace("|", "\\|")
    return re.sub(r"(`[^`]*`)|([\[\]<*_])", lambda found: found[1] or f"\\{found[2]}", plain)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(value: object) -> str:
    """A value as code, unless it is empty."""
    text = " ".join(str(value).split())
    return f"`{text}`" if text else ""


def facts(entry: dict[str, object]) -> str:
    """What a component says of itself, one line a fact."""
    told = []
    for key, value in entry.items():
        if key in ("name", "title", "about", "target") or value in ("", []):
            continue
        words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        if isinstance(value, bool):
            words = "embedded" if value else "below data_root"
        told.append(f"- {FACTS.get(key, key.replace('_', ' '))}: {cell(words)}")
    return "\n".join(told)


def section(group: str, entry: dict[str, object], components: list[Component]) -> Iterator[str]:
    """The section of an option: a sentence, its facts, every key."""
    name = str(entry["name"])
    yield f"## {cell(entry['title'])}: `{name}` {{ #{name} }}"
    yield cell(entry["about"])
    yield facts(entry)
    for component in components:
        rows = [
            [
                code(doc.name),
                cell(doc.type),
                code(shown_default(getattr(component, doc.name))),
                cell(doc.allowed),
                cell(doc.text),
            ]
            for doc in options_of(type(component))
        ]
        if rows:
            where = f"{type(component).__module__}.{type(component).__qualname__}"
            yield f"Class `{where}`. Set a key by `{group}.{name}.KEY=VALUE`."
            yield table(["key", "type", "default", "allowed", "what it is"], rows)


def options() -> Iterator[Page]:
    """A page a group: data sets, models, defenses, attacks."""
    for group, (title, page) in GROUPS.items():
        entries = api.catalogue(group)
        names = [entry["name"] for entry in entries]
        components: dict[str, list[Component]] = {}
        for name, parts in api.options(group, names):
            components.setdefault(name, parts)
        rows = [
            [f"[`{name}`](#{name})", cell(entry["title"]), cell(entry["about"])]
            for name, entry in zip(names, entries, strict=True)
        ]
        sections = [
            part for entry in entries for part in section(group, entry, components[entry["name"]])
        ]
        intro = (
            f"There are {len(entries)}. `invbench ls {page}` lists them, and "
            "`invbench ls --options NAME` shows one."
        )
        yield (
            f"reference/{page}.md",
            joined(f"# {title}", intro, table([group, "title", "what it is"], rows), *sections),
        )


def suites() -> Iterator[Page]:
    """The suites and what their files say."""
    parts = []
    for entry in api.catalogue("suite"):
        text = (ROOT / "conf" / "suite" / f"{entry['name']}.yaml").read_text(encoding="utf-8")
        heading = f"{cell(entry['title'])}: `{entry['name']}`"
        parts += [f"## {heading}", cell(entry["about"]), f"```yaml\n{text}```"]
    yield (
        "reference/suites.md",
        joined(
            "# Suites", "`invbench run suite=NAME` runs one; each is a file of settings.", *parts
        ),
    )


def settings() -> Iterator[Page]:
    """The settings of a run, in the sections of their file."""
    text = (ROOT / "conf" / "config.yaml").read_text(encoding="utf-8")
    first, *sections = re.split(r"^# --- (.+)$", text, flags=re.MULTILINE)
    parts = ["## What stands where nothing is said", f"```yaml\n{first.strip()}\n```"]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        parts += [f"## {title.capitalize()}", f"```yaml\n{body.strip()}\n```"]
    yield (
        "reference/settings.md",
        joined("# Settings", "Any of them can be given as `key=value` after a verb.", *parts),
    )


def verb(name: str, command: click.Command, parent: click.Context, level: int) -> Iterator[str]:
    """The section of a verb, and those of its own verbs."""
    context = click.Context(command, info_name=name, parent=parent)
    yield f"{'#' * level} `{context.command_path}`"
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
    for paragraph in re.split(r"\n\s*\n", command.help or ""):
        kept = paragraph.startswith("\b")
        yield (
            f"```text\n{paragraph[1:].strip()}\n```"
            if kept
            else re.sub(r"([<*_\[])", r"\\\1", paragraph)
        )
    records = [param.get_help_record(context) for param in command.get_params(context)]
    rows = [[code(record[0]), cell(record[1])] for record in records if record and record[1]]
    yield table(["option", "what it does"], rows)
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            inner = command.get_command(context, below)
            assert inner is not None
            yield from verb(below, inner, context, level + 1)


def command_line() -> Iterator[Page]:
    """Every verb with its options."""
    context = click.Context(cli, info_name="invbench")
    parts = []
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        parts += verb(name, command, context, 2)
    intro = (
        "`invbench VERB --help` shows the same. Words that are no options are names, or settings "
        "as `key=value`."
    )
    yield "reference/cli.md", joined("# Command line", intro, *parts)


def python() -> Iterator[Page]:
    """Pages of the door and of the contract, from their docstrings."""
    for package, title, use in (
        ("api", "Python", "Write `from bench import api`, then `api.run(...)` and so on."),
        ("contract", "The contract", "Write `from bench.contract import Attack` and so on."),
    ):
        stub = ast.parse((ROOT / "bench" / package / "__init__.pyi").read_text(encoding="utf-8"))
        homes = {
            name.name: f"bench.{package}.{line.module}.{name.name}"
            for line in stub.body
            if isinstance(line, ast.ImportFrom)
            for name in line.names
        }
        parts = [
            f"::: {home}" for _, home in sorted(homes.items(), key=lambda pair: pair[0].lower())
        ]
        yield f"reference/{package}.md", joined(f"# {title}", use, *parts)


def own_data() -> Iterator[Page]:
    """What the classes that read a user's own data say of their files."""
    classes = ("table.Table", "interactions.Interactions", "image_folder.ImageFolder")
    parts = [f"::: bench.data.{name}\n    options: {{members: false}}" for name in classes]
    about = "Cards and files, with every key; the tutorials begin with an example."
    yield "reference/own_data.md", joined("# Data of your own", about, *parts)


def copied() -> Iterator[Page]:
    """Pages that lie elsewhere in the repository."""
    protocol = (ROOT / "bench" / "PROTOCOL.md").read_text(encoding="utf-8")
    yield "protocol.md", joined(protocol)
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    yield "reference/changelog.md", joined(re.sub(r"\]\(docs/", "](../", changes))
    yield (
        "results.md",
        joined((ROOT / "results" / "published" / "README.md").read_text(encoding="utf-8")),
    )
    files = {
        "The default policy": "conf/policy/default.yaml",
        "Who must be told of an incident": "conf/duties.yaml",
    }
    parts = [
        f"## {title}\n\n`{path}`\n\n```yaml\n{(ROOT / path).read_text(encoding='utf-8')}```"
        for title, path in files.items()
    ]
    yield "reference/policy.md", joined("# The policy", *parts)


def notebook() -> Iterator[Page]:
    """The notebook as a page."""
    book = json.loads((ROOT / "docs" / "first_attack.ipynb").read_text(encoding="utf-8"))
    parts = []
    for one in book["cells"]:
        text = "".join(one["source"])
        parts.append(text if one["cell_type"] == "markdown" else f"```python\n{text}\n```")
    parts.insert(1, "[The notebook itself](../first_attack.ipynb), to run it.")
    yield "tutorials/notebook.md", joined(*parts)
