"""What verbs print: tables that fit the terminal, one JSON document, commands to paste."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import click

from bench.contract.secrets import clean

_Verb = TypeVar("_Verb", bound=Callable[..., object])
_NO_TERMINAL = 100
_NARROWEST = 20


def width() -> int:
    """Letters that a line may have: as wide as the terminal, or as ``COLUMNS`` says."""
    return max(shutil.get_terminal_size((_NO_TERMINAL, 24)).columns, _NARROWEST)


def as_json(command: _Verb) -> _Verb:
    """Let a verb print one JSON document instead of sentences; it gets ``as_json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
    )(command)


def print_json(schema: str, content: Mapping[str, object]) -> None:
    """Print the one document of ``--json``.

    Args:
        schema: the verb and the version of its form, such as ``status/1``; it stands first, as
            ``invbench.status/1``.
        content: the rest. Dates, paths, models and records are written as plain data; NaN and
            infinite numbers, which JSON does not have, as null.
    """
    from pydantic_core import to_jsonable_python

    document = {"schema": f"invbench.{schema}", **content}
    plain = to_jsonable_python(
        document,
        inf_nan_mode="null",
        fallback=lambda value: getattr(value, "item", value.__str__)(),
    )
    # Only ASCII, which every terminal and every pipe carries unchanged.
    click.echo(json.dumps(clean(plain), indent=1, allow_nan=False))


def table(
    rows: Sequence[Sequence[str]],
    spare: Collection[str] = (),
    indent: str = "",
    more: str = "--json",
) -> None:
    """Print rows in columns that fit the terminal, the first row being their names.

    Args:
        rows: cells.
        spare: columns that a narrow terminal may lack, the least important first.
        indent: what every line begins with.
        more: the option that shows all columns.
    """
    from bench.report.columns import lay_out

    # What a log or a table of strangers holds must not steer the terminal.
    cells = [[cell if cell.isprintable() else _visible(cell) for cell in row] for row in rows]
    lines, left_out = lay_out(cells, width(), spare, indent)
    for line in lines:
        click.echo(line)
    if left_out:
        hint = f"Too narrow for: {', '.join(left_out)}; {more} shows everything."
        click.echo(textwrap.fill(hint, width(), initial_indent=indent, subsequent_indent=indent))


def _visible(cell: str) -> str:
    words = " ".join(cell.split())
    return words if words.isprintable() else ascii(words)[1:-1]


def wrapped(text: str, first: str = "", rest: str | None = None) -> None:
    """Print a sentence in lines that fit the terminal; a path or a name stays whole.

    Args:
        text: what to print.
        first: what the first line begins with.
        rest: what the others begin with; None: as many blanks as ``first`` has letters.
    """
    later = " " * len(first) if rest is None else rest
    filled = textwrap.fill(
        text,
        width(),
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )
    click.echo(filled or first)


def paste(command: str, indent: str) -> None:
    """Print a command that can be pasted, over several lines where the terminal is narrower."""
    from bench.report.columns import pasted

    click.echo(pasted(command, width(), indent))
