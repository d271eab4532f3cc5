"""invbench inventory: what is registered, the expired first."""

from __future__ import annotations

import json
from datetime import date

import pytest

from bench.decide import registry
from bench.decide.registry import Entry
from tests.cli import deciding


@pytest.fixture
def call(monkeypatch, capsys) -> deciding.Call:
    return deciding.caller(monkeypatch, capsys)


def entry(name: str, until: str, **more: str) -> Entry:
    told = {
        "valid_until": until,
        "gate": "PASS",
        "pia_status": "approved",
        "goals_assessed": "G3",
        "Lstar_G3_upper95": "0.0615",
        "data_sources": "bank",
        **more,
    }
    return Entry(name, "1", {f"privacy.{key}": value for key, value in told.items()})


@pytest.fixture
def listed(monkeypatch) -> None:
    entries = [entry("old", "2026-03-31"), entry("good", "2026-12-31")]
    monkeypatch.setattr(registry, "inventory", lambda uri, today: entries)


@pytest.mark.parametrize(("until", "late"), [("2026-04-01", False), ("2026-03-31", True)])
def test_the_last_day_still_counts(until: str, late: bool) -> None:
    assert entry("m", until).expired(date(2026, 4, 1)) == late


def test_expired_models_are_marked_and_can_fail_a_pipeline(call, listed) -> None:
    words = ("inventory", "--today", "2026-04-01")
    code, out, _ = call(*words)
    lines = out.splitlines()
    assert code == 0 and lines[-1] == "2 assessed, 1 expired."
    assert lines[1].startswith("old") and "2026-03-31 EXPIRED" in lines[1]
    assert "G3 L 0.0615" in lines[2] and "EXPIRED" not in lines[2]
    assert call(*words, "--fail-on-expired")[0] == 1


def test_json_has_every_field(call, listed) -> None:
    _, out, _ = call("inventory", "--today", "2026-04-01", "--json")
    told = json.loads(out)
    assert [m["expired"] for m in told] == [True, False]
    assert told[0]["privacy.data_sources"] == "bank"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of MLflow about itself
def test_an_empty_registry_says_how_to_fill_it(call, tmp_path) -> None:
    code, out, err = call("inventory", f"tracking.uri=sqlite:///{tmp_path / 'm.db'}")
    assert code == 0, err
    assert "gate --register" in out


def test_without_mlflow_there_is_no_inventory(call) -> None:
    code, _, err = call("inventory", "tracking=none")
    assert code == 2 and "MLflow" in err
