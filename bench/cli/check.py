"""``invbench check``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from bench.cli.words import overrides

_GROUPS = ("dataset", "model", "defense", "attack")


@click.command("check")
@overrides
@click.option(
    "--on",
    "place",
    metavar="dataset=NAME",
    help="Data set to try it on, instead of embedded data; data_root= and dataset.NAME.key= are "
    "further words.",
)
@click.option(
    "-v", "--verbose", is_flag=True, help="Show where an error within a component came from."
)
def command(
    words: tuple[str, ...], config_dir: Path | None, place: str | None, verbose: bool
) -> None:
    """Check that a component keeps its contract: invbench check defense=mine.

    Takes any of dataset=, model=, defense=, attack= (one name or a list) and runs it in seconds on
    embedded data. Exit code 1 if something does not hold.
    """
    from bench.contract import require
    from bench.engine.check import check

    named = [word for word in words if word.partition("=")[0] in _GROUPS]
    rest = [word for word in words if word not in named]
    require(
        bool(named),
        "Name what to check: dataset=, model=, defense= or attack=; 'invbench ls' lists the names.",
    )
    key, _, on = (place or "dataset=").partition("=")
    require(
        key == "dataset" and (place is None or bool(on.strip("[]"))),
        f"--on is '{place}'; give the data set to try it on, as in '--on dataset=german'.",
    )
    if verbose:
        logging.basicConfig(format="%(message)s")
        logging.getLogger("bench.engine.check").setLevel(logging.DEBUG)
    failed = 0
    for word in named:
        group, _, names = word.partition("=")
        for name in names.strip("[]").split(","):
            for found in check(group, name.strip(), rest, config_dir, on.strip("[]") or None):
                click.echo(found.line)
                failed += not found.holds
    click.echo("All checks hold." if not failed else f"{failed} checks do not hold.")
    sys.exit(1 if failed else 0)
