"""``invbench audit``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bench.cli.words import Given, table, takes

_HEAD = ["account", "detector", "query", "time", "statistic", "threshold"]


@click.command("audit")
@takes("LOG", 1, 1)
@click.option(
    "--benign",
    type=click.Path(path_type=Path),
    help="Log of accounts known to be benign, as long in time as LOG: detectors are calibrated on "
    "it. Without it, the accounts of LOG that asked first are taken for benign.",
)
@click.option(
    "--calibrate",
    default=0.5,
    show_default=True,
    help="Share of LOG's accounts that are taken for benign; only without --benign.",
)
@click.option(
    "--fpr",
    default=0.01,
    show_default=True,
    help="Benign accounts that each detector flags, at most.",
)
@click.option(
    "--detector",
    "names",
    multiple=True,
    metavar="NAME",
    help="prada, stateful, ood, concentration or volume; may be given several times. Without it, "
    "all that the log allows.",
)
@click.option("--fail-on-flag", is_flag=True, help="Exit code 1 if an account is flagged.")
def command(
    given: Given,
    benign: Path | None,
    calibrate: float,
    fpr: float,
    names: tuple[str, ...],
    fail_on_flag: bool,
) -> None:
    """Look for accounts that probe in a log of queries: invbench audit queries.csv.

    LOG is CSV, Parquet or JSON lines with a row per query: time (seconds, or ISO 8601), account,
    and what was answered (label; score0, score1, ...; or score, of the second of two classes).
    Detectors that look at records take the columns x0, x1, ..., or else all other numbers.
    Rows need not be sorted. A label of -1 or none at all is a refused query. The trail.parquet
    that a run keeps of every attack is such a log, without records.

    An account is flagged where a statistic exceeds what benign accounts reach: volume (queries in
    30 days), concentration (share of one class in 50 answers), ood (distance from ordinary
    records, mean of 20), stateful (minus the mean distance to the 10 nearest earlier queries),
    prada (1 - W of Shapiro and Wilk). No detector sees a prober that asks only natural records.
    """
    from bench import api

    audit = api.audit(Path(given.name), benign, names, fpr, calibrate)
    for note in audit.notes:
        click.echo(note)
    rows = [
        [
            flag.account,
            flag.detector,
            str(flag.query),
            str(flag.time),
            f"{flag.statistic:.4g}",
            f"{flag.limit:.4g}",
        ]
        for flag in audit.flags
    ]
    if rows:
        table([_HEAD, *rows])
    flagged = len({flag.account for flag in audit.flags})
    click.echo(f"{flagged} of {audit.audited} audited accounts flagged.")
    sys.exit(1 if flagged and fail_on_flag else 0)
