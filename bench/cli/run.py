"""``invbench run``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from bench.cli.words import overrides

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
    from bench.cli.publish import publish
    from bench.engine.execution import execute, prepare

    started = time.monotonic()
    if rerun:
        words = (*words, f"rerun={rerun}")
    grid, plan = prepare(words, config_dir)
    if plan.skipped:
        click.echo(
            f"{sum(plan.skipped.values())} cells are left out ('invbench plan' says why); "
            f"{_absent(plan.skipped)}",
            err=True,
        )
    done = execute(grid, plan, config_dir)
    page = publish(done)
    out = done.outcome
    bad = len(out.records) - out.count("done", "skipped")
    computed = sum(out.computed.values())
    click.echo(
        f"{grid.settings.suite}: {out.count('done')} of {len(plan.trials)} trials done, "
        f"{bad} failed, {out.count('skipped')} skipped; {computed} nodes computed, "
        f"{out.cached} cached; "
        f"{time.monotonic() - started:.1f} s; report {page or 'not written: no trial has ended'}"
    )
    if out.interrupted:
        sys.exit(130)
    sys.exit(1 if bad or out.count("skipped") else 0)


def _absent(skipped: object) -> str:
    assert isinstance(skipped, dict)
    missing = [f"{what}: {reason}" for what, reason in skipped if " x " not in what]
    return "; ".join(missing) + "." if missing else "no data is missing."
