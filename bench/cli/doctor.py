"""``invbench doctor``."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import click

from bench.cli.words import Given, takes

if TYPE_CHECKING:
    from bench.engine.doctor import Fault

_SHOWN = 20


@click.command("doctor")
@takes()
@click.option(
    "--repair",
    is_flag=True,
    help="Set aside what is of no use, so that a run makes it again; nothing is deleted.",
)
@click.option(
    "--all", "everything", is_flag=True, help=f"Print every fault, not the first {_SHOWN}."
)
def command(given: Given, repair: bool, everything: bool) -> None:
    """Hold every file of the store against the digest it was written with.

    Exit code: 0 all is well or has been set aside, 1 something is wrong, 2 a mistake.
    """
    from bench import api
    from bench.engine import doctor
    from bench.engine.store import ASIDE, FAULTS

    store, looks = api.examine(given.words, given.config_dir)
    root = store.root
    faults: list[Fault] = []
    with click.progressbar(
        length=doctor.size(store), label=f"Looking at {root}", file=sys.stderr
    ) as bar:
        for fault in looks:
            if fault is None:
                bar.update(1)
            else:
                faults.append(fault)
    FAULTS.clear()  # they are all told below
    for fault in faults if everything else faults[:_SHOWN]:
        what = f"{fault.what:9} {fault.path.relative_to(root)}: {fault.reason}"
        click.echo(what + (f" ({fault.label})" if fault.label else ""))
    if len(faults) > _SHOWN and not everything:
        click.echo(f"and {len(faults) - _SHOWN} more; --all prints them.")
    counts = Counter(fault.what for fault in faults)
    summary = ", ".join(f"{counts[what]} {what}" for what in doctor.WHATS if counts[what])
    results = doctor.size(store)
    click.echo(f"{root}: {results} results, {summary or 'every file is what was written'}.")
    if not faults:
        return
    if not repair:
        click.echo("'invbench doctor --repair' sets these aside; nothing is deleted.")
        sys.exit(1)
    again = api.repair(store, faults)
    click.echo(f"Set aside below {root / ASIDE}: {len({f.result for f in faults})}.")
    for line in again or ["No trial of any run is affected."]:
        click.echo(line)
