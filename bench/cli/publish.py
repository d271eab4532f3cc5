"""Write an execution's report and close its tracking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from bench.contract.record import TrialRecord
from bench.engine.execution import Execution, provenance
from bench.engine.store import Store
from bench.engine.tracking import picture, stored


def publish(done: Execution) -> Path | None:
    """The report of a run, and its end in MLflow; the path of the page."""
    settings = done.grid.settings
    store = Store(settings.store)
    page: Path | None = None
    summary: dict[str, float] = {}
    if done.outcome.records:
        page, summary = write(
            done.outcome.records,
            pictures(store, done.outcome.records),
            done.manifest,
            settings.report_dir,
        )
    if done.sink is not None:
        done.sink.close(done.manifest, summary)
        if done.sink.problem:
            click.echo(
                f"MLflow did not take the run ({done.sink.problem}); the store has everything: "
                f"'invbench sync suite={settings.suite}' uploads it later.",
                err=True,
            )
    return page


def write(
    records: Iterable[TrialRecord],
    shown: Mapping[str, bytes],
    manifest: Mapping[str, Any],
    report_dir: Path,
) -> tuple[Path, dict[str, float]]:
    """Write the report; its page, and the boards' numbers for MLflow."""
    from bench.report import site
    from bench.report.boards import summary

    suite = manifest["suite"]
    page = site.write(records, shown, suite, report_dir / suite, provenance(manifest))
    return page, summary(records, suite)


def pictures(store: Store, records: Iterable[TrialRecord]) -> dict[str, bytes]:
    """Pictures that may be shown, by trial."""
    found = {r.trial_id: picture(store, r) for r in records}
    return {key: data for key, data in found.items() if data is not None}


def of_execution(store: Store, manifest: Mapping[str, Any]) -> list[TrialRecord]:
    """The records of an execution that the store has."""
    found = (stored(store, key) for key in manifest["trials"])
    return [record for record in found if record is not None]
