"""``invbench status``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from bench.cli.words import overrides

_SILENT_S = 60.0


@click.command("status")
@overrides
@click.option("--all", "everything", is_flag=True, help="Every run, not the ten newest.")
def command(words: tuple[str, ...], config_dir: Path | None, everything: bool) -> None:
    """Show what runs have done and how far they are."""
    from bench.engine.config import compose_grid
    from bench.engine.store import Store

    settings = compose_grid(words, config_dir).settings
    suite = settings.suite if any(w.startswith("suite=") for w in words) else None
    runs = [m for m in Store(settings.store).executions() if suite in (None, m["suite"])]
    if not runs:
        click.echo(f"No run of {suite or 'any suite'} in store '{settings.store}' yet.")
        return
    for manifest in runs if everything else runs[:10]:
        click.echo(_line(manifest))


def _line(manifest: dict[str, Any]) -> str:
    from bench.engine.progress import duration

    ended = manifest["ended"]
    bad = sum(n for status, n in ended.items() if status not in ("done", "skipped"))
    state = manifest["state"]
    more = ""
    if state == "running":
        age = datetime.now(UTC) - datetime.fromisoformat(manifest["updated_utc"])
        if age.total_seconds() > _SILENT_S:
            state = "lost"
            more = "; the same command goes on where it stopped"
        elif manifest["left_s"] is not None:
            more = f"; {duration(manifest['left_s'])} left"
    else:
        more = f"; {duration(manifest['wall_s'])}"
    return (
        f"{manifest['started_utc']}  {manifest['suite']:12} {state:11} "
        f"{ended.get('done', 0)}/{len(manifest['trials'])} trials done, {bad} failed, "
        f"{ended.get('skipped', 0)} skipped; "
        f"{manifest['nodes_run']}/{manifest['nodes_todo']} nodes{more}"
        f"\n    {manifest['command']}"
    )
