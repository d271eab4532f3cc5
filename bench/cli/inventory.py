"""``invbench inventory``."""

from __future__ import annotations

import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.printing import as_json, print_json, table, wrapped
from bench.cli.words import Given, takes
from bench.contract.errors import require

if TYPE_CHECKING:
    from bench.decide.registry import Entry

_COLUMNS = [
    "model",
    "version",
    "gate",
    "assessment",
    "valid until",
    "exposed",
    "defense",
    "L and M, upper ends",
    "data",
    "evidence",
]
_SPARE = ("evidence", "data", "defense", "exposed", "assessment", "L and M, upper ends")


@click.command("inventory")
@takes()
@click.option(
    "--today", type=click.DateTime(["%Y-%m-%d"]), help="The day to look on; without it, today."
)
@click.option("--fail-on-expired", is_flag=True, help="Exit code 1 if one has expired.")
@click.option(
    "--from",
    "listed",
    type=click.Path(path_type=Path),
    help="The inventory that your team keeps: a YAML file with users, sharing and exposure points "
    "of each model. Without it, what the registry has.",
)
@click.option("--check", is_flag=True, help="Exit code 1 if --from and the registry differ.")
@click.option("--template", is_flag=True, help="Print a commented file for --from and stop.")
@as_json
def command(
    given: Given,
    today: datetime | None,
    fail_on_expired: bool,
    listed: Path | None,
    check: bool,
    template: bool,
    as_json: bool,
) -> None:
    """List the models that 'invbench gate --register' put into the registry, expired ones first.

    With --from models.yaml, list those of a file that a team keeps in git, who uses them, with whom
    they are shared and where they answer, and where that differs from the registry.
    """
    from bench import api

    day = today.date() if today is not None else date.today()  # noqa: DTZ011
    require(listed is not None or not check, "--check compares a file; name it with --from.")
    if template:
        from bench.decide.inventory import TEMPLATE

        click.echo(TEMPLATE, nl=False)
        return
    if listed is not None:
        _kept(listed, given, day, as_json, check, fail_on_expired)
        return
    entries = api.inventory(day, given.words, given.config_dir)
    late = [entry for entry in entries if entry.expired(day)]
    if as_json:
        print_json("inventory/1", {"models": [_fields(entry, day) for entry in entries]})
    elif entries:
        table([_COLUMNS, *(_row(entry, entry.expired(day)) for entry in entries)], _SPARE)
        click.echo(f"{len(entries)} assessed, {len(late)} expired.")
    else:
        uri = api.settings(given.words, given.config_dir).tracking.uri
        click.echo(f"No assessed model in MLflow at '{uri}'; 'invbench gate --register' adds one.")
    sys.exit(1 if late and fail_on_expired else 0)


def _fields(entry: Entry, day: date) -> dict[str, Any]:
    return {
        "model": entry.name,
        "version": entry.version,
        "expired": entry.expired(day),
        **{k: v for k, v in sorted(entry.tags.items()) if k.startswith("privacy.")},
    }


def _kept(
    path: Path, given: Given, day: date, as_json: bool, check: bool, fail_on_expired: bool
) -> None:
    """List the models of a team's file, and where it differs from the registry."""
    from bench import api
    from bench.decide import inventory

    models, entries, differences = api.kept(path, given.words, given.config_dir)
    require(
        entries is not None or not (check or fail_on_expired),
        "--check and --fail-on-expired look into the registry; leave out tracking=none.",
    )
    registered = {(entry.name, entry.version): entry for entry in entries or ()}
    late = [m for m in models if (e := registered.get(m.key)) is not None and e.expired(day)]
    if as_json:
        listed = [
            {
                "model": model.described.name,
                "version": model.described.version,
                **inventory.plain(model),
                "registry": _fields(registered[model.key], day)
                if model.key in registered
                else None,
            }
            for model in models
        ]
        print_json("inventory.kept/1", {"models": listed, "differences": differences})
    else:
        table([[*inventory.COLUMNS], *map(inventory.row, models)])
        if entries is None:
            click.echo("Not compared with the registry: tracking=none.")
        for sentence in differences:
            wrapped(sentence, "  ")
        click.echo(f"{len(models)} listed, {len(late)} expired, {len(differences)} differences.")
    sys.exit(1 if (check and differences) or (fail_on_expired and late) else 0)


def _row(entry: Entry, expired: bool) -> list[str]:
    codes = [code for code in entry.get("goals_assessed").split(",") if code]
    ends = "; ".join(
        f"{code} L {entry.get(f'Lstar_{code}_upper95') or '-'}, "
        f"M {entry.get(f'M_{code}_upper95') or '-'}"
        for code in codes
    )
    until, incident = entry.get("valid_until"), entry.get("incident")
    late = f"expired by the incident of {incident[:16]}" if incident else "expired"
    return [
        entry.name,
        entry.version,
        entry.get("gate"),
        late if expired else entry.get("pia_status"),
        f"{until} EXPIRED" if expired else until,
        entry.get("access_exposed"),
        entry.get("defense_id"),
        ends,
        entry.get("data_sources"),
        f"{entry.get('evidence')} (of {entry.get('evidence_of') or 'an unknown model'}; "
        f"{entry.get('benchmark_release')}, {entry.get('trial_set_sha256')[:12]})",
    ]
