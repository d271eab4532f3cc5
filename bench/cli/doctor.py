"""``invbench doctor``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.words import overrides

if TYPE_CHECKING:
    from bench.engine.doctor import Fault
    from bench.engine.store import Store

_SHOWN = 20


@click.command("doctor")
@overrides
@click.option("--repair", is_flag=True, help="Set aside what is of no use, so that a run makes it "
              "again; nothing is deleted.")  # fmt: skip
@click.option(
    "--all", "everything", is_flag=True, help=f"Print every fault, not the first {_SHOWN}."
)
def command(
    words: tuple[str, ...], config_dir: Path | None, repair: bool, everything: bool
) -> None:
    """Hold every file of the store against the digest it was written with.

    Exit code: 0 all is well or has been set aside, 1 something is wrong, 2 a mistake.
    """
    from bench.contract import require
    from bench.engine import doctor
    from bench.engine.config import compose_grid
    from bench.engine.store import ASIDE, FAULTS, Store

    root = compose_grid(words, config_dir).settings.store
    require(root.is_dir(), f"There is no store '{root}'; name one with store=.")
    store = Store(root)
    faults: list[Fault] = []
    with click.progressbar(
        length=doctor.size(store), label=f"Looking at {root}", file=sys.stderr
    ) as bar:
        for fault in doctor.examine(store):
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
    said = ", ".join(f"{counts[what]} {what}" for what in doctor.WHATS if counts[what])
    results = doctor.size(store)
    click.echo(f"{root}: {results} results, {said or 'every file is what was written'}.")
    if not faults:
        return
    if not repair:
        click.echo("'invbench doctor --repair' sets these aside; nothing is deleted.")
        sys.exit(1)
    again = _trials(store, faults)
    for path, reason in {f.result: f.reason for f in faults}.items():
        store.set_aside(path, reason)
    click.echo(f"Set aside below {root / ASIDE}: {len({f.result for f in faults})}.")
    for line in again or ["No trial of any run is affected."]:
        click.echo(line)


def _trials(store: Store, faults: list[Fault]) -> list[str]:
    """What the same commands will compute again, run by run."""
    lost: dict[str, set[str]] = {}
    for fault in faults:
        place = fault.result.relative_to(store.root).parts
        if len(place) == 2:
            lost.setdefault(place[0], set()).add(place[1])
    lines = []
    for kind, keys in lost.items():
        if kind not in ("trial", "executions"):
            lines.append(
                f"{len(keys)} {kind} results will be computed again when a run reads them."
            )
    seen: set[str] = set()
    for manifest in store.executions():
        cells = [c for k, c in manifest["trials"].items() if k in lost.get("trial", ())]
        if cells and manifest["suite"] not in seen:
            seen.add(manifest["suite"])
            more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
            lines.append(
                f"{len(cells)} trials of {manifest['suite']} will be made again by "
                f"'{manifest['command']}': {', '.join(cells[:3])}{more}."
            )
    return lines
