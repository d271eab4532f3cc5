"""``invbench sync``."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.words import overrides


@click.command("sync")
@overrides
def command(words: tuple[str, ...], config_dir: Path | None) -> None:
    """Upload to MLflow what it lacks of a suite's newest run; running it twice adds nothing."""
    from bench.contract import require
    from bench.engine import tracking
    from bench.engine.config import compose_grid
    from bench.engine.store import Store
    from bench.exchange import sources
    from bench.report import boards, frame

    settings = compose_grid(words, config_dir).settings
    require(
        settings.tracking.name == "mlflow",
        "tracking=none has nowhere to upload to; leave it out, or set tracking.uri=.",
    )
    store = Store(settings.store)
    manifest = store.newest(settings.suite)
    records = sources.of_execution(store, manifest).records
    table, facts = frame.read(records, settings.suite, manifest["trials"])
    numbers = boards.summary(boards.build(table))
    written = tracking.sync(store, settings.tracking.uri, manifest, numbers)
    there = facts.coverage.planned - len(facts.coverage.lost)
    click.echo(f"{settings.suite}: {written} of {there} trials uploaded, the rest was there.")
    if facts.coverage.lost:
        click.echo(f"{facts.coverage.sentence}.")
