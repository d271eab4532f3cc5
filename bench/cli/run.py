"""``invbench run``."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from bench.cli.words import Given, takes

if TYPE_CHECKING:
    from bench.api.in_memory import Results, RunSummary

_SHOWN = 5

_HELP = """Run a suite: train, attack, record, publish the boards.

\b
Examples:
  invbench run
  invbench run suite=smoke 'defense=[none,dp_sgd]' seeds=5 label=mine
  invbench run suite=smoke 'defense=[dp_sgd]' defense.dp_sgd.epsilon=3
  invbench run suite=sectors data_root=DIR backend=local tracking=none
  invbench run backend.address=auto resources.default.num_gpus=0.25

Running the same command again computes nothing; after an interruption it goes on where it stopped.
A grid that overrides changed gets a report of its own; label= names it.
Two of the same command on one store share the work; a machine that is lost costs no result.
Exit code: 0 all trials ended well, 1 some did not, 2 a mistake or the back end failed,
130 interrupted.
"""


@click.command("run", help=_HELP)
@takes()
@click.option(
    "--rerun",
    type=click.Choice(["failed", "all", "never"]),
    help="What to run again although it is recorded (default: never).",
)
def command(given: Given, rerun: str | None) -> None:
    """Run a suite."""
    from bench.engine.driving.stopping import Stop

    # A polite kill is heeded before the rest is loaded, and until the report is written.
    with Stop().listening(to_the_end=True):
        from bench import api

        started = time.monotonic()
        words = (*given.words, f"rerun={rerun}") if rerun else given.words
        results = api.run(words, given.config_dir)
        _tell(results, time.monotonic() - started)
    summary = results.summary
    assert summary is not None
    if summary.interrupted:
        sys.exit(130)
    if summary.state == "broken":
        sys.exit(2)
    sys.exit(1 if summary.failed or summary.ended.get("skipped") or summary.incomplete else 0)


def _tell(results: Results, seconds: float) -> None:
    summary, site = results.summary, results.site
    assert summary is not None
    if summary.left_out:
        cells = sum(summary.left_out.values())
        click.echo(f"{cells} cells are left out; 'invbench plan' says why.", err=True)
        for what, reason in summary.left_out:
            if " x " not in what:
                click.echo(f"{what}: {reason}.", err=True)
    click.echo(
        f"{summary.label}: {summary.ended.get('done', 0)} of {summary.trials} trials done, "
        f"{summary.failed} failed, {summary.ended.get('skipped', 0)} skipped; "
        f"{sum(summary.computed.values())} nodes computed, {summary.cached} cached; "
        f"{seconds:.1f} s; report {site.page if site else 'not written: no trial has ended'}"
    )
    _tell_machines(summary)
    for old, new, reason in summary.set_aside[:_SHOWN]:
        click.echo(f"Set aside and made again: {old}: {reason}; it is kept as {new}.", err=True)
    if len(summary.set_aside) > _SHOWN:
        click.echo(f"{len(summary.set_aside)} damaged results were made again in all.", err=True)
    if summary.untracked:
        click.echo(
            f"MLflow did not take the run ({summary.untracked}); the store has everything: "
            f"the next run sends what is left, or 'invbench sync label={summary.label}' does.",
            err=True,
        )
    if site and site.lacking:
        click.echo(f"{site.lacking}.")
    for reason, count in list(summary.reasons.items())[:_SHOWN]:
        click.echo(f"  {count} trials: {reason}", err=True)
    if summary.reasons:
        click.echo(
            f"'invbench show TRIAL' tells more, '--rerun failed' tries again; log: {summary.log}",
            err=True,
        )


def _tell_machines(summary: RunSummary) -> None:
    """What was no trial's fault."""
    if summary.elsewhere:
        click.echo(f"{summary.elsewhere} nodes were computed by another run on this store.")
    for reason, count in list(summary.losses.items())[:_SHOWN]:
        click.echo(f"Nodes lost with their machine, {count} times: {reason}", err=True)
    for machine, reason in list(summary.machines.items())[:_SHOWN]:
        click.echo(f"Machine '{machine}' was given no more work: {reason}", err=True)
    for label, reason in list(summary.left_open.items())[:_SHOWN]:
        click.echo(f"Left without a result after too many losses: {label}: {reason}", err=True)
    if summary.reason:
        click.echo(f"The run stopped ({summary.state}): {summary.reason}", err=True)
    if summary.incomplete:
        click.echo(
            f"{summary.incomplete} trials have not ended; the same command goes on with them.",
            err=True,
        )
