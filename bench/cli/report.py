"""``invbench report``."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.words import overrides


@click.command("report")
@overrides
@click.option(
    "--from",
    "source",
    type=click.Choice(["store", "mlflow"]),
    default="store",
    show_default=True,
    help="Where to read the records.",
)
def command(words: tuple[str, ...], config_dir: Path | None, source: str) -> None:
    """Write the boards of a suite's newest run, from the store or from MLflow: the same bytes."""
    from bench.cli import publish
    from bench.contract import UserError
    from bench.engine import tracking
    from bench.engine.config import compose_grid
    from bench.engine.store import Store

    settings = compose_grid(words, config_dir).settings
    if source == "mlflow":
        records, pictures, manifest = tracking.fetch(settings.tracking.uri, settings.suite)
    else:
        store = Store(settings.store)
        manifest = store.newest(settings.suite)
        records = publish.of_execution(store, manifest)
        pictures = publish.pictures(store, records)
    if not records:
        raise UserError(f"No trial of suite '{settings.suite}' has ended yet; run it first.")
    page, _ = publish.write(records, pictures, manifest, settings.report_dir)
    click.echo(f"{settings.suite}: {len(records)} trials; report {page}")
