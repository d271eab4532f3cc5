"""``invbench why``."""

from __future__ import annotations

import click

from bench.cli.words import Given, takes


@click.command("why")
@takes("TRIAL", 1, 1)
def command(given: Given) -> None:
    """Say whether a recorded trial would run again, and which part of its identity changed.

    The trial is planned again with the overrides of its run; further words are added to them.
    """
    from bench import api

    sentence, lines = api.why(given.name, given.words, given.config_dir)
    click.echo(sentence)
    for line in lines:
        click.echo(f"  {line}")
