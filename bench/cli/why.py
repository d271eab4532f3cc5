"""``invbench why``."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.words import overrides


@click.command("why")
@click.argument("name", metavar="TRIAL")
@overrides
def command(name: str, words: tuple[str, ...], config_dir: Path | None) -> None:
    """Say whether a recorded trial would run again, and which part of its identity changed.

    The trial is planned again with the overrides of its run; further words are added to them.
    """
    from bench.cli import find
    from bench.engine.config import compose_grid
    from bench.engine.execution import prepare
    from bench.engine.store import Store
    from bench.exchange.rerun import changes, difference

    store = Store(compose_grid(words, config_dir).settings.store)
    record, manifest = find.trial(store, name)
    assert manifest is not None
    again = [*manifest["overrides"], *words]
    folder = config_dir or (Path(manifest["config_dir"]) if manifest["config_dir"] else None)
    _, plan = prepare(again, folder)
    cell = record.cell.key()
    now = next((t for t in plan.trials if t.cell.key() == cell), None)
    if now is None:
        click.echo(f"{cell} is not in the grid any more: {' '.join(again) or 'default suite'}.")
        return
    if now.id == record.trial_id:
        parts = [*record.nodes.items(), ("trial", now.id)]  # what failed has no result to look at
        if all([store.intact(kind, key) for kind, key in parts if store.has(kind, key)]):
            click.echo(f"{cell} is up to date: trial {now.id[:12]}, status {record.status}.")
        else:
            click.echo(f"{cell} is recorded as trial {now.id[:12]}, but it is damaged.")
        return
    click.echo(f"{cell} would be a new trial: {record.trial_id[:12]} -> {now.id[:12]}.")
    lines = list(changes(store, plan, record.nodes, now.nodes)) or [
        f"{part}: {line}"
        for part, was in (("defense", record.defense), ("attack", record.attack))
        for line in difference(was.model_dump(include=set(now.info[part])), now.info[part])
    ]
    for line in lines or ["a baseline of its goal changed, or the code that makes its record"]:
        click.echo(f"  {line}")
