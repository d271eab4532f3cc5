"""Every rule of the gate, one at a time, on a model that otherwise passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from bench.contract import UserError
from bench.contract.ledger import PrivacyLedger
from bench.decide import assessment, deployed, document, evidence, gate, registry
from bench.decide.deployed import Deployed
from bench.decide.evidence import Source
from bench.decide.policy import load
from bench.decide.rulebook import RULES
from bench.decide.rules import CHECKS
from bench.decide.verdict import Judgement
from bench.engine.stages.target import digest_of
from tests.decide import made
from tests.decide.made import Row

TODAY = date(2026, 4, 1)
CLAIM = {"epsilon": 2.0, "delta": 1e-5, "unit": "record", "sampling": "poisson"}


def described(**changes: Any) -> Deployed:
    told: dict[str, Any] = {
        "name": "scoring",
        "version": "1",
        "owner": "Risk",
        "purpose": "Rank",
        "necessity": "Many",
        "tier": "T2",
        "data": {
            "sources": ["loans"],
            "dataset": "loans",
            "sha256": made.DATA_SHA,
            "privacy_unit": "record",
            "categories": ["income"],
            "sector": "credit",
        },
        "exposure": {"access": "scores", "users": "staff"},
        "model": "mlp",
        "defense": {"name": "shield"},
        "artifact": {"sha256": made.weights("shield", 0)},
        "dp": CLAIM,
        "evidence": ["made"],
        "subgroups": "by age: alike",
        "monitoring": "volume",
        "incident_contact": "x@example.org",
    }
    return Deployed.model_validate({**told, **changes})


def with_row(row: Row | None = None, **changes: Any) -> tuple[Source, ...]:
    by = changes.pop("by", {"Other_lab": "2026-03-02"})
    return made.signed(made.sources({"shield": row or Row(ledger=made.ledger())}, **changes), **by)


@pytest.fixture(scope="module")
def sound() -> tuple[Source, ...]:
    return with_row()


def judge(found: tuple[Source, ...], today: date = TODAY, **changes: Any) -> Judgement:
    model = described(**changes)
    return gate.judge(found, model, load(), today, deployed.digest(model.artifact))


def rules(outcome: Judgement) -> set[str]:
    return {f.rule for f in outcome.findings}


def test_evidence_of_after_an_incident_clears_it(sound) -> None:
    assert judge(sound, incidents=["2026-02-28T12:00:00+00:00"]).verdict == "PASS"


def test_a_sound_model_passes(sound) -> None:
    outcome = judge(sound)
    assert (outcome.verdict, outcome.findings) == ("PASS", ())
    assert outcome.valid_until == date(2026, 8, 28)  # 2026-03-01 and 180 days
    assert outcome.status == "draft"  # nobody signed


DATA = described().data.model_dump(mode="json")


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("dp_sampling_mismatch", {"dp": {**CLAIM, "sampling": "full_batch"}}),
        ("dp_claim_unsupported", {"dp": {**CLAIM, "epsilon": 1.9}}),
        ("dp_claim_unsupported", {"dp": {**CLAIM, "delta": 1e-6}}),
        ("data_hash_unknown", {"data": {**DATA, "sha256": None}}),
        ("data_hash_unknown", {"data": {**DATA, "sha256": "0" * 64}}),
        ("artifact_mismatch", {"artifact": {"sha256": "0" * 64}}),
        ("artifact_mismatch", {"artifact": None}),
        ("incident_since_evidence", {"incidents": ["2026-03-02T09:30:00+01:00"]}),
        ("no_ranked_evidence", {"exposure": {"access": "weights", "users": "all"}}),
        (
            "no_ranked_evidence",
            {
                "exposure": {
                    "access": "scores",
                    "users": "staff",
                    "weights_shared_with": ["a vendor"],
                }
            },
        ),
        (
            "no_ranked_evidence",
            {"exposure": {"access": "scores", "users": "staff", "federated": True}},
        ),
        (
            "no_ranked_evidence",
            {"goals": {"training_instance": {"relevant": True, "reason": "outliers"}}},
        ),
    ],
)
def test_what_blocks_in_the_description(sound, rule: str, changes: dict[str, Any]) -> None:
    outcome = judge(sound, **changes)
    assert (outcome.verdict, rules(outcome)) == ("BLOCK", {rule})


@pytest.mark.parametrize(
    ("rule", "make"),
    [
        ("leakage_above_bar", lambda: with_row(Row(L={"map": 0.3}, ledger=made.ledger()))),
        ("member_leakage_above_bar", lambda: with_row(Row(M=0.1, ledger=made.ledger()))),
        ("no_ranked_evidence", lambda: with_row(seeds=4)),
        (
            "no_ranked_evidence",
            lambda: with_row(Row(ledger=made.ledger(), fields={"adaptive": []})),
        ),
        (
            "no_ranked_evidence",
            lambda: with_row(Row(ledger=made.ledger(), fields={"layer": {"reproduction": True}})),
        ),
        ("dp_audit_exceeds_claim", lambda: with_row(Row(ledger=made.ledger(), audit=2.1))),
        ("dp_claim_unsupported", lambda: with_row(Row())),
        (
            "verification_failed",
            lambda: with_row(notes={"verification": {"outcome": "failed", "by": "Other lab"}}),
        ),
        ("benchmark_outdated", lambda: with_row(protocol_version="0")),
    ],
)
def test_what_blocks_in_the_evidence(rule: str, make: Callable[[], tuple[Source, ...]]) -> None:
    outcome = judge(make())
    assert outcome.verdict == "BLOCK"
    assert rule in {f.rule for f in outcome.findings if f.severity == "block"}


def test_evidence_grows_old_after_180_days(sound) -> None:
    assert judge(sound, today=date(2026, 8, 28)).verdict == "PASS"
    late = judge(sound, today=date(2026, 8, 29))
    assert (late.verdict, rules(late), late.status) == ("BLOCK", {"evidence_too_old"}, "expired")


@pytest.mark.parametrize(
    ("rule", "found", "changes"),
    [
        ("dp_expected", None, {"dp": None}),
        ("subgroup_missing", None, {"subgroups": None}),
        ("not_independently_verified", {"by": {}}, {}),
        (
            "not_independently_verified",
            {"by": {}, "notes": {"verification": {"outcome": "verified", "by": "Other lab"}}},
            {},
        ),
        ("not_independently_verified", {}, {"owner": "Other lab"}),
        ("provisional_seeds", {"seeds": 9}, {}),
    ],
)
def test_what_is_conditional_can_be_waived_until_a_day(
    rule: str, found: dict[str, Any] | None, changes: dict[str, Any]
) -> None:
    found_ = with_row(**(found or {}))
    waiver = {"rule": rule, "name": "D. Officer", "reason": "known", "expires": "2026-06-30"}
    open_ = judge(found_, **changes)
    waived = judge(found_, waivers=[waiver], **changes)
    late = judge(found_, today=date(2026, 7, 1), waivers=[waiver], **changes)
    assert rule in rules(open_)
    assert (open_.verdict, waived.verdict, late.verdict) == ("CONDITIONAL", "PASS", "CONDITIONAL")
    assert [f.rule for f in waived.waived] == [rule]
    assert waived.valid_until == date(2026, 6, 30)
    assert "expired on 2026-06-30" in late.findings[0].sentence


def test_declaring_every_required_goal_irrelevant_leaves_no_evidence(sound) -> None:
    outcome = judge(sound, goals={"attribute": {"relevant": False, "reason": "we say so"}})
    assert outcome.verdict == "BLOCK"
    assert rules(outcome) == {"no_ranked_evidence", "required_goal_declined"}


def test_what_blocks_cannot_be_waived(sound) -> None:
    waiver = {
        "rule": "artifact_mismatch",
        "name": "D. O.",
        "reason": "known",
        "expires": "2027-01-01",
    }
    outcome = judge(sound, artifact=None, waivers=[waiver])
    assert outcome.verdict == "BLOCK" and not outcome.waived
    assert "cannot be waived" in outcome.findings[0].sentence


def t1(spent: PrivacyLedger | None, epsilon: float, **changes: Any) -> Judgement:
    claim = None if spent is None else {**CLAIM, "epsilon": epsilon}
    return judge(with_row(Row(ledger=spent)), tier="T1", dp=claim, **changes)


def test_the_first_tier_requires_a_formal_epsilon_and_a_sign_off_above_three() -> None:
    dpo = [{"role": "dpo", "name": "D. Officer", "date": "2026-03-20"}]
    assert t1(made.ledger(2.0), 2.0).verdict == "PASS"
    assert rules(t1(made.ledger(6.0), 6.0)) == {"dp_sign_off_missing"}
    assert t1(made.ledger(6.0), 6.0, sign_offs=dpo).verdict == "PASS"
    assert rules(t1(made.ledger(9.0), 9.0, sign_offs=dpo)) == {"dp_required"}
    assert "dp_required" in rules(t1(None, 0))
    loose = made.ledger(2.0, epsilon_total=None, epsilon_total_basis="not_accounted")
    assert rules(t1(loose, 2.0)) == {"dp_required"}


def signatures(day: str) -> list[dict[str, str]]:
    people = zip(deployed.ROLES, ("Ann Owner", "Ben Lead", "Cleo Officer"), strict=True)
    return [{"role": role, "name": name, "date": day} for role, name in people]


def test_approved_means_passed_and_signed_by_all_three(sound) -> None:
    signs = signatures("2026-03-20")
    assert judge(sound, sign_offs=signs).status == "approved"
    assert judge(sound, sign_offs=signs[:2]).status == "draft"


@pytest.mark.parametrize("day", ["2026-02-28", "2026-04-02"])
def test_nobody_signs_before_the_evidence_or_ahead(sound, day: str) -> None:
    outcome = judge(sound, sign_offs=signatures(day))
    assert outcome.status == "draft" and rules(outcome) == {"sign_offs_unfit"}
    assert "Not counted" in document.markdown(assessment.document(outcome))


def test_evidence_from_the_future_is_no_evidence(sound) -> None:
    early = judge(sound, today=date(2026, 2, 1))
    assert early.verdict == "BLOCK" and "after the day of judgement" in early.findings[0].sentence
    assert judge(sound, today=date(2026, 2, 28)).verdict == "PASS"  # a time zone away


def test_noise_from_a_seed_takes_a_waiver() -> None:
    seeded = with_row(Row(ledger=made.ledger(rng="seeded (not for release)")))
    assert rules(judge(seeded)) == {"dp_noise_seeded"}
    assert judge(seeded).verdict == "CONDITIONAL"


def test_nobody_chooses_a_milder_tier_unseen(sound) -> None:
    assert rules(judge(sound, tier="T3")) == {"tier_too_lenient"}


def test_another_attack_that_tells_members_apart_blocks() -> None:
    row = Row(ledger=made.ledger(), fields={"M": {"guess": 0.1}})
    outcome = judge(with_row(row))
    assert rules(outcome) == {"member_leakage_above_bar"}
    assert "by guess" in document.markdown(assessment.document(outcome))


def test_the_registry_names_the_least_favourable_figures() -> None:
    packs = [
        made.pack(
            {"none": made.NONE, "shield": Row(L={"guess": 0.0, "map": leak}, ledger=made.ledger())},
        )
        for leak in (0.12, 0.05)
    ]
    told = registry.tags(judge(evidence.read(packs)))
    assert told["privacy.Lstar_G3"] == "0.1200" and told["privacy.evidence"] == "made"


def test_what_was_not_attacked_has_met_no_adaptive_attack(sound) -> None:
    nothing = judge(sound, goals={"attribute": {"relevant": False, "reason": "we say so"}})
    assert registry.tags(nothing)["privacy.adaptive"] == "false"


def test_limits_of_the_figures_stand_in_the_assessment(sound) -> None:
    outcome = judge(sound)
    assert any("defenses were compared" in said for said in outcome.limits)
    for said in (assessment.document(outcome), assessment.card(outcome)):
        assert "defenses were compared" in document.markdown(said)
    assert "defenses were compared" in registry.tags(outcome)["privacy.known_limits"]


def test_the_identity_ignores_waivers_but_no_figure(sound) -> None:
    waiver = {"rule": "dp_expected", "name": "D. O.", "reason": "known", "expires": "2027-01-01"}
    assert judge(sound).pia_id == judge(sound, waivers=[waiver]).pia_id
    assert judge(sound).pia_id != judge(sound, purpose="Another").pia_id


def test_a_file_of_weights_has_the_digest_of_a_trial(tmp_path) -> None:
    state = {"b": torch.arange(3.0), "a": torch.eye(2)}
    save_file(state, tmp_path / "w.safetensors")
    found = deployed.digest(deployed.Artifact(path=tmp_path / "w.safetensors"))
    assert found[0] == digest_of(state)
    with pytest.raises(UserError, match="safetensors"):
        deployed.digest(deployed.Artifact(path=tmp_path / "none.safetensors"))


def test_the_assessment_has_ten_sections_and_every_figure_with_its_interval(sound) -> None:
    outcome = judge(sound)
    said = assessment.document(outcome)
    text = document.markdown(said)
    for number in range(1, 11):
        assert f"## {number}. " in text
    assert "What was not tested" in text and text.count("not legal advice") == 1
    # 0.05 +- 0.0115, 2.000 with its ledger, the hash of the evidence, the worst subgroup.
    assert "0.05 [0.04, 0.06]" in text
    assert "2.000 (prv)" in text and outcome.evidence_digest in text and "age=old" in text
    assert "| G3 | 0.06 | low | serious | medium |" in text
    card = document.markdown(assessment.card(outcome), level=2)
    assert card.startswith("## Inversion risk") and "not tested" in card


def test_every_rule_of_the_shipped_policy_is_known_and_the_template_is_valid(tmp_path) -> None:
    shipped = load()
    assert set(shipped.rules) == set(RULES) == set(CHECKS)
    for name, rule in RULES.items():
        assert {shipped.severity(name, tier) for tier in ("T1", "T2")} == {rule.severity}
    assert not shipped.differences()
    path = tmp_path / "model.yaml"
    path.write_text(deployed.TEMPLATE, encoding="utf-8")
    assert deployed.load(path).tier == "T2"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("teir", "T2", "teir: there is no such key. Did you mean 'tier'"),
        ("exposure", {"access": "score", "users": "x"}, "exposure.access"),
        ("goals", {"atribute": {"relevant": True, "reason": "r"}}, "Did you mean 'attribute'"),
        (
            "waivers",
            [{"rule": "dp", "name": "D", "reason": "r", "expires": "2027-01-01"}],
            "no such rule",
        ),
        ("waivers", [{"rule": "dp_expected", "name": "D", "reason": "r"}], "expires"),
    ],
)
def test_a_wrong_description_is_told_by_its_place(
    tmp_path: Path, key: str, value: Any, said: str
) -> None:
    told = yaml.safe_load(deployed.TEMPLATE) | {key: value}
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        deployed.load(path)


def test_names_nobody_knows_are_a_users_mistake(sound) -> None:
    with pytest.raises(UserError, match="Did you mean 'shield'"):
        judge(sound, defense={"name": "sheild"})
    with pytest.raises(UserError, match="no tier 'T9'"):
        judge(sound, tier="T9")
    with pytest.raises(UserError, match="no policy 'strict'"):
        load("strict")


def test_evidence_that_lacks_planned_trials_blocks() -> None:
    whole = made.pack({"none": made.NONE, "shield": Row(ledger=made.ledger())})
    plan = {"suite": "made", "trials": {r.trial_id: r.cell.key() for r in whole.records}}
    fewer = [r for r in whole.records if r.trial_id != "shield-map-3"]
    for records, verdict in ((whole.records, "PASS"), (fewer, "BLOCK")):
        found = evidence.read([replace(whole, records=records, manifest=plan)])
        outcome = judge(made.signed(found, Other_lab="2026-03-02"))
        assert outcome.verdict == verdict, outcome.findings
    assert "no_ranked_evidence" in rules(outcome)
