"""``invbench inventory``."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime
from typing import TYPE_CHECKING

import click

from bench.cli.words import Given, table, takes

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


@click.command("inventory")
@takes()
@click.option(
    "--today", type=click.DateTime(["%Y-%m-%d"]), help="The day to look on; without it, today."
)
@click.option("--fail-on-expired", is_flag=True, help="Exit code 1 if one has expired.")
@click.option("--json", "as_json", is_flag=True, help="Print every field as JSON.")
def command(given: Given, today: datetime | None, fail_on_expired: bool, as_json: bool) -> None:
    """List the models that 'invbench gate --register' put into the registry, expired ones first."""
    from bench import api

    day = today.date() if today is not None else date.today()  # noqa: DTZ011
    entries = api.inventory(day, given.words, given.config_dir)
    late = [entry for entry in entries if entry.expired(day)]
    if as_json:
        fields = [
            {
                "model": entry.name,
                "version": entry.version,
                "expired": entry.expired(day),
                **{k: v for k, v in sorted(entry.tags.items()) if k.startswith("privacy.")},
            }
            for entry in entries
        ]
        click.echo(json.dumps(fields, indent=1))
    elif entries:
        table([_COLUMNS, *(_row(entry, entry.expired(day)) for entry in entries)])
        click.echo(f"{len(entries)} assessed, {len(late)} expired.")
    else:
        uri = api.settings(given.words, given.config_dir).tracking.uri
        click.echo(f"No assessed model in MLflow at '{uri}'; 'invbench gate --register' adds one.")
    sys.exit(1 if late and fail_on_expired else 0)


def _row(entry: Entry, expired: bool) -> list[str]:
    codes = [code for code in entry.get("goals_assessed").split(",") if code]
    ends = "; ".join(
        f"{code} L {entry.get(f'Lstar_{code}_upper95') or '-'}, "
        f"M {entry.get(f'M_{code}_upper95') or '-'}"
        for code in codes
    )
    until = entry.get("valid_until")
    return [
        entry.name,
        entry.version,
        entry.get("gate"),
        "expired" if expired else entry.get("pia_status"),
        f"{until} EXPIRED" if expired else until,
        entry.get("access_exposed"),
        entry.get("defense_id"),
        ends,
        entry.get("data_sources"),
        f"{entry.get('evidence')} ({entry.get('benchmark_release')}, "
        f"{entry.get('trial_set_sha256')[:12]})",
    ]
