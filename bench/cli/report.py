"""``invbench report``."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.words import overrides, submissions


@click.command("report")
@overrides
@click.option(
    "--from",
    "source",
    type=click.Choice(["store", "mlflow"]),
    default="store",
    show_default=True,
    help="Where to read the records of suite=.",
)
@submissions
@click.option(
    "--to",
    "out",
    type=click.Path(path_type=Path),
    help="Folder to write to; without it, <report_dir>/<suite>.",
)
@click.option(
    "--figures", is_flag=True, help="Also draw each board as SVG, PDF and PNG, for papers."
)
def command(
    words: tuple[str, ...],
    config_dir: Path | None,
    source: str,
    joining: tuple[str, ...],
    out: Path | None,
    figures: bool,
) -> None:
    """Write the boards of a suite's newest run, or of packs: a site that opens from disk.

    A word without "=" is a pack (a folder of results/published, or a .zip), a suite or an
    execution; several of them make one site: invbench report results/published/*. The same
    records give the same bytes, from the store and from MLflow. A planned trial without a record
    is said to be absent, and flags its row 'missing'.
    """
    from bench.contract import require
    from bench.engine import tracking
    from bench.engine.config import compose_grid
    from bench.exchange import pack, publish, sources

    names, settings_of = sources.split(words)
    settings = compose_grid(settings_of, config_dir).settings
    require(
        source == "store" or not names,
        "--from mlflow reads suite=; leave out --from to report packs, suites or executions.",
    )
    if source == "mlflow":
        records, pictures, manifest = tracking.fetch(settings.tracking.uri, settings.suite)
        require(bool(records), f"No trial of suite '{settings.suite}' has ended yet; run it first.")
        found = pack.Pack(settings.suite, records, manifest, pictures)
    else:
        packs = [sources.load(name, settings) for name in names]
        found = pack.together(packs or [sources.newest(settings)])
    found = sources.joined(found, joining, settings)
    site = publish.write(found, out or settings.report_dir / found.suite, figures, config_dir)
    if site.lacking:
        click.echo(f"{site.lacking}.")
    click.echo(f"{found.suite}: {site.trials} trials; report {site.page}")
