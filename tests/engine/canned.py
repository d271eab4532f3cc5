"""Trials that need no run: what tracking reads of a store, held in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.contract.record import TrialRecord
from bench.engine.store import Store
from bench.engine.tracking.server import connect
from tests.report import fake_records


class Canned(Store):
    """A store that has these trials.

    Args:
        root: folder for the outbox.
        records: by identity; the test may change them.
    """

    def __init__(self, root: Path, records: dict[str, TrialRecord]) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root, self.rows = root, records

    def has(self, kind: str, key: str) -> bool:
        return key in self.rows

    def record(self, kind: str, key: str) -> dict[str, Any]:
        return self.rows[key].model_dump()

    def records(self, kind: str, keys: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        return ((key, self.record(kind, key)) for key in keys if self.has(kind, key))

    def latest_failures(self, kind: str, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        return {}


def canned(count: int) -> dict[str, TrialRecord]:
    """Records of as many trials, which are alike."""
    rows = [row for row in fake_records.build() if not row.data.publishable]
    changes = ((f"{i:064x}", rows[i % len(rows)]) for i in range(count))
    return {key: row.model_copy(update={"trial_id": key}) for key, row in changes}


def manifest(records: dict[str, TrialRecord], suite: str = "canned") -> dict[str, Any]:
    """The account of an execution that has these trials."""
    return {
        "name": f"20260101T000000000-{suite}",
        "suite": suite,
        "state": "ended",
        "started_utc": "2026-01-01T00:00:00+00:00",
        "trials": {key: row.cell.key() for key, row in records.items()},
        "git": {},
        "grid": {"seeds": 3},
    }


def runs(uri: str, suite: str) -> dict[str, Any]:
    """The runs of a suite's trials, by trial.

    Raises:
        AssertionError: a trial has two.
    """
    client = connect(uri)
    experiment = client.get_experiment_by_name(suite).experiment_id
    there = client.search_runs([experiment], "tags.kind = 'trial'", max_results=5000)
    by_trial = {run.data.tags["trial_id"]: run for run in there}
    assert len(by_trial) == len(there), "a trial stands twice"
    return by_trial
