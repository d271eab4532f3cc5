"""``invbench reproduce``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.printing import as_json, paste, print_json, wrapped
from bench.cli.words import Given, foreign_code, show_code, takes

if TYPE_CHECKING:
    from bench.exchange.reproduce import Reproduction


@click.command("reproduce")
@takes("TRIAL", 1, 1)
@click.option(
    "--from",
    "source",
    metavar="PACK",
    help="Pack, suite or execution the trial is in; without it the store is searched.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    help="Empty folder for the store of the new run; without it a temporary one is used.",
)
@foreign_code
@as_json
def command(
    given: Given,
    source: str | None,
    keep: Path | None,
    allow_code: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run one recorded trial again, from nothing, and compare it with its record.

    The trial is named by the beginning of its identity or by its cell, dataset/model/defense/
    attack/seed. Its suite is composed again as its run was, here: data_root= says where real data
    is, store= where the record is; other words are added to the suite's own. What the store has is
    your own and runs as it ran. A pack of --from is a stranger's: its overrides are data, and it
    runs no code but ours unless --allow-code names the package.

    Exit code: 0 reproduced (bit for bit; in another environment, from another version or on a GPU
    leakage, member gap and utility within 0.01), 1 not reproduced, 2 a mistake.
    """
    from bench import api

    show_code(allow_code, given.config_dir)
    made = api.reproduce(given.name, given.words, given.config_dir, source, keep, allow_code)
    if as_json:
        print_json("reproduce/1", _plain(made))
    else:
        _tell(made)
    sys.exit(0 if made.good else 1)


def _plain(made: Reproduction) -> dict[str, object]:
    old, new, like = made.old, made.new, made.likeness
    return {
        "cell": old.cell.key(),
        "trial_id": old.trial_id,
        "recorded_utc": old.created_utc,
        "reproduced": made.good,
        "outcome": like.outcome,
        "sentence": like.said,
        "exact": like.exact,
        "changes": made.changes,
        "figures": [
            {"name": name, "recorded": before, "now": after} for name, before, after in made.figures
        ],
        "same_bits": like.facts,
        "environment": like.environment,
        "error": new.error,
        "by_hand": made.by_hand,
    }


def _tell(made: Reproduction) -> None:
    old, new, like = made.old, made.new, made.likeness
    click.echo(f"{old.cell.key()}: trial {old.trial_id[:12]}, recorded {old.created_utc}.")
    if made.changes:
        click.echo("It has changed since:")
    for line in made.changes:
        wrapped(line, "  ", "    ")
    click.echo(f"  {'':22} {'recorded':>12}  {'now':>12}")
    for label, before, after in made.figures:
        shown = ["-" if value is None else f"{value:.6f}" for value in (before, after)]
        click.echo(f"  {label:22} {shown[0]:>12}  {shown[1]:>12}")
    for fact, same in like.facts.items():
        click.echo(f"  {fact:22} {'the same bit for bit' if same else 'not the same bits'}")
    for line in like.environment:
        wrapped(line, f"  {'environment':22} ")
    if new.error is not None and like.outcome != "identical":
        wrapped(f"{new.error.type}: {new.error.message}", f"  {'error':22} ")
    click.echo("By hand:")
    for line in made.by_hand:
        paste(line, "  ")
    click.echo(f"{'Reproduced' if made.good else 'NOT reproduced'}: {like.said}.")
