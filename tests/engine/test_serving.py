"""Watched deployments through the whole engine: who is refused, what is recorded, what is kept."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from bench.contract.record import TrialRecord
from bench.engine.config import compose_grid
from bench.engine.execution import execute
from bench.engine.plan import make_plan
from bench.engine.store import Store


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, TrialRecord], Store]:
    root = tmp_path_factory.mktemp("serving")
    words = [
        "suite=toy",
        "seeds=1",
        "backend=local",
        "tracking=none",
        "progress=none",
        f"store={root / 'runs'}",
        f"report_dir={root}",
        "defense=[none,query_budget,probe_audit]",
        "+defense.query_budget.sweep={queries: [50]}",
        "+defense.probe_audit.sweep={detector: [volume]}",
        "attack=[toy,toy_weights]",
        "streams=[{accounts: 1000, per_account: 50}]",
    ]
    conf = Path(__file__).parents[1] / "conf"
    grid = compose_grid(words, conf)
    done = execute(grid, make_plan(grid), conf)
    records = {f"{r.cell.defense}/{r.cell.attack}": r for r in done.outcome.records}
    return records, Store(root / "runs")


STREAM = "toy[stream.accounts=1000,stream.per_account=50]"


def test_a_budget_takes_what_was_answered_before_it_ran_out(
    run: tuple[dict[str, TrialRecord], Store],
) -> None:
    records, _ = run
    free = records["none/toy"]
    held = records["query_budget[queries=50]/toy"]
    assert free.audit is None and held.audit is not None
    assert held.budget.queries == free.budget.queries > 50
    assert held.budget.refused == held.budget.queries - 50
    assert held.audit.stopped and not held.audit.detected and held.audit.answered_before == 50
    assert free.score and held.score
    assert abs(held.score.value - 0.5) < abs(free.score.value - 0.5)
    assert held.target.sha256 == free.target.sha256


def test_many_accounts_are_each_within_the_budget(
    run: tuple[dict[str, TrialRecord], Store],
) -> None:
    records, _ = run
    spread = records[f"query_budget[queries=50]/{STREAM}"]
    assert spread.audit is not None and not spread.audit.stopped
    assert spread.budget.accounts == -(-spread.budget.queries // 50)
    assert spread.attack.sha256 == records["none/toy"].attack.sha256
    assert "query_budget" in spread.attack.adaptive_to
    assert f"none/{STREAM}" not in records, "where nobody watches there is nobody to hide from"


def test_benign_accounts_are_counted_and_weights_are_not_watched(
    run: tuple[dict[str, TrialRecord], Store],
) -> None:
    records, _ = run
    audits = [r.audit for r in records.values() if r.audit is not None]
    assert {a.customers for a in audits} == {1000} and all(0 <= a.blocked <= 1 for a in audits)
    tight = records["query_budget[queries=50]/toy"].audit
    assert tight is not None and tight.blocked > 0.1, "half the customers ask 40 times or more"
    held = records["probe_audit[detector=volume]/toy_weights"]
    assert held.audit is None and "no_effect" in held.flags


def test_every_exposure_leaves_a_trail(run: tuple[dict[str, TrialRecord], Store]) -> None:
    records, store = run
    for name, record in records.items():
        trail = store.file("attack", record.nodes["attack"], "trail.parquet")
        assert (trail is not None) is (record.budget.queries > 0), name
    held = records["query_budget[queries=50]/toy"]
    data = store.file("attack", held.nodes["attack"], "trail.parquet")
    assert data is not None
    trail = pd.read_parquet(io.BytesIO(data))
    assert list(trail.columns) == ["time", "account", "digest", "label", "confidence"]
    assert len(trail) == 51 and (trail["label"] >= 0).sum() == 50
    assert trail["time"].is_monotonic_increasing
