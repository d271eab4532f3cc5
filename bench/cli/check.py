"""``invbench check``."""

from __future__ import annotations

import sys

import click

from bench.cli.printing import as_json, print_json
from bench.cli.words import Given, takes
from bench.contract.errors import require

_GROUPS = ("dataset", "model", "defense", "attack")


@click.command("check")
@takes()
@click.option(
    "--on",
    "place",
    metavar="dataset=NAME",
    help="Data set to try it on, instead of embedded data; data_root= and dataset.NAME.key= are "
    "further words.",
)
@as_json
def command(given: Given, place: str | None, as_json: bool) -> None:
    """Check that a component keeps its contract: invbench check defense=mine.

    Takes any of dataset=, model=, defense=, attack= (one name or a list) and runs it in seconds on
    embedded data, or on the data set that --on names. With -vv an error within a component shows
    where it came from. Exit code 1 if something does not hold.
    """
    from bench import api

    named = [word for word in given.words if word.partition("=")[0] in _GROUPS]
    rest = [word for word in given.words if word not in named]
    require(
        bool(named),
        "Name what to check: dataset=, model=, defense= or attack=; 'invbench ls' lists the names.",
    )
    key, _, on = (place or "dataset=").partition("=")
    require(
        key == "dataset" and (place is None or bool(on.strip("[]"))),
        f"--on is '{place}'; give the data set to try it on, as in '--on dataset=german'.",
    )
    checks = []
    for word in named:
        group, _, names = word.partition("=")
        for name in names.strip("[]").split(","):
            target = on.strip("[]") or None
            for tried in api.check(group, name.strip(), rest, given.config_dir, target):
                checks.append(tried)
                if not as_json:
                    click.echo(tried.line)
    failed = sum(not check.holds for check in checks)
    if as_json:
        print_json("check/1", {"holds": not failed, "checks": checks})
    else:
        click.echo("All checks hold." if not failed else f"{failed} checks do not hold.")
    sys.exit(1 if failed else 0)
