"""``invbench ui``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from bench.cli.words import overrides


@click.command("ui")
@overrides
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def command(words: tuple[str, ...], config_dir: Path | None, port: int) -> None:
    """Start the MLflow UI on this machine only (127.0.0.1); Ctrl-C stops it."""
    from bench.contract import require
    from bench.engine.config import compose_grid

    tracking = compose_grid(words, config_dir).settings.tracking
    require(tracking.name == "mlflow", "tracking=none has no UI; leave it out.")
    require(
        not tracking.uri.startswith("http"),
        f"'{tracking.uri}' is a server with a UI of its own; open it in a browser.",
    )
    click.echo(f"MLflow UI of {tracking.uri}: http://127.0.0.1:{port} (Ctrl-C stops it)", err=True)
    sys.stderr.flush()
    words_ = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", tracking.uri]
    os.execv(sys.executable, [*words_, "--host", "127.0.0.1", "--port", str(port)])
