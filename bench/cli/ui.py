"""``invbench ui``."""

from __future__ import annotations

import os
import sys

import click

from bench.cli.words import Given, takes
from bench.contract.errors import require
from bench.contract.secrets import redacted


@click.command("ui")
@takes()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def command(given: Given, port: int) -> None:
    """Start the MLflow UI on this machine only (127.0.0.1); Ctrl-C stops it."""
    from bench import api

    tracking = api.settings(given.words, given.config_dir).tracking
    require(tracking.name == "mlflow", "tracking=none has no UI; leave it out.")
    require(
        not tracking.uri.startswith("http"),
        f"'{tracking.uri}' is a server with a UI of its own; open it in a browser.",
    )
    click.echo(
        f"MLflow UI of {redacted(tracking.uri)}: http://127.0.0.1:{port} (Ctrl-C stops it)",
        err=True,
    )
    sys.stderr.flush()
    # By a variable: everybody on this machine can read the words of a command.
    os.environ["MLFLOW_BACKEND_STORE_URI"] = tracking.uri
    start = [sys.executable, "-m", "mlflow", "ui"]
    os.execv(sys.executable, [*start, "--host", "127.0.0.1", "--port", str(port)])
