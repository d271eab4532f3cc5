"""``invbench inventory``."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime

import click

_COLUMNS = ("model", "version", "gate", "assessment", "valid until", "exposed", "defense",
            "L and M, upper ends", "data", "evidence")  # fmt: skip


@click.command("inventory")
@click.option(
    "--today", type=click.DateTime(["%Y-%m-%d"]), help="The day to look on; without it, today."
)
@click.option("--fail-on-expired", is_flag=True, help="Exit code 1 if one has expired.")
@click.option("--set", "words", multiple=True, metavar="KEY=VALUE", help="Settings, tracking.uri=.")
@click.option("--json", "as_json", is_flag=True, help="Print every field as JSON.")
def command(
    today: datetime | None, fail_on_expired: bool, words: tuple[str, ...], as_json: bool
) -> None:
    """List the models that 'invbench gate --register' put into the registry, expired ones first."""
    from bench.contract import require
    from bench.decide import registry
    from bench.engine.config import compose_grid

    tracking = compose_grid(words).settings.tracking
    require(tracking.name == "mlflow", "The inventory is in MLflow; leave out tracking=none.")
    day = today.date() if today is not None else date.today()  # noqa: DTZ011
    entries = registry.inventory(tracking.uri, day)
    late = [e for e in entries if e.expired(day)]
    if as_json:
        told = [
            {"model": e.name, "version": e.version, "expired": e.expired(day),
             **{k: v for k, v in sorted(e.tags.items()) if k.startswith("privacy.")}}
            for e in entries
        ]  # fmt: skip
        click.echo(json.dumps(told, indent=1))
    elif entries:
        rows = [_COLUMNS] + [_row(e, e.expired(day)) for e in entries]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
        for row in rows:
            line = "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))
            click.echo(line.rstrip())
        click.echo(f"{len(entries)} assessed, {len(late)} expired.")
    else:
        click.echo(f"No assessed model in MLflow at '{tracking.uri}'; 'invbench gate --register' "
                   "adds one.")  # fmt: skip
    sys.exit(1 if late and fail_on_expired else 0)


def _row(entry: object, expired: bool) -> tuple[str, ...]:
    from bench.decide.registry import Entry

    assert isinstance(entry, Entry)
    codes = [code for code in entry.get("goals_assessed").split(",") if code]
    ends = "; ".join(
        f"{code} L {entry.get(f'Lstar_{code}_upper95') or '-'}, "
        f"M {entry.get(f'M_{code}_upper95') or '-'}"
        for code in codes
    )
    until = entry.get("valid_until")
    return (
        entry.name, entry.version, entry.get("gate"),
        "expired" if expired else entry.get("pia_status"),
        f"{until} EXPIRED" if expired else until, entry.get("access_exposed"),
        entry.get("defense_id"), ends, entry.get("data_sources"),
        f"{entry.get('evidence')} ({entry.get('benchmark_release')}, "
        f"{entry.get('trial_set_sha256')[:12]})",
    )  # fmt: skip
