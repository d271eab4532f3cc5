"""``invbench report``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.completing import FILES
from bench.cli.printing import as_json, print_json
from bench.cli.words import Given, signers, submissions, takes, tell_joined

if TYPE_CHECKING:
    from bench.report.latex import Columns


@click.command("report")
@takes("[PACK|SUITE]...", 0, None, names=FILES)
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
    help="Folder to write to; without it, <report_dir>/<label>.",
)
@click.option(
    "--figures", is_flag=True, help="Also draw each board as SVG, PDF and PNG, for papers."
)
@click.option(
    "--columns",
    type=click.Choice(["1", "2", "page"]),
    default="1",
    show_default=True,
    help="Where the tables of leaderboard.tex are to stand: in the text of an article of one "
    "column, in one of two columns, or across both (page).",
)
@click.option("--author", "authors", multiple=True, help="Author of the report; may be repeated.")
@click.option("--licence", default="", help="Licence of its pages and figures, as 'CC BY 4.0'.")
@click.option("--url", default="", help="Address at which it will be found, for permalinks.")
@signers
@as_json
def command(
    given: Given,
    source: Any,
    joining: tuple[str, ...],
    out: Path | None,
    figures: bool,
    columns: Columns,
    signers: Path | None,
    authors: tuple[str, ...],
    licence: str,
    url: str,
    as_json: bool,
) -> None:
    """Write the boards of a suite's newest run, or of packs: a site that opens from disk.

    A word without "=" is a pack (a folder of results/published, or a .zip), a suite or an
    execution; several of them make one site: invbench report results/published/*. The same
    records give the same bytes, from the store and from MLflow. A planned trial without a record
    is said to be absent, and flags its row 'missing'.
    """
    from bench import api

    results = api.report(
        *given.names,
        words=given.words,
        config_dir=given.config_dir,
        joining=joining,
        source=source,
        to=out,
        figures=figures,
        columns=columns,
        signers=signers,
        authors=authors,
        licence=licence,
        url=url,
    )
    tell_joined(results.pack.notes, joining)
    site = results.site
    assert site is not None
    if as_json:
        rows = results.boards().replace([math.inf, -math.inf], math.nan)
        boards = rows.to_json(orient="records", double_precision=10, default_handler=str)
        print_json(
            "report/1",
            {
                "suite": results.pack.suite,
                "page": site.page,
                "trials": site.trials,
                "lacking": site.lacking,
                "joined": results.pack.notes.get("submissions", []),
                "boards": json.loads(boards),
            },
        )
        return
    if site.lacking:
        click.echo(f"{site.lacking}.")
    click.echo(f"{results.pack.suite}: {site.trials} trials; report {site.page}")
