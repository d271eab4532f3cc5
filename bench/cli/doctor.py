"""``invbench doctor``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.printing import as_json, print_json, wrapped
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
@as_json
def command(
    given: Given, repair: bool, everything: bool, folder: Path | None, as_json: bool
) -> None:
    """Hold everything in the store against the digest it was written with.

    Exit code: 0 all is well or has been set aside, 1 something is wrong, 2 a mistake.
    """
    from bench import api
    from bench.engine.store import ASIDE, FAULTS

    if folder is not None:
        count = api.export(folder, words=given.words, config_dir=given.config_dir)
        if as_json:
            print_json("doctor.export/1", {"folder": folder, "results": count})
        else:
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
    count, again = api.repair(store, faults) if faults and repair else (0, [])
    if as_json:
        listed = [{**asdict(fault), "path": fault.path.relative_to(root)} for fault in faults]
        done = {"set_aside": count, "computed_again": again}
        print_json("doctor/1", {"store": root, "results": store.count(), "faults": listed, **done})
    else:
        _tell(root, store.count(), faults, everything)
        if faults and repair:
            click.echo(f"Set aside below {root / ASIDE}: {count}.")
            for line in again or ["No trial of any run is affected."]:
                click.echo(line)
        elif faults:
            click.echo("'invbench doctor --repair' sets these aside; nothing is deleted.")
    sys.exit(1 if faults and not repair else 0)


def _tell(root: Path, results: int, faults: Sequence[Fault], everything: bool) -> None:
    from bench.engine import doctor

    for fault in faults if everything else faults[:_SHOWN]:
        label = f" ({fault.label})" if fault.label else ""
        sentence = f"{fault.path.relative_to(root)}: {fault.reason}{label}"
        wrapped(sentence, f"{fault.what:9} ")
    if len(faults) > _SHOWN and not everything:
        click.echo(f"and {len(faults) - _SHOWN} more; --all prints them.")
    counts = Counter(fault.what for fault in faults)
    summary = ", ".join(f"{counts[what]} {what}" for what in doctor.WHATS if counts[what])
    click.echo(f"{root}: {results} results, {summary or 'all is what was written'}.")
