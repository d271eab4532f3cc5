"""The decision rule, on evidence whose intervals are worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from bench.contract import UserError
from bench.decide import document, evidence, explain, recommend
from bench.decide.candidates import Question
from bench.decide.decision import Decision
from bench.decide.policy import Bars, EpsilonRule, load
from tests.decide import made
from tests.decide.made import Row

BARS = Bars(tau=0.20, mu=0.03, loss=0.02)


def ask(found: tuple[evidence.Source, ...], **changes: object) -> Decision:
    of = evidence.scenario(found)
    access = changes.pop("access", "scores")
    told_: dict[str, object] = {
        "scenario": of,
        "access": access,
        "bars": BARS,
        "tier": "",
        "goals": (("attribute", access),),
    }
    return recommend.decide(found, Question(**{**told_, **changes}))  # type: ignore[arg-type]


def why(decision: Decision) -> dict[str, str]:
    return {c.defense: c.rule for c in decision.rejected}


def test_intervals_are_those_worked_out_by_hand() -> None:
    found = made.sources({"shield": Row(L={"guess": 0.0, "map": 0.10}, step=0.02)})
    (m,) = evidence.measured(found, evidence.scenario(found), "attribute", "scores")["shield"]
    assert (m.attack, m.n_seeds) == ("map", 10)
    assert m.L.value == pytest.approx(0.10)
    assert m.L.hi == pytest.approx(0.10 + made.WIDTH * 0.02, abs=2e-3)


@pytest.mark.parametrize(("mean", "rule"), [(0.182, ""), (0.187, "leakage")])
def test_the_upper_end_of_leakage_decides_not_the_mean(mean: float, rule: str) -> None:
    # 0.182 + 0.7541 * 0.02 = 0.197, 0.187 + 0.015 = 0.202, where 0.20 is allowed.
    found = made.sources({"shield": Row(L={"guess": 0.0, "map": mean}, step=0.02)})
    decision = ask(found)
    assert why(decision).get("shield", "") == rule
    assert (decision.chosen is not None) == (rule == "")


@pytest.mark.parametrize(("member", "rule"), [(0.0285, ""), (0.0295, "member_leakage")])
def test_the_upper_end_of_member_leakage_decides(member: float, rule: str) -> None:
    decision = ask(made.sources({"shield": Row(M=member)}))  # +- 0.7541 * 0.001
    assert why(decision).get("shield", "") == rule


def test_the_most_useful_is_recommended_and_the_runner_up_told_apart() -> None:
    rows = {"good": Row(utility=0.800), "poor": Row(utility=0.785)}
    decision = ask(made.sources(rows))
    assert decision.chosen and decision.chosen.defense == "good"
    assert decision.runner_up and decision.runner_up.defense == "poor"
    assert "lies below" in decision.why_not
    assert why(decision) == {"none": "leakage"}


def test_what_may_cost_too_much_is_not_admissible() -> None:
    assert why(ask(made.sources({"dear": Row(utility=0.775)})))["dear"] == "utility"


@pytest.mark.parametrize(
    ("better", "criterion"),
    [
        (Row(utility=0.799, ledger=made.ledger()), "a formal guarantee"),
        (Row(utility=0.799, fields={"n_params": 10}), "fewer parameters"),
        (Row(utility=0.799, fields={"train_s": 0.1}), "less training time"),
    ],
)
def test_ties_in_utility_go_by_the_protocols_criteria(better: Row, criterion: str) -> None:
    decision = ask(made.sources({"plain": Row(utility=0.800), "tied": better}))
    assert decision.chosen and decision.chosen.defense == "tied"
    assert criterion in decision.because


def test_an_epsilon_without_its_tuning_is_no_formal_guarantee() -> None:
    loose = made.ledger(epsilon_total=None, epsilon_total_basis="not_accounted")
    rows = {"plain": Row(utility=0.800), "tied": Row(utility=0.799, ledger=loose)}
    decision = ask(made.sources(rows))
    assert decision.chosen and decision.chosen.defense == "plain"
    required = BARS.model_copy(update={"epsilon": EpsilonRule(rule="required", most=8)})
    assert why(ask(made.sources(rows), bars=required)) == {
        "none": "leakage",
        "plain": "no_guarantee",
        "tied": "no_guarantee",
    }


@pytest.mark.parametrize(("epsilon", "chosen"), [(7.9, True), (8.1, False)])
def test_a_required_epsilon_has_a_limit(epsilon: float, chosen: bool) -> None:
    required = BARS.model_copy(update={"epsilon": EpsilonRule(rule="required", most=8)})
    found = made.sources({"dp": Row(ledger=made.ledger(epsilon))})
    assert (ask(found, bars=required).chosen is not None) == chosen


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (Row(fields={"adaptive": []}), "non_adaptive"),
        (Row(fields={"public": 101}), "undeclared_public_data"),
        (Row(ledger=made.ledger(1.0), audit=1.5), "broken_privacy"),
    ],
)
def test_rows_that_are_no_evidence_are_rejected(row: Row, rule: str) -> None:
    assert why(ask(made.sources({"shield": row})))["shield"] == rule


def test_fewer_than_ten_seeds_are_rejected() -> None:
    decision = ask(made.sources({"shield": Row()}, seeds=9))
    assert decision.chosen is None
    assert why(decision)["shield"] == "too_few_seeds"


def test_refuted_evidence_is_rejected() -> None:
    notes = {"verification": {"outcome": "failed", "by": "somebody"}}
    assert why(ask(made.sources({"shield": Row()}, notes=notes)))["shield"] == "verification_failed"


def test_a_goal_without_a_board_is_missing_evidence_not_fine() -> None:
    goals = (("attribute", "scores"), ("output_reconstruction", "scores"))
    decision = ask(made.sources({"shield": Row()}), goals=goals)
    assert decision.chosen is None
    assert "no evidence on output reconstruction" in decision.missing[0]
    assert decision.steps[0].startswith("Measure first")


def test_a_board_of_weak_attacks_is_no_evidence() -> None:
    weak = Row(L={"guess": -0.01, "map": -0.01})
    decision = ask(evidence.read([made.pack({"none": weak, "shield": weak})]))
    assert decision.chosen is None
    assert "weak attack" in decision.missing[0]


def test_evidence_at_a_stronger_access_counts_at_a_weaker_one_not_the_reverse() -> None:
    only_scores = {"shield": Row(L={"map": 0.05})}
    none = Row(L={"map": 0.60}, M=0.2)
    found = evidence.read([made.pack({"none": none, **only_scores})])
    weaker = ask(found, access="labels")
    assert weaker.chosen and {m.access for m in weaker.chosen.measured} == {"scores"}
    assert ask(found, access="weights").missing


def test_the_undefended_model_may_qualify() -> None:
    quiet = Row(L={"guess": 0.02, "map": 0.10})
    decision = ask(evidence.read([made.pack({"none": quiet})]))
    assert decision.undefended and decision.chosen and decision.chosen.defense == "none"
    assert explain.document(decision).verdict == "No defense is needed."


def test_where_nothing_qualifies_the_way_on_is_looked_up_in_the_evidence() -> None:
    rows = {
        "leaky": Row(L={"guess": 0.05, "probe": 0.1, "map": 0.40}),
        "mask": Row(L={"guess": 0.06, "probe": 0.1, "map": 0.45}, fields={"stages": ["release"]}),
    }
    none = Row(L={"guess": 0.3, "probe": 0.5, "map": 0.60}, M=0.2, step=0.02)
    steps = ask(evidence.read([made.pack({"none": none, **rows})])).steps
    assert "with labels, leaky would qualify" in steps[0]
    assert "no attack was run with a budget" in steps[1]
    assert "leaky+mask" in steps[3]
    assert steps[-1].endswith("Do not expose the model.")


def test_a_budget_under_which_something_would_qualify_is_named() -> None:
    found = evidence.read([made.pack(CAPPED)])
    assert ask(found).chosen is None
    assert "with at most 1,000 queries, leaky would qualify" in ask(found).steps[1]


def test_scores_that_are_needed_rule_out_labels() -> None:
    rows = {"mask": Row(L={"guess": 0.05}, fields={"stages": ["release"]})}
    found = made.sources(rows)
    assert ask(found).chosen
    decision = ask(found, needs_scores=True)
    assert why(decision)["mask"] == "no_scores"
    assert "labels alone are no option" in decision.steps[0]


CAPPED = {
    "none": Row(L={"map": 0.60, "map[budget=1000]": 0.5, "map[budget=100]": 0.4}, M=0.2),
    "leaky": Row(L={"map": 0.40, "map[budget=1000]": 0.1, "map[budget=100]": 0.02}),
}


@pytest.mark.parametrize(("cap", "budget"), [(60, 100), (100, 100), (101, 1000), (1000, 1000)])
def test_the_smallest_budget_that_covers_the_query_cap_is_judged(cap: int, budget: int) -> None:
    found = evidence.read([made.pack(CAPPED)])
    decision = ask(found, query_cap=cap)
    assert decision.chosen and decision.chosen.measured[0].budget == budget
    said = (
        f"boards of at most {budget:,} queries, the smallest budget that covers the cap of {cap:,}"
    )
    assert any(said in text for text in decision.caveats)
    assert f"with scores, at most {budget:,} queries" in document.text(explain.document(decision))
    assert explain.data(decision)["chosen"]["measured"][0]["budget"] == budget


@pytest.mark.parametrize("rows", [CAPPED, {"none": made.NONE, "leaky": Row(L={"map": 0.4})}])
def test_where_no_budget_covers_the_cap_attacks_without_limit_count(rows: dict[str, Row]) -> None:
    decision = ask(evidence.read([made.pack(rows)]), query_cap=2000)
    assert decision.chosen is None
    assert any("No board of a budget covers the query cap of 2,000" in t for t in decision.caveats)


def test_a_budget_that_only_one_of_two_packs_has_is_not_judged() -> None:
    other = made.records({"none": made.NONE, "leaky": Row(L={"map": 0.4})}, benchmark_version="2")
    both = evidence.read([made.pack(CAPPED), made.Pack("more", other, {})])
    assert evidence.level(both, evidence.scenario(both), "attribute", "scores", 1000)[1] == math.inf


def test_federated_and_weights_are_asked_for_what_they_give() -> None:
    policy, of = load(), evidence.Scenario("loans", "mlp", "credit", "table")
    assert recommend.asked(policy, of, "scores") == (("attribute", "scores"),)
    assert recommend.asked(policy, of, "scores", federated=True) == (
        ("attribute", "scores"),
        ("gradient_reconstruction", "gradients"),
    )


def test_every_view_says_the_same_and_nothing_runs_in_the_page() -> None:
    decision = ask(made.sources({"<b>shield": Row()}))
    page = document.html(explain.document(decision))
    assert "&lt;b&gt;shield" in page and "<b>shield" not in page
    assert "<script" not in page and "http" not in page
    assert "Use <b>shield." in document.text(explain.document(decision))
    plain = json.loads(json.dumps(explain.data(decision), allow_nan=False))
    assert plain["chosen"]["defense"] == "<b>shield"
    assert plain["chosen"]["admissible"] and not plain["rejected"][0]["admissible"]


def test_several_scenarios_must_be_named() -> None:
    other = made.pack({"none": made.NONE}).records
    moved = [
        r.model_copy(update={"cell": r.cell.model_copy(update={"model": "cnn"})}) for r in other
    ]
    both = made.pack({"none": made.NONE})
    found = evidence.read([both, made.Pack("more", moved, {})])
    with pytest.raises(UserError, match="loans/cnn, loans/mlp"):
        evidence.scenario(found)
    assert evidence.scenario(found, model="cnn").model == "cnn"
    with pytest.raises(UserError, match="Did you mean 'mlp'"):
        evidence.scenario(found, model="mpl")


def test_what_is_not_needed_is_never_recommended() -> None:
    # More useful by far and tied with nothing, and still behind the model without a defense.
    plain = Row(L={"guess": 0.05, "map": 0.1}, utility=0.80)
    found = evidence.read([made.pack({"none": plain, "shield": Row(utility=0.90)})])
    decision = ask(found)
    assert decision.chosen and decision.chosen.defense == "none"
    assert [c.defense for c in decision.admissible] == ["none", "shield"]
    assert explain.document(decision).verdict == "No defense is needed."


def test_the_floor_of_utility_is_that_of_a_tuned_network() -> None:
    leaky = Row(L={"guess": 0.3, "map": 0.6}, utility=0.86)
    rows = {"shield": Row(utility=0.81), "regularised": leaky}
    alone = ask(made.sources({"shield": rows["shield"]}))
    assert alone.chosen and alone.chosen.use.against == "none"
    beside = ask(made.sources(rows))
    assert beside.chosen is None
    [shield] = [c for c in beside.rejected if c.defense == "shield"]
    assert shield.rule == "utility" and shield.use.loss.value == pytest.approx(-0.05)


def test_dropping_an_attribute_protects_no_other_and_the_answer_says_so() -> None:
    layer = {"_target_": "defenses.drop_attribute.DropAttribute"}
    found = made.sources({"drop_attribute": Row()})
    infos = dict(found[0].facts.defenses)
    infos["drop_attribute"] = infos["drop_attribute"].model_copy(update={"layers": [layer]})
    source = replace(found[0], facts=replace(found[0].facts, defenses=infos))
    decision = ask((source,))
    assert decision.chosen and decision.chosen.defense == "drop_attribute"
    assert decision.chosen.hides == ("the attacked attribute",)
    assert any("Any other attribute is as exposed" in caveat for caveat in decision.caveats)
    listed = document.text(explain.document(decision), 200)
    assert "drop_attribute (acts on the attacked attribute alone)" in listed
    assert not any("protects no other" in c for c in ask(made.sources({"shield": Row()})).caveats)
