"""``invbench check``."""

from __future__ import annotations

import sys

import click

from bench.cli.words import Given, takes

_GROUPS = ("dataset", "model", "defense", "attack")


@click.command("check")
@takes()
def command(given: Given) -> None:
    """Check that a component keeps its contract: invbench check defense=mine.

    Takes any of dataset=, model=, defense=, attack= (one name or a list) and runs it in seconds on
    embedded data. Exit code 1 if something does not hold.
    """
    from bench.contract import require
    from bench.engine.check import check

    named = [w for w in given.words if w.partition("=")[0] in _GROUPS]
    rest = [w for w in given.words if w not in named]
    require(
        bool(named),
        "Name what to check: dataset=, model=, defense= or attack=; 'invbench ls' lists the names.",
    )
    failed = 0
    for word in named:
        group, _, names = word.partition("=")
        for name in names.strip("[]").split(","):
            for tried, held, sentence in check(group, name.strip(), rest, given.config_dir):
                click.echo(
                    f"{'ok  ' if held else 'FAIL'}  {tried}{'' if held else ': ' + sentence}"
                )
                failed += not held
    click.echo("All checks hold." if not failed else f"{failed} checks do not hold.")
    sys.exit(1 if failed else 0)
