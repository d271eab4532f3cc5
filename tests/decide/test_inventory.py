"""The inventory that a team keeps: read strictly, and held against the registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.contract import UserError
from bench.decide import inventory
from bench.decide.inventory import differences, load
from bench.decide.registry import Entry
from tests.cli import deciding

POINT = {
    "place": "https://api.example.org",
    "kind": "url",
    "access": "scores",
    "authentication": "OAuth",
}
LISTED: dict[str, Any] = {
    "description": "model.yaml",
    "users": [{"who": "Officers", "purpose": "rank"}],
    "exposure": [POINT],
}
TAGS = {
    "owner": "Risk",
    "tier": "T2",
    "model": "mlp",
    "defense_id": "shield",
    "access_exposed": "scores",
    "users": "staff",
    "dataset": "loans",
}


def write(folder: Path, *models: dict[str, Any], **described: Any) -> Path:
    deciding.described(folder, **described)
    path = folder / "models.yaml"
    path.write_text(json.dumps({"models": [{**LISTED, **m} for m in models]}), encoding="utf-8")
    return path


def entry(name: str = "scoring", version: str = "1", **tags: str) -> Entry:
    return Entry(name, version, {f"privacy.{k}": v for k, v in {**TAGS, **tags}.items()})


def test_what_agrees_has_no_difference(tmp_path: Path) -> None:
    assert differences(load(write(tmp_path, {})), [entry()]) == []


@pytest.mark.parametrize(
    ("model", "described", "tags", "sentence"),
    [
        ({}, {}, {"owner": "Sales"}, "owner is 'Risk' in the description, 'Sales'"),
        ({}, {}, {"defense_id": "none"}, "defense_id is 'shield'"),
        ({}, {}, {"incident": "2026-03-01T00:00:00+00:00"}, "the incident of 2026-03-01"),
        ({"exposure": [{**POINT, "access": "weights"}]}, {}, {}, "gives weights"),
        (
            {},
            {"exposure": {"access": "scores", "users": "staff", "query_cap": 10}},
            {"query_cap": "10"},
            "allows any number of queries, its description 10",
        ),
        (
            {"sharing": [{"who": "X", "what": "weights", "since": "2026-01-01", "terms": "t"}]},
            {},
            {},
            "'X' has the weights by the inventory, and not by the description",
        ),
        (
            {},
            {"exposure": {"access": "scores", "users": "staff", "weights_shared_with": ["Y"]}},
            {"access_exposed": "weights", "weights_shared_with": "Y"},
            "'Y' has the weights by the description, and not by the inventory",
        ),
    ],
)
def test_every_difference_is_a_sentence(
    tmp_path: Path, model: dict, described: dict, tags: dict, sentence: str
) -> None:
    (told,) = differences(load(write(tmp_path, model, **described)), [entry(**tags)])
    assert sentence in told


def test_models_that_only_one_side_has(tmp_path: Path) -> None:
    told = differences(load(write(tmp_path, {})), [entry("other")])
    assert told == [
        "other 1 is registered, and the inventory does not list it",
        "scoring 1 is listed, and the registry has no such version",
    ]


def test_an_incident_in_both_is_no_difference(tmp_path: Path) -> None:
    moment = "2026-03-01T01:00:00+01:00"
    kept = load(write(tmp_path, {}, incidents=[moment]))
    assert differences(kept, [entry(incident="2026-03-01T00:00:00+00:00")]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user": []}, "no such key"),
        ({"users": []}, "users"),
        ({"exposure": [{**POINT, "access": "all"}]}, "access"),
        ({"exposure": [{**POINT, "kind": "cloud"}]}, "kind"),
        ({"sharing": [{"who": "X", "what": "scores", "since": "soon", "terms": "t"}]}, "since"),
        ({"description": "nowhere.yaml"}, "nowhere"),
    ],
)
def test_a_wrong_inventory_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(write(tmp_path, change))


def test_a_model_or_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {}, {})
    with pytest.raises(UserError, match="twice"):
        load(path)
    path.write_text(inventory.TEMPLATE + "models: []\n", encoding="utf-8")
    with pytest.raises(UserError, match="given twice"):
        load(path)


def test_the_template_is_an_inventory(tmp_path: Path) -> None:
    (tmp_path / "credit").mkdir()
    deciding.described(tmp_path / "credit")
    path = tmp_path / "models.yaml"
    path.write_text(inventory.TEMPLATE, encoding="utf-8")
    (kept,) = load(path)
    assert kept.key == ("scoring", "1") and len(inventory.row(kept)) == len(inventory.COLUMNS)
