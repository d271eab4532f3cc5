"""``invbench status``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from bench.cli.words import Given, takes
from bench.contract.secrets import redacted

_SILENT_S = 60.0


@click.command("status")
@takes()
@click.option("--all", "everything", is_flag=True, help="Every run, not the ten newest.")
def command(given: Given, everything: bool) -> None:
    """Show what runs have done and how far they are, each with its command, to be run again."""
    from bench import api

    runs = api.executions(given.words, given.config_dir)
    if not runs:
        store = api.settings(given.words, given.config_dir).store
        click.echo(f"No such run in store '{store}' yet.")
    for manifest in runs if everything else runs[:10]:
        click.echo(_line(manifest))


def _line(manifest: Mapping[str, Any]) -> str:
    from bench.engine.durations import duration
    from bench.engine.store.process import gone

    ended = manifest["ended"]
    bad = sum(n for status, n in ended.items() if status not in ("done", "skipped"))
    state, more = manifest["state"], ""
    if state == "running":
        age = datetime.now(UTC) - datetime.fromisoformat(manifest["updated_utc"])
        if gone(manifest.get("driver", {})):
            state, more = "dead", "; its process is gone: the same command goes on where it stopped"
        elif age.total_seconds() > _SILENT_S:
            state, silence = "silent", duration(age.total_seconds())
            more = f"; not heard of for {silence}: if its machine is gone, run the same command"
        elif manifest["left_s"] is not None:
            more = f"; {duration(manifest['left_s'])} left"
    else:
        more = f"; {duration(manifest['wall_s'])}"
        if manifest.get("reason"):
            more += f"; {redacted(manifest['reason'])}"
    return (
        f"{manifest['started_utc']}  {manifest['suite']:12} {state:11} "
        f"{ended.get('done', 0)}/{len(manifest['trials'])} trials done, {bad} failed, "
        f"{ended.get('skipped', 0)} skipped; "
        f"{manifest['nodes_run']}/{manifest['nodes_todo']} nodes{more}"
        f"\n    {redacted(manifest['command'])}"
    )
