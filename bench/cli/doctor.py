"""``invbench doctor``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
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
@click.option(
    "--export",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Instead write all that is in order as plain folders, KIND/IDENTITY/record.json.",
)
def command(given: Given, repair: bool, everything: bool, folder: Path | None) -> None:
    """Hold everything in the store against the digest it was written with.

    Exit code: 0 all is well or has been set aside, 1 something is wrong, 2 a mistake.
    """
    from bench import api
    from bench.engine import doctor
    from bench.engine.store import ASIDE, FAULTS

    if folder is not None:
        count = api.export(folder, words=given.words, config_dir=given.config_dir)
        click.echo(f"{folder}: {count} results.")
        return
    store, looks = api.examine(given.words, given.config_dir)
    root = store.root
    faults: list[Fault] = []
    with click.progressbar(
        length=store.count(), label=f"Looking at {root}", file=sys.stderr
    ) as bar:
        for fault in looks:
            if fault is None:
                bar.update(1)
            else:
                faults.append(fault)
    for path in [path for path in FAULTS if path.suffix != ".sqlite"]:
        del FAULTS[path]  # they are all told below; not what became of a damaged database
    for fault in faults if everything else faults[:_SHOWN]:
        what = f"{fault.what:9} {fault.path.relative_to(root)}: {fault.reason}"
        click.echo(what + (f" ({fault.label})" if fault.label else ""))
    if len(faults) > _SHOWN and not everything:
        click.echo(f"and {len(faults) - _SHOWN} more; --all prints them.")
    counts = Counter(fault.what for fault in faults)
    summary = ", ".join(f"{counts[what]} {what}" for what in doctor.WHATS if counts[what])
    click.echo(f"{root}: {store.count()} results, {summary or 'all is what was written'}.")
    if not faults:
        return
    if not repair:
        click.echo("'invbench doctor --repair' sets these aside; nothing is deleted.")
        sys.exit(1)
    count, again = api.repair(store, faults)
    click.echo(f"Set aside below {root / ASIDE}: {count}.")
    for line in again or ["No trial of any run is affected."]:
        click.echo(line)
