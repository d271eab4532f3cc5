"""``invbench run``."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from bench.cli.words import overrides
from bench.contract.record import TrialRecord

_REASONS = 5

_HELP = """Run a suite: train, attack, record, publish the boards.

\b
Examples:
  invbench run
  invbench run suite=smoke 'defense=[none,dp_sgd]' defense.dp_sgd.epsilon=3 seeds=5
  invbench run suite=sectors data_root=DIR backend=local tracking=none
  invbench run suite=smoke backend.address=auto resources.default.num_gpus=0.25

Running the same command again computes nothing; after an interruption it goes on where it stopped.
Exit code: 0 all trials ended well, 1 some did not, 2 a mistake, 130 interrupted.
"""


@click.command("run", help=_HELP)
@overrides
@click.option(
    "--rerun",
    type=click.Choice(["failed", "all", "never"]),
    help="What to run again although it is recorded (default: never).",
)
def command(words: tuple[str, ...], config_dir: Path | None, rerun: str | None) -> None:
    """Run a suite."""
    from bench.engine.execution import execute, prepare
    from bench.exchange.publish import publish

    started = time.monotonic()
    if rerun:
        words = (*words, f"rerun={rerun}")
    grid, plan = prepare(words, config_dir)
    if plan.skipped:
        cells = sum(plan.skipped.values())
        click.echo(f"{cells} cells are left out; 'invbench plan' says why.", err=True)
        for what, reason in plan.skipped:
            if " x " not in what:
                click.echo(f"{what}: {reason}.", err=True)
    done = execute(grid, plan, config_dir)
    site = publish(done)
    out = done.outcome
    bad = len(out.records) - out.count("done", "skipped")
    computed = sum(out.computed.values())
    page = site.page if site else "not written: no trial has ended"
    click.echo(
        f"{grid.settings.suite}: {out.count('done')} of {len(plan.trials)} trials done, "
        f"{bad} failed, {out.count('skipped')} skipped; {computed} nodes computed, "
        f"{out.cached} cached; "
        f"{time.monotonic() - started:.1f} s; report {page}"
    )
    for old, new, reason in out.set_aside[:_REASONS]:
        click.echo(f"Set aside and made again: {old}: {reason}; it is kept as {new}.", err=True)
    if len(out.set_aside) > _REASONS:
        click.echo(f"{len(out.set_aside)} damaged results were made again in all.", err=True)
    if site and site.lacking:
        click.echo(f"{site.lacking}.")
    _say_failures(out.records)
    if out.interrupted:
        sys.exit(130)
    sys.exit(1 if bad or out.count("skipped") else 0)


def _say_failures(records: Sequence[TrialRecord]) -> None:
    """Every reason once, with the number of trials it cost."""
    reasons = Counter(
        f"{r.error.type}: {r.error.message}" if r.error.type != "Upstream" else r.error.message
        for r in records
        if r.error is not None
    )
    for reason, count in reasons.most_common(_REASONS):
        click.echo(f"  {count} trials: {reason}", err=True)
    if reasons:
        click.echo("'invbench show TRIAL' tells more; '--rerun failed' tries again.", err=True)
