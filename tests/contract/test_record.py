from __future__ import annotations

import json
from datetime import UTC, datetime

import jsonschema
import pytest
from pydantic import ValidationError

from bench.contract import PrivacyLedger
from bench.contract.record import Cell, Data, TrialRecord, json_schema


def _record(**more) -> TrialRecord:
    fields = {
        "protocol_version": "1",
        "benchmark_version": "0",
        "trial_id": "a" * 32,
        "cell": Cell(dataset="d", model="m", defense="none", attack="a", seed=0),
        "goal": "attribute",
        "access": "scores",
        "status": "done",
        "data": Data(
            sector="s",
            modality="table",
            source="",
            terms="",
            privacy_unit="record",
            publishable=True,
        ),
        "created_utc": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
        **more,
    }
    return TrialRecord(**fields)


LEDGER = PrivacyLedger(
    epsilon=8.0,
    delta=1e-4,
    accountant="prv",
    epsilon_rdp=8.8,
    unit="record",
    neighbour_relation="add_remove",
    sampling="poisson",
    sample_rate=0.1,
    steps=100,
    noise_multiplier=1.0,
    clip_norm=1.0,
    expected_batch=40.0,
    empty_batches=0,
    epsilon_total_basis="not_accounted",
    rng="seeded (not for release)",
    libraries={"opacus": "1"},
)


def test_a_record_survives_json_and_fits_its_schema() -> None:
    record = _record(privacy=LEDGER)
    text = record.model_dump_json()
    assert TrialRecord.model_validate_json(text) == record
    jsonschema.validate(json.loads(text), json_schema())


def test_a_record_is_immutable_and_refuses_what_it_does_not_know() -> None:
    record = _record()
    with pytest.raises(ValidationError):
        record.status = "failed"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        _record(planet="mars")
    with pytest.raises(ValidationError):
        _record(status="fine")


def test_infinite_numbers_are_refused() -> None:
    from bench.contract.record import Utility

    with pytest.raises(ValidationError):
        Utility(metric="accuracy", value=float("inf"))
