"""Evidence of the deployed model itself, above any stand-in: a campaign before gate and rule."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from bench.contract import UserError
from bench.contract.record import Failure, TrialRecord
from bench.decide import (
    assessment,
    deployed,
    document,
    evidence,
    explain,
    gate,
    recommend,
    registry,
)
from bench.decide.candidates import Question
from bench.decide.decision import Decision
from bench.decide.evidence import Source
from bench.decide.policy import Bars, load
from bench.decide.verdict import Judgement
from tests.decide import campaign, made
from tests.decide.campaign import FILE, LEAKY, OTHER, SAFE, SHIELD, URL
from tests.decide.made import Row
from tests.decide.test_gate import TODAY, described

BARS = Bars(tau=0.20, mu=0.03, loss=0.02)
WAIVED = [{"rule": "dp_expected", "name": "D. O.", "reason": "known", "expires": "2026-06-30"}]


def judge(found: tuple[Source, ...], policy: Any = None, **changes: Any) -> Judgement:
    told: dict[str, Any] = {
        "model": "scorer",
        "defense": {"name": "none"},
        "artifact": {"sha256": FILE},
        "dp": None,
        "waivers": WAIVED,
    }
    model = described(**{**told, **changes})
    return gate.judge(found, model, policy or load(), TODAY, deployed.digest(model.artifact))


def blocking(outcome: Judgement) -> set[str]:
    return {f.rule for f in outcome.findings if f.severity == "block"}


def ask(found: tuple[Source, ...], **changes: Any) -> Decision:
    of = evidence.scenario(found, "loans", "scorer")
    told: dict[str, Any] = {
        "scenario": of,
        "access": "scores",
        "bars": BARS,
        "tier": "",
        "goals": (("attribute", "scores"),),
    }
    return recommend.decide(found, Question(**{**told, **changes}))


def stand_in(row: Row, bare: Row = made.NONE) -> tuple[Source, ...]:
    """Trained targets of the same data, with a defense that acts at training."""
    found = evidence.read([made.pack({"none": bare, "dp_sgd": row})])
    return made.signed(found, Other_lab="2026-03-02")


def test_three_runs_on_one_model_are_enough() -> None:
    outcome = judge(campaign.source())
    assert outcome.verdict == "PASS", outcome.findings
    (m,) = outcome.candidate.measured
    assert m.single and m.itself and (m.n_seeds, m.victims) == (3, 1000)
    assert registry.tags(outcome)["privacy.evidence_of"] == "the deployed model"
    told = assessment.data(outcome)
    assert told["evidence_of"] == told["results"][0]["of"] == "the deployed model"
    assert told["results"][0]["targets"] == 1
    page = document.markdown(assessment.document(outcome))
    assert "over people" in page and "1 (3 runs of 1,000 people)" in page


@pytest.mark.parametrize("change", [{"seeds": 2}, {"victims": 99}])
def test_too_few_runs_or_people_block_unless_a_policy_asks_for_less(change) -> None:
    found = campaign.source(**change)
    assert "given_model_undertested" in blocking(judge(found))
    less = load().one_target.model_copy(update={"seeds": 2, "victims": 99})
    outcome = judge(found, load().model_copy(update={"one_target": less}))
    assert "given_model_undertested" not in blocking(outcome)


def test_the_largest_M_has_an_interval_over_people() -> None:
    (m,) = judge(campaign.source()).candidate.measured
    _, wide = m.members
    # Two attacks, .002 over people and .001 over runs: norm.isf(.0125) is 2.24.
    assert 2.2414 * 0.002 < wide.hi - wide.value < 1.4 * 2.2414 * 0.002
    blocked = judge(campaign.source({"none": replace(LEAKY, M=0.029)}))
    assert blocking(blocked) == {"member_leakage_above_bar"}


def test_nobody_told_apart_is_no_certainty() -> None:
    """An error of 0 over few people still has an upper end."""
    found = campaign.records({"none": SAFE}, victims=100)
    exact = [
        r.model_copy(update={"score": r.score.model_copy(update={"M": 0.0, "M_error": 0.0})})
        for r in found
        if r.score is not None
    ]
    (source,) = evidence.read([made.of_records(exact)])
    rows = evidence.measured([source], evidence.scenario([source]), "attribute", "scores")
    assert 0.02 < rows["none"][0].members[1].hi < 0.06


def test_leakage_and_seeds_that_are_left_out_still_block() -> None:
    assert blocking(
        judge(campaign.source({"none": replace(LEAKY, L={"guess": 0.0, "map": 0.3})}))
    ) == {"leakage_above_bar"}
    kept = [r for r in campaign.records({"none": LEAKY}, seeds=4) if r.cell.seed != 1 or r.control]
    found = made.signed(evidence.read([made.of_records(kept)]), Other_lab="2026-03-02")
    assert "seeds_selected" in blocking(judge(found))


@pytest.mark.parametrize(
    ("artifact", "given"),
    [
        ({"sha256": OTHER}, None),
        ({"url": URL}, None),
        ({"url": URL}, {"url": f"{URL}/old"}),
        ({"sha256": FILE}, {"url": URL}),
        (None, None),
    ],
)
def test_a_campaign_on_another_model_is_stale(artifact, given) -> None:
    outcome = judge(campaign.source(given=given), artifact=artifact)
    assert blocking(outcome) == {"artifact_mismatch"}
    assert outcome.evidence_of == "a stand-in"


def test_of_two_campaigns_each_must_be_on_the_deployed_model() -> None:
    old = [
        r.model_copy(update={"trial_id": f"old-{r.trial_id}"})
        for r in campaign.records({"none": LEAKY}, given={"file_sha256": OTHER})
    ]
    both = (*campaign.source(), *evidence.read([made.of_records(old)]))
    assert blocking(judge(made.signed(both, Other_lab="2026-03-02"))) == {"artifact_mismatch"}


def test_an_endpoint_is_known_by_its_address() -> None:
    outcome = judge(campaign.source(given={"url": URL}), artifact={"url": URL})
    assert outcome.verdict == "PASS" and any("address alone" in said for said in outcome.limits)
    tags = registry.tags(outcome)
    assert tags["privacy.model_url"] == URL and "privacy.model_sha256" not in tags
    assert assessment.data(outcome)["weights_sha256"] is None


SERVER = "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("told", "asked", "same"),
    [
        (f"{SERVER}/v2/models/x", f"{SERVER}/v2/models/x/infer", True),
        (f"{SERVER}/v2/models/x/", f"{SERVER}/v2/models/x/infer", True),
        (f"{SERVER}/v2/models/x/infer/", f"{SERVER}/v2/models/x/infer", True),
        (f"{SERVER}/invocations/", f"{SERVER}/invocations", True),
        (f"{SERVER}/score", f"{SERVER}/score/", True),
        (f"{SERVER}/v2/models/y", f"{SERVER}/v2/models/x/infer", False),
        (SERVER, f"{SERVER}/v2/models/x/infer", False),
        (f"{SERVER}/v2", f"{SERVER}/v2/models/x/infer", False),
        (f"{SERVER}/v2/models", f"{SERVER}/v2/models/x/infer", False),
    ],
)
def test_an_address_is_the_one_that_was_given_to_the_campaign(told, asked, same) -> None:
    outcome = judge(campaign.source(given={"url": asked}), artifact={"url": told})
    assert blocking(outcome) == (set() if same else {"artifact_mismatch"})


def test_any_file_has_a_digest_of_its_bytes(tmp_path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"graph")
    wanted = hashlib.sha256(b"graph").hexdigest()
    assert deployed.digest(deployed.Artifact(path=path)) == (wanted,)
    outcome = judge(campaign.source(given={"file_sha256": wanted}), artifact={"path": path})
    assert outcome.verdict == "PASS"
    with pytest.raises(UserError, match="cannot be read"):
        deployed.digest(deployed.Artifact(path=tmp_path / "none.onnx"))


@pytest.mark.parametrize(
    "told",
    [{}, {"sha256": FILE, "url": URL}, {"url": "ftp://x"}, {"url": "https://me:secret@x.org/m"}],
)
def test_an_artifact_has_one_name_and_no_credential(told) -> None:
    with pytest.raises(ValueError, match="url"):
        deployed.Artifact.model_validate(told)


def test_unknown_members_take_a_waiver() -> None:
    found = campaign.source(members=False)
    assert not found[0].faults
    outcome = judge(found)
    assert outcome.verdict == "CONDITIONAL"
    (open_,) = [f for f in outcome.findings if f.waiver is None]
    assert open_.rule == "members_unknown" and "trained on" in open_.sentence
    waivers = [*WAIVED, {**WAIVED[0], "rule": "members_unknown"}]
    assert judge(found, waivers=waivers).verdict == "PASS"
    decision = ask(found)
    assert decision.chosen is None and decision.nearest is not None
    assert decision.nearest.rule == "members_unknown"


def test_a_safe_model_is_judged_by_its_upper_end() -> None:
    found = campaign.source({"none": SAFE})
    outcome = judge(found)
    assert outcome.verdict == "PASS", outcome.findings
    (m,) = outcome.candidate.measured
    assert "nothing_shown" in m.flags and 0 < m.judged_L[1].hi < 0.10
    assert any("upper end" in said for said in outcome.limits)
    ((kind, said),) = [
        note for notes in found[0].boards.notes.values() for note in notes if "shown" in note[0]
    ][:1]
    assert kind == "nothing_shown" and "standard-tables" in said
    decision = ask(found)
    assert decision.undefended and decision.chosen is not None


def test_without_the_standard_set_nothing_found_is_a_weak_attack() -> None:
    found = campaign.source({"none": replace(SAFE, L={"probe": 0.0})})
    assert "no_ranked_evidence" in blocking(judge(found))
    trained = made.sources({"none": Row(L={"guess": 0.0, "map": 0.0})})
    rows = trained[0].boards.rows
    assert all("weak_attack" in flags for flags in rows["flags"])


def test_the_campaign_decides_where_it_covers() -> None:
    """The stand-in says less of leakage than what was found on the model itself."""
    leaks = campaign.source({"none": replace(LEAKY, L={"guess": 0.0, "map": 0.3})})
    both = (*leaks, *stand_in(Row(L={"guess": 0.0, "map": 0.05})))
    for defense in ("none", "dp_sgd"):
        outcome = judge(both, stand_in="mlp", defense={"name": defense})
        assert "leakage_above_bar" in blocking(outcome), defense
        assert {m.model for m in outcome.candidate.measured} == {"scorer"}
        assert outcome.evidence_of == "the deployed model"


def test_a_stand_in_fills_more_access_and_says_so() -> None:
    shared = {"access": "scores", "users": "staff", "weights_shared_with": ["a vendor"]}
    row = Row(L={"guess": 0.0, "map": 0.05, "open": 0.08})
    bare = Row(L={"guess": 0.3, "map": 0.6, "open": 0.6}, M=0.2)
    both = (*campaign.source(), *stand_in(row, bare))
    alone = judge(both, exposure=shared)
    assert "no_ranked_evidence" in blocking(alone)
    outcome = judge(both, exposure=shared, stand_in="mlp", defense={"name": "dp_sgd"})
    (m,) = outcome.candidate.measured
    assert (m.access, m.model, m.itself) == ("weights", "mlp", False)
    # 0.10 with scores on the model itself is above the stand-in's 0.08 with weights.
    assert "on scorer" in m.judged_L[0] and m.judged_L[1].hi > 0.1
    assert outcome.evidence_of == "a stand-in"
    assert "a stand-in (mlp)" in document.markdown(assessment.document(outcome))


def test_a_campaign_on_the_deployed_model_cannot_be_left_unnamed() -> None:
    both = (*campaign.source({"none": replace(LEAKY, L={"map": 0.6})}), *stand_in(Row()))
    outcome = judge(both, model="mlp", defense={"name": "dp_sgd"})
    assert "artifact_mismatch" in blocking(outcome)
    assert any("'scorer'" in f.sentence for f in outcome.findings)


def test_a_stand_in_nobody_measured_is_a_mistake() -> None:
    with pytest.raises(UserError, match="no model 'mpl'"):
        judge(campaign.source(), stand_in="mpl")


def test_a_defense_before_the_model_is_recommended_by_people() -> None:
    rows = {"none": replace(LEAKY, L={"guess": 0.2, "map": 0.5}), "shield": SHIELD}
    decision = ask(campaign.source(rows))
    assert decision.chosen is not None and decision.chosen.defense == "shield"
    said = document.text(explain.document(decision))
    assert "model itself" in said and "over people" in said and "at training" in said
    stricter = ask(campaign.source(rows), bars=BARS.model_copy(update={"tau": 0.051}))
    assert stricter.chosen is None and not stricter.to_run
    assert not any("seeds" in step for step in stricter.steps)


def test_an_attack_that_failed_in_one_run_speaks_against_a_defense() -> None:
    """Another attack ran three times and found more, so that the row alone does not show it."""
    shield = replace(SHIELD, L={"guess": 0.05, "map": 0.04})
    rows = {"none": replace(LEAKY, L={"guess": 0.2, "map": 0.5}), "shield": shield}

    def failed(r: TrialRecord) -> TrialRecord:
        if (r.cell.defense, r.cell.attack, r.cell.seed, r.control) != ("shield", "map", 1, ""):
            return r
        gone = Failure(type="RuntimeError", message="gone")
        return r.model_copy(update={"status": "failed", "score": None, "error": gone})

    assert ask(campaign.source(rows)).chosen is not None
    found = evidence.read([made.of_records([failed(r) for r in campaign.records(rows)])])
    decision = ask(made.signed(found, Other_lab="2026-03-02"))
    assert decision.chosen is None
    assert {c.defense: c.rule for c in decision.rejected}["shield"] == "missing"


def test_a_trained_model_keeps_the_row_of_its_own_defense() -> None:
    """With a stand-in, too: only what was given carries its training's defense in its weights."""
    both = (*campaign.source(), *stand_in(Row()))
    changes = {"model": "mlp", "stand_in": "scorer", "defense": {"name": "dp_sgd"}}
    outcome = judge(both, artifact={"sha256": made.weights("dp_sgd", 0)}, **changes)
    assert [m.defense for m in outcome.candidate.measured] == ["dp_sgd"]
    assert outcome.verdict == "PASS" and outcome.evidence_of == "a stand-in"
