"""``invbench sync``."""

from __future__ import annotations

import click

from bench.cli.words import Given, takes


@click.command("sync")
@takes()
def command(given: Given) -> None:
    """Upload to MLflow what it lacks of a suite's newest run; running it twice adds nothing."""
    from bench import api

    written, results = api.sync(given.words, given.config_dir)
    there = len(results.records())
    click.echo(f"{results.pack.suite}: {written} of {there} trials uploaded, the rest was there.")
    if results.lacking:
        click.echo(f"{results.lacking}.")
