"""``invbench compare``."""

from __future__ import annotations

import sys
from typing import Any

import click

from bench.cli.completing import FILES
from bench.cli.printing import as_json, print_json, table, wrapped
from bench.cli.words import Given, submissions, takes, tell_joined
from bench.contract.errors import require


@click.command("compare")
@takes("A B", 2, 2, names=FILES)
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
@as_json
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown.")
def command(
    given: Given,
    joining: tuple[str, ...],
    margin: float,
    fail_on: Any,
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
    from bench import api
    from bench.exchange import compare

    require(not (as_json and as_markdown), "--json and --markdown exclude each other; give one.")
    where: Any = {"words": given.words, "config_dir": given.config_dir}
    before, after = given.names
    later = api.load(after, joining=joining, **where)
    tell_joined(later.pack.notes, joining)
    comparison = api.compare(before, later, margin=margin, anyway=anyway, **where)
    if as_json:
        print_json("compare/1", compare.data(comparison))
    elif as_markdown:
        click.echo(compare.markdown(comparison, every), nl=False)
    else:
        for line in comparison.obstacles:
            wrapped(f"NOT COMPARABLE: {line}.")
        for line in comparison.notes:
            wrapped(f"Note: {line}.", rest="  ")
        wrapped(comparison.sentence())
        rows = compare.lines(comparison, every)
        if len(rows) > 1:
            table(rows, ("p", "A", "B"), "  ")
        for row in comparison.changed.to_dict("records"):
            place = f"{row['board']} {row['defense']}".strip()
            wrapped(
                f"{row['what']}: {place}: {row['A'] or '-'} -> {row['B'] or '-'}", "  ", "      "
            )
    sys.exit(1 if comparison.fails(fail_on) else 0)
