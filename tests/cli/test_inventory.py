"""invbench inventory: what is registered, the expired first."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta

import pytest

from bench.decide import registry
from bench.decide.inventory import TEMPLATE
from bench.decide.registry import Entry
from bench.exchange import pack
from tests.cli import deciding
from tests.decide import made


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


def test_evidence_says_whose_it_is(call, monkeypatch) -> None:
    entries = [
        entry("own", "2026-12-31", evidence_of="the deployed model"),
        entry("x", "2026-12-31"),
    ]
    monkeypatch.setattr(registry, "inventory", lambda uri, today: entries)
    monkeypatch.setenv("COLUMNS", "240")
    _, out, _ = call("inventory", "--today", "2026-04-01")
    mine, other = out.splitlines()[1:3]
    assert "of the deployed model" in mine and "the deployed model" not in other
    _, out, _ = call("inventory", "--today", "2026-04-01", "--json")
    assert json.loads(out)["models"][0]["privacy.evidence_of"] == "the deployed model"


def test_json_has_every_field(call, listed) -> None:
    _, out, _ = call("inventory", "--today", "2026-04-01", "--json")
    told = json.loads(out)["models"]
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


@pytest.fixture
def kept(tmp_path):
    """An inventory in git whose model the registry does not know."""
    deciding.described(tmp_path)
    path = tmp_path / "models.yaml"
    told = TEMPLATE.replace("credit/model.yaml", "model.yaml")
    path.write_text(told, encoding="utf-8")
    return path


def test_a_team_keeps_users_sharing_and_exposure(call, kept, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    code, out, _ = call("inventory", "--from", kept, "tracking=none")
    assert code == 0 and "Not compared" in out
    for text in ("Loan officers", "Partner Bank (scores since 2026-01-31", "OAuth", "10,000"):
        assert text in out
    monkeypatch.setattr(registry, "versions", lambda uri: [entry("old", "2026-03-31")])
    code, out, _ = call("inventory", "--from", kept, "--check")
    assert code == 1 and "old 1 is registered, and the inventory does not list it" in out
    code, out, _ = call("inventory", "--from", kept, "--json")
    told = json.loads(out)
    assert code == 0 and len(told["differences"]) >= 2
    assert told["models"][0]["exposure"][0]["query_cap"] == 10000


def test_a_comparison_needs_both_sides(call, kept) -> None:
    for words, message in (
        (("--check",), "--from"),
        (("--from", kept, "--check", "tracking=none"), "tracking=none"),
    ):
        code, _, err = call("inventory", *words)
        assert code == 2 and message in err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of MLflow about itself
def test_an_incident_expires_a_model_until_it_is_attacked_again(call, tmp_path) -> None:
    """Registered, probed, judged by old evidence and then by new."""
    uri = f"tracking.uri=sqlite:///{tmp_path / 'm.db'}"
    log = tmp_path / "log.csv"
    rows = [f"{1000 * i + j},user{i},1" for i in range(40) for j in range(9 if i else 900)]
    log.write_text("time,account,label\n" + "\n".join(rows), encoding="utf-8")
    deciding.evidence(tmp_path)
    model = deciding.described(tmp_path)
    gate = ("gate", "default", model, "--register", "--today", "2026-04-01", uri)
    before = call(*gate)[1]
    assert "incident_since_evidence" not in before
    words = ("audit", log, "--detector", "volume", "--incident", tmp_path / "i", uri)
    code, _, err = call(*words, "--model", "scoring", "--evidence", tmp_path / "pack")
    assert code == 0 and "marked as expired (1 versions)" in err
    _, out, _ = call("inventory", "--today", "2026-04-01", "--json", uri)
    (told,) = json.loads(out)["models"]
    assert told["privacy.pia_status"] == "expired" and "privacy.incident" in told
    assert "incident_since_evidence" in call(*gate)[1]
    (told,) = json.loads(call("inventory", "--today", "2026-04-01", "--json", uri)[1])["models"]
    assert told["privacy.pia_status"] == "expired", "old evidence does not clear it"
    moment = datetime.fromisoformat(told["privacy.incident"])
    again = made.of_records(
        [
            r.model_copy(update={"created_utc": (moment + timedelta(hours=1)).isoformat()})
            for r in made.records({"none": made.NONE, "shield": made.Row()})
        ]
    )
    pack.write(again, tmp_path / "pack2")
    deciding.described(tmp_path, evidence=["pack2"])
    day = str((moment + timedelta(days=1)).date())
    gate = ("gate", "default", model, "--register", "--today", day, uri)
    assert "incident_since_evidence" not in call(*gate)[1]
    (told,) = json.loads(call("inventory", "--today", day, "--json", uri)[1])["models"]
    assert told["privacy.pia_status"] != "expired" and not told["expired"]
