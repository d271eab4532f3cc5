"""``invbench submit``."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.completing import FILES
from bench.cli.words import Given, signing, submissions, takes


@click.command("submit")
@takes("SOURCE", 1, 1, names=FILES)
@click.option(
    "--to",
    "out",
    required=True,
    type=click.Path(path_type=Path),
    help="File to write, ending in .zip, or a folder.",
)
@submissions
@click.option("--by", default="", help="Who submits; boards show it.")
@click.option("--note", default="", help="What it is, in a sentence.")
@click.option("--attack", metavar="NAME", help="Only what this attack and its baselines did.")
@click.option("--defense", metavar="NAME", help="Only this defense and what it is compared with.")
@signing
@click.option("--allow-dirty", is_flag=True, help="Even if it ran from a modified working copy.")
def command(
    given: Given,
    out: Path,
    joining: tuple[str, ...],
    by: str,
    note: str,
    attack: str | None,
    defense: str | None,
    key: Path | None,
    allow_dirty: bool,
) -> None:
    """Pack the results of SOURCE, a suite, an execution or a pack, for others to verify.

    A pack holds records, environment and digests, of a whole suite its tables and figures too; no
    data, no weights, and pictures only of data that may be shown. 'invbench verify FILE' checks
    it, 'invbench report BOARDS --with FILE' puts it on the boards: a new defense as a row, a
    stronger attack in every row it was run against. 'invbench submit BOARDS --with FILE --to NEW'
    packs the boards with it, to publish them.

    Refused: a modified working copy, failed controls, trials that did not end well or have no
    record, and a --defense that no attack adapted to. --sign KEY signs the pack's digest with an
    SSH key, in the name of --by.
    """
    from bench import api

    packed = api.submit(
        given.name,
        out,
        given.words,
        given.config_dir,
        joining,
        by=by,
        remark=note,
        attack=attack,
        defense=defense,
        allow_dirty=allow_dirty,
        key=key,
    )
    click.echo(f"{out}: {packed.trials} trials of {packed.suite}; digest {packed.digest[:16]}")
    if packed.dropped:
        click.echo(
            f"{packed.dropped} signatures of what it was made from are not in it: they are of "
            "another digest."
        )
    click.echo(f"Verify it: invbench verify {out}")
    if attack or defense:
        click.echo(f"On the boards it is for: invbench report BOARDS --with {out} --to DIR")
