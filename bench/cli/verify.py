"""``invbench verify``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bench.cli.words import Given, foreign_code, show_code, signers, signing, takes
from bench.contract.errors import require

_SHOWN = 10


@click.command("verify")
@takes("PACK", 1, 1)
@click.option(
    "--sample",
    default=3,
    show_default=True,
    help="Trials to run again, spread over the boards; 0: only what needs no training.",
)
@click.option("--seed", default=0, show_default=True, help="Which trials are drawn.")
@click.option("--write", is_flag=True, help="Note the outcome in the pack, for boards to show.")
@click.option("--by", default="", help="Who verifies; needed with --write and --sign.")
@signing
@signers
@foreign_code
def command(
    given: Given,
    sample: int,
    seed: int,
    write: bool,
    by: str,
    key: Path | None,
    signers: Path | None,
    allow_code: tuple[str, ...],
) -> None:
    """Check a pack, a folder or a .zip, and run a sample of its trials again.

    Without training: digests, record schema, that every listed trial is there once, L, M and the
    success without the model of every record from its parts, that its rows may share boards, and
    leaderboard.csv and .md from the records. Then its grid is planned here, and must be what it
    holds; a sample of the trials whose data is here (data_root=) is run again in a fresh store.
    Each is held against its record, bit for bit, and where machine or source differ against the
    95% interval of its row, widened to one seed. What is not drawn is not run: of figures that are
    wrong but fit each other, a sample of k among n trials finds one with probability k/n.

    A pack is a stranger's: its overrides are data and may say only what a grid needs, and it runs
    no code but ours unless --allow-code names the package. --sign KEY signs the outcome, and
    implies --write.

    Exit code: 0 verified, 1 something does not hold, 2 a mistake.
    """
    from bench import api

    write = write or key is not None
    require(not write or bool(by), "--write and --sign note who verified; give --by NAME.")
    path = Path(given.name)
    show_code(allow_code, given.config_dir)
    checked = api.verify(path, given.words, given.config_dir, sample, seed, allow_code)
    if checked.pack is not None:
        click.echo(f"{path}: {checked.looked_at}; digest {checked.pack.digest[:16]}")
        for attestation in api.attestations(checked.pack, signers):
            click.echo(f"  {attestation.sentence}.")
        for line in checked.wrong[:_SHOWN]:
            click.echo(f"  wrong: {line}.")
        if len(checked.wrong) > _SHOWN:
            click.echo(f"  and {len(checked.wrong) - _SHOWN} more.")
        for trial in checked.again.ran:
            click.echo(f"  {trial['outcome']}: {trial['cell']}: {trial['said']}")
        if checked.again.changed:
            click.echo(f"  changed: {checked.again.changed}.")
        if checked.again.absent:
            click.echo(f"  not run: {checked.again.absent}.")
        if write:
            beside = api.note(checked, by, sample, seed, key)
            click.echo(f"{'Noted' if key is None else 'Signed'} in {path}; noted in {beside}.")
    click.echo(f"{checked.sentence}.")
    sys.exit(1 if checked.failed else 0)
