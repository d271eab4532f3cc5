"""``invbench audit``."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from bench.cli.completing import FILES
from bench.cli.printing import as_json, print_json, table
from bench.cli.words import Given, takes
from bench.contract.errors import UserError, require

_HEAD = ["account", "detector", "query", "time", "statistic", "threshold"]
_LONGEST = 60


@click.command("audit")
@takes("LOG", 1, 1, names=FILES)
@click.option(
    "--benign",
    type=click.Path(path_type=Path),
    help="Log of accounts known to be benign, as long in time as LOG: detectors are calibrated on "
    "it. Without it, they are calibrated on all accounts of LOG, of which fewer than half may "
    "probe, and no rate is promised.",
)
@click.option(
    "--format",
    "form",
    metavar="NAME",
    help="csv, jsonl, parquet, kserve, v2, mlflow, seldon, nginx or uvicorn, of both logs. Without "
    "it, the ending of the name says it.",
)
@click.option(
    "--map",
    "pairs",
    multiple=True,
    metavar="ROLE=NAME",
    help="Name of the column for time, account, label, score, x0, ...; may be given several times.",
)
@click.option(
    "--time-unit",
    metavar="UNIT",
    help="s, ms, us or ns: of times that are numbers. Without it, their size says it.",
)
@click.option(
    "--path",
    "prefix",
    default="",
    metavar="PREFIX",
    help="Count only requests to paths that begin so, as /v1/models; for access logs.",
)
@click.option(
    "--fpr",
    default=0.01,
    show_default=True,
    help="Benign accounts that each detector flags, at most.",
)
@click.option(
    "--detector",
    "names",
    multiple=True,
    metavar="NAME",
    help="prada, stateful, ood, concentration or volume; may be given several times. Without it, "
    "all that the log allows.",
)
@click.option(
    "--incident",
    "folder",
    type=click.Path(path_type=Path),
    help="If an account is flagged, write the record of an incident into this folder, and mark the "
    "model's evidence in the registry as expired.",
)
@click.option(
    "--model",
    default="",
    metavar="MODEL",
    help="Whose log it is: its description (the .yaml file of gate), or its name in the registry.",
)
@click.option(
    "--evidence",
    multiple=True,
    metavar="PACK",
    help="Pack, suite or execution that says what queries are worth; without it, what MODEL names.",
)
@click.option(
    "--aware",
    metavar="TIME",
    help="When you became aware of it (ISO 8601); deadlines run from then. Without it, now.",
)
@as_json
@click.option("--fail-on-flag", is_flag=True, help="Exit code 1 if an account is flagged.")
def command(
    given: Given,
    benign: Path | None,
    form: str | None,
    pairs: tuple[str, ...],
    time_unit: str | None,
    prefix: str,
    fpr: float,
    names: tuple[str, ...],
    folder: Path | None,
    model: str,
    evidence: tuple[str, ...],
    aware: str | None,
    as_json: bool,
    fail_on_flag: bool,
) -> None:
    """Look for accounts that probe in a log of queries: invbench audit queries.csv.

    LOG is CSV, Parquet or JSON lines (or - for standard input; .gz is read too) with a row per
    query: time, account, and what was answered (label; score0, score1, ...; or score, of the second
    of two classes). Detectors that look at records take the columns x0, x1, ..., or else all other
    numbers. Columns are matched by name, and rows need not be sorted. A label of -1 or an empty one
    is a refused query. With --format, request logs of KServe, Seldon and MLflow are read, bodies of
    the V2 protocol, and access logs of nginx and uvicorn, which allow volume only. The
    trail.parquet that a run keeps of every attack is a log, without records.

    An account is flagged where a statistic exceeds what benign accounts reach: volume (queries in
    30 days), concentration (share of one class in 50 answers), ood (distance from ordinary
    records, mean of 20), stateful (minus the mean distance to the 10 nearest earlier queries),
    prada (1 - W of Shapiro and Wilk). No detector sees a prober that asks only natural records.
    """
    from bench import api

    require(
        folder is not None or not given.words,
        f"An audit without --incident reads no overrides, and '{(given.words or ('',))[0]}' is "
        "one; see 'invbench audit --help' for its options, and write a path with '=' as ./PATH.",
    )
    require(
        folder is not None or not (model or evidence or aware),
        "--model, --evidence and --aware are for the record of an incident; add --incident DIR.",
    )
    try:
        moment = datetime.fromisoformat(aware) if aware else None
    except ValueError as error:
        raise UserError(
            f"--aware is '{aware}'; give a time by ISO 8601, such as 2026-01-31T09:30+01:00."
        ) from error
    columns: dict[str, str] = {}
    for pair in pairs:
        role, equals, name = pair.partition("=")
        require(
            bool(role and equals and name),
            f"--map is '{pair}'; give ROLE=NAME, such as account=user_id.",
        )
        require(role not in columns, f"--map {role}=... is given twice; give it once.")
        columns[role] = name
    audit = api.audit(
        given.name,
        benign,
        names,
        fpr,
        format=form,
        columns=columns,
        time_unit=time_unit,
        path_prefix=prefix,
    )
    # Whoever acts on an audit acts here.
    if folder is not None and audit.flags:
        record, page, marked = api.incident(
            audit,
            folder,
            model=model,
            evidence=evidence,
            aware=moment,
            words=given.words,
            config_dir=given.config_dir,
        )
        click.echo(f"Incident {record.id}: {page}", err=True)
        if record.model.name:
            done = (
                "is not marked (tracking=none)"
                if marked is None
                else f"is marked as expired ({marked} versions)"
            )
            click.echo(
                f"Registry: the evidence of '{record.model.name}' {done}. Its description needs "
                f"the line: incidents: [{record.aware.isoformat()}]",
                err=True,
            )
    if as_json:
        print_json("audit/1", audit.document())
    else:
        for note in audit.notes:
            click.echo(note)
        rows = [
            [
                _shown(flag.account),
                flag.detector,
                str(flag.query),
                flag.time,
                f"{flag.statistic:.4g}",
                f"{flag.limit:.4g}",
            ]
            for flag in audit.flags
        ]
        if rows:
            table([_HEAD, *rows], ("threshold", "statistic", "query"))
        click.echo(f"{len(audit.flagged)} of {audit.audited} audited accounts flagged.")
    sys.exit(1 if audit.flagged and fail_on_flag else 0)


def _shown(account: str) -> str:
    """A name of which strangers choose the length."""
    more = len(account) - _LONGEST
    return account if more <= 0 else f"{account[:_LONGEST]} [and {more} letters; see --json]"
