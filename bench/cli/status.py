"""``invbench status``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from bench.cli.printing import as_json, paste, print_json, wrapped
from bench.cli.words import Given, takes

if TYPE_CHECKING:
    from bench.api import Progress

_SHOWN = 10


@click.command("status")
@takes()
@click.option("--all", "everything", is_flag=True, help=f"Every run, not the {_SHOWN} newest.")
@as_json
def command(given: Given, everything: bool, as_json: bool) -> None:
    """Show what runs have done and how far they are, each with its command, to be run again."""
    from bench import api

    manifests = api.executions(given.words, given.config_dir)
    shown = manifests if everything else manifests[:_SHOWN]
    runs = [api.progress(manifest) for manifest in shown]
    if as_json:
        print_json("status/1", {"in_store": len(manifests), "runs": [asdict(run) for run in runs]})
        return
    if not runs:
        store = api.settings(given.words, given.config_dir).store
        click.echo(f"No such run in store '{store}' yet.")
    for run in runs:
        wrapped(_sentence(run), rest="    ")
        paste(run.command, "    ")
    if len(manifests) > len(shown):
        click.echo(f"and {len(manifests) - len(shown)} older; --all shows them.")


def _sentence(run: Progress) -> str:
    from bench.engine.durations import duration

    if run.state == "dead":
        more = "its process is gone: the same command goes on where it stopped"
    elif run.state == "silent":
        silence = duration(run.silent_s or 0)
        more = f"not heard of for {silence}: if its machine is gone, run the same command"
    elif run.state == "running":
        more = "" if run.left_s is None else f"{duration(run.left_s)} left"
    else:
        took = "" if run.wall_s is None else duration(run.wall_s)
        more = "; ".join(filter(None, (took, run.reason)))
    return (
        f"{run.started_utc}  {run.suite}: {run.state}; {run.done}/{run.planned} trials done, "
        f"{run.failed} failed, {run.skipped} skipped; {run.nodes_run}/{run.nodes_to_run} nodes"
        + (f"; {more}" if more else "")
    )
