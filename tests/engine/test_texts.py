"""Records as text: the same records, without credentials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contract.identity import canonical, digest, node_id
from bench.contract.record import Failure, TrialRecord
from bench.contract.secrets import HIDDEN, clean
from bench.engine import forms, join
from bench.engine.config import compose_grid
from bench.engine.graph import Plan, Trial
from bench.engine.plan import make_plan
from bench.engine.records import Joiner, node_text, unfinished

CONF = Path(__file__).parents[1] / "conf"
MARK = "hunter2MARK"
ENV = {"host": "here", "python": "3.11", "peak_rss_mb": 5.0}
SCORE = {
    "metric": "auc",
    "value": 0.75,
    "ceiling": 1.0,
    "members": 0.75,
    "nonmembers": 0.5,
    "victims": 4,
    "extra": {"f1": 0.5},
}
UTILITY = {"metric": "accuracy", "utility": {"accuracy": 0.5}, "answer_ms": 1.0}
REPORT = {
    "privacy": None,
    "epochs": 1,
    "steps": 2,
    "final_loss": 0.5,
    "train_accuracy": 0.5,
    "public_records": 0,
}
OUTPUTS: dict[str, dict[str, Any]] = {
    "data": {"card": {"source": "made up"}, "facts": {"n_rows": 3}},
    "evaluator": {"facts": {"accuracy": 0.5, "none": None}},
    "reference": {"reference": {"accuracy": 0.5}},
    "prior": {},
    "target": {"report": REPORT, "n_params": 8, "sha256": "0", "train_s": 1.0},
    "utility": UTILITY,
    "attack": {
        "info": {"stop_reason": "finished"},
        "knowledge_read": [],
        "sha256": "0",
        "budget": {"queries": 3, "accounts": 1},
        "refusals": [],
        "score": SCORE,
        "attack_s": 1.0,
        "score_s": 1.0,
    },
}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(compose_grid(["suite=toy", "seeds=2"], CONF))


def outcomes(plan: Plan, **more: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What nodes gave, by identity."""
    return {
        key: {
            "output": {**OUTPUTS[node.kind], **more.get(node.kind, {})},
            "env": ENV,
            "created_utc": f"2026-01-01T00:00:{node.repeat:02}+00:00",
        }
        for key, node in plan.nodes.items()
    }


def test_identities_are_the_hashes_of_what_they_say(plan: Plan) -> None:
    for key, node in plan.nodes.items():
        assert key == digest(node.identity)
        assert set(node.parents.values()) <= set(plan.nodes)
    needed = {n for t in plan.trials for n in t.parts}
    while above := {p for n in needed for p in plan.nodes[n].parents.values()} - needed:
        needed |= above
    assert set(plan.nodes) == needed
    order = {key: place for place, key in enumerate(plan.nodes)}
    assert all(order[p] < order[k] for k, n in plan.nodes.items() for p in n.parents.values())


def test_a_joiner_joins_as_if_each_trial_were_the_only_one(plan: Plan) -> None:
    nodes, joiner = outcomes(plan), Joiner()
    for trial in plan.trials:
        record = TrialRecord.model_validate_json(joiner.join(trial, nodes))
        assert record == join.join(trial, nodes)
        assert record.cell.seed == trial.repeat
        assert record.nodes == trial.nodes
    other = outcomes(plan, data={"facts": {"n_rows": 4}})
    record = TrialRecord.model_validate_json(joiner.join(plan.trials[0], other))
    assert record.data.facts == {"n_rows": 4}


def test_no_text_holds_a_credential(plan: Plan) -> None:
    uri = f"postgresql://jane:{MARK}@db/x"
    trial: Trial = plan.trials[0]
    told = {"info": {"from": uri, "db_password": MARK, "loss": float("nan")}}
    nodes = outcomes(plan, attack=told, data={"card": {"source": uri}})
    text = Joiner().join(trial, nodes)
    assert MARK not in text
    record = TrialRecord.model_validate_json(text)
    assert record.attack.info == {"from": f"postgresql://{HIDDEN}@db/x", "db_password": HIDDEN} | {
        "loss": None
    }
    failure = Failure(type="Timeout", message=f"no answer from {uri}")
    text = unfinished(trial, "timeout", failure, "2026", {})
    assert MARK not in text and json.loads(text)["status"] == "timeout"
    node = plan.nodes[trial.nodes["attack"]]
    text = node_text(node, {"status": "done", "output": told, "env": ENV})
    assert MARK not in text
    whole = json.loads(text)
    assert whole["identity"] == json.loads(canonical(clean(node.identity)))
    assert (whole["kind"], whole["id"], whole["label"]) == (node.kind, node.id, node.label)


def test_an_option_with_a_credential_is_hashed_and_not_shown() -> None:
    words = ["suite=toy", "seeds=1", f"attack.toy.mark=http://jane:{MARK}@x", "attack=[toy]"]
    plan = make_plan(compose_grid(words, CONF))
    node = plan.nodes[plan.trials[0].nodes["attack"]]
    assert MARK in canonical(node.identity) and node.id == digest(node.identity)
    assert MARK not in node_text(node, {"status": "done"})


VALUES = st.text(max_size=5) | st.integers() | st.lists(st.text(max_size=5), max_size=2)


@given(
    st.dictionaries(st.text(max_size=5), VALUES, max_size=4),
    st.integers(),
    st.text("0123456789abcdef", max_size=8),
)
def test_a_form_gives_the_canonical_text(shared: dict[str, Any], number: int, word: str) -> None:
    form = forms.Form([shared, {"%s": forms.number(1)}, f"a/{forms.word(0)}%"], 2)
    assert form.text((word, number)) == canonical([shared, {"%s": number}, f"a/{word}%"])


def test_a_form_with_another_hole_is_refused() -> None:
    for document in ([forms.word(0)], [forms.number(0), forms.number(1), forms.word(1)]):
        with pytest.raises(ValueError, match="holes"):
            forms.Form(document, 2)


def test_a_trial_is_the_hash_of_what_its_record_says(plan: Plan) -> None:
    from bench.engine.nodes import joining
    from bench.engine.trials import CORE_PACKAGES

    trial = plan.trials[-1]
    document = {
        "cell": trial.cell.key(),
        "goal": trial.goal,
        "access": trial.access,
        "control": trial.control,
        "flags": list(trial.flags),
        "info": trial.info,
        "nodes": trial.nodes,
        "baselines": trial.baselines,
        "source": joining((*CORE_PACKAGES, "tests")),
    }
    assert trial.id == node_id(document)
