"""``invbench verify``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.completing import FILES
from bench.cli.printing import as_json, print_json, wrapped
from bench.cli.words import Given, foreign_code, show_code, signers, signing, takes
from bench.contract.errors import require

if TYPE_CHECKING:
    from bench.exchange.signatures import Attestation
    from bench.exchange.verify import Verification

_SHOWN = 10


@click.command("verify")
@takes("PACK", 1, 1, names=FILES)
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
@as_json
def command(
    given: Given,
    sample: int,
    seed: int,
    write: bool,
    by: str,
    key: Path | None,
    signers: Path | None,
    allow_code: tuple[str, ...],
    as_json: bool,
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
    signed = [] if checked.pack is None else [*api.attestations(checked.pack, signers)]
    noted = api.note(checked, by, sample, seed, key) if write and checked.pack is not None else None
    if as_json:
        print_json("verify/1", _plain(checked, signed, noted))
    else:
        _tell(checked, signed, noted, "Noted" if key is None else "Signed")
    sys.exit(1 if checked.failed else 0)


def _plain(
    checked: Verification, signed: Sequence[Attestation], noted: Path | None
) -> dict[str, object]:
    return {
        "pack": checked.path,
        "digest": None if checked.pack is None else checked.pack.digest,
        "verified": not checked.failed,
        "sentence": checked.sentence,
        "looked_at": checked.looked_at,
        "wrong": checked.wrong,
        "ran_again": checked.again.ran,
        "not_run": checked.again.absent,
        "source_changed": checked.again.changed,
        "signatures": signed,
        "noted_in": noted,
    }


def _tell(
    checked: Verification, signed: Sequence[Attestation], noted: Path | None, done: str
) -> None:
    if checked.pack is not None:
        click.echo(f"{checked.path}: {checked.looked_at}; digest {checked.pack.digest[:16]}")
        lines = [
            *(f"{attestation.sentence}." for attestation in signed),
            *(f"wrong: {line}." for line in checked.wrong[:_SHOWN]),
            *([f"and {len(checked.wrong) - _SHOWN} more."] if checked.wrong[_SHOWN:] else []),
            *(
                f"{trial['outcome']}: {trial['cell']}: {trial['said']}"
                for trial in checked.again.ran
            ),
            *([f"changed: {checked.again.changed}."] if checked.again.changed else []),
            *([f"not run: {checked.again.absent}."] if checked.again.absent else []),
        ]
        for line in lines:
            wrapped(line, "  ", "    ")
        if noted is not None:
            click.echo(f"{done} in {checked.path}; noted in {noted}.")
    click.echo(f"{checked.sentence}.")
