"""``invbench why``."""

from __future__ import annotations

from dataclasses import asdict

import click

from bench.cli.printing import as_json, print_json
from bench.cli.words import Given, takes


@click.command("why")
@takes("TRIAL", 1, 1)
@as_json
def command(given: Given, as_json: bool) -> None:
    """Say whether a recorded trial would run again, and which part of its identity changed.

    The trial is planned again with the overrides of its run; further words are added to them.
    """
    from bench import api

    again = api.why(given.name, given.words, given.config_dir)
    if as_json:
        print_json("why/1", asdict(again))
        return
    click.echo(again.sentence)
    for line in again.changes:
        click.echo(f"  {line}")
