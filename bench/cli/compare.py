"""``invbench compare``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from bench.cli.words import overrides, submissions

if TYPE_CHECKING:
    from bench.exchange.compare import Comparison

_SHOWN = 4


@click.command("compare")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@overrides
@submissions
@click.option("--margin", default=0.05, show_default=True, help="Smallest difference that matters.")
@click.option(
    "--fail-on",
    type=click.Choice(["worse", "any", "never"]),
    default="worse",
    show_default=True,
    help="What makes the exit code 1: a row leaks more, or any row moved, came or went; with both "
    "also a row that lacks planned trials.",
)
@click.option("--anyway", is_flag=True, help="Judge although protocol, data or metrics differ.")
@click.option("--all", "every", is_flag=True, help="Show also what stayed the same.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown.")
def command(
    a: str,
    b: str,
    words: tuple[str, ...],
    config_dir: Path | None,
    joining: tuple[str, ...],
    margin: float,
    fail_on: str,
    anyway: bool,
    every: bool,
    as_json: bool,
    as_markdown: bool,
) -> None:
    """Say what moved from A to B: packs, suites (their newest run) or executions.

    Each row's leakage by its worst attack (L), its member gap (M) and its utility (U) are compared
    over seeds, paired where both attacked the same targets. A row leaks more (or less) where Holm's
    p within its board is below 0.05 and the difference is at least the margin; it is the same where
    the 95% interval of the difference lies within the margin; else it is unclear. Of a row of which
    a side lacks planned trials nothing is concluded. Submissions given by --with join B: invbench
    compare BOARDS BOARDS --with FILE says what FILE would move.

    Exit code: 0 nothing of --fail-on, 1 something, 2 a mistake.
    """
    from bench.contract import UserError, require
    from bench.engine.config import compose_grid
    from bench.exchange import compare, sources

    require(0 <= margin < 1, f"--margin is {margin}; give a number from 0 to below 1.")
    require(not (as_json and as_markdown), "--json and --markdown exclude each other; give one.")
    settings = compose_grid(words, config_dir).settings
    packs = [sources.load(name, settings) for name in (a, b)]
    packs[1] = sources.joined(packs[1], joining, settings)
    trials = packs[0].manifest["trials"], packs[1].manifest["trials"]
    found = compare.compare(packs[0].records, packs[1].records, margin, trials)
    if found.obstacles and not anyway:
        raise UserError(
            f"'{a}' and '{b}' cannot be compared, their figures do not mean the same: "
            f"{'; '.join(found.obstacles)}; --anyway compares them all the same."
        )
    require(
        len(found.moves) > 0 or not found.changed["what"].str.startswith("boards").all(),
        f"'{a}' and '{b}' have no board in common, so that nothing can have moved: "
        f"{_places(found, 'A')} here, {_places(found, 'B')} there.",
    )
    if as_json:
        click.echo(compare.as_json(found))
    elif as_markdown:
        click.echo(compare.markdown(found, every), nl=False)
    else:
        for line in found.obstacles:
            click.echo(f"NOT COMPARABLE: {line}.")
        for line in found.notes:
            click.echo(f"Note: {line}.")
        click.echo(found.sentence())
        table(compare.lines(found, every))
        for row in found.changed.to_dict("records"):
            place = f"{row['board']} {row['defense']}".strip()
            click.echo(f"  {row['what']}: {place}: {row['A'] or '-'} -> {row['B'] or '-'}")
    sys.exit(1 if found.fails(cast(compare.FailOn, fail_on)) else 0)


def table(rows: list[list[str]]) -> None:
    """Print rows in columns, the first row being their names; nothing if there is only that."""
    if len(rows) < 2:
        return
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  " + "  ".join(cells).rstrip())


def _places(found: Comparison, side: str) -> str:
    """Boards that only one side has, in words."""
    names = list(found.changed.loc[found.changed[side] == "present", "board"])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "nothing") + more
