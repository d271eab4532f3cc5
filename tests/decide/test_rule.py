"""What could make a rule say yes for no good reason: weak, stale, foreign or lucky evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.contract.record import Failure, Utility
from bench.decide import evidence, explain, recommend
from bench.decide.candidates import Question
from bench.decide.decision import Decision
from bench.decide.document import text
from bench.decide.evidence import Source
from bench.decide.policy import Bars, EpsilonRule, load
from bench.report import coverage
from tests.decide import made
from tests.decide.made import Row

BARS = Bars(tau=0.20, mu=0.03, loss=0.02)
REQUIRED = BARS.model_copy(update={"epsilon": EpsilonRule(rule="required", most=8)})
OPEN = Row(L={"guess": 0.3, "map": 0.6, "open": 0.6}, M=0.2)


def ask(found: tuple[Source, ...], **changes: Any) -> Decision:
    of, access = evidence.scenario(found, "loans", "mlp"), changes.pop("access", "scores")
    policy = changes.pop("policy", None)
    told_: dict[str, Any] = {
        "scenario": of,
        "access": access,
        "bars": BARS,
        "tier": "",
        "goals": (("attribute", access),),
    }
    return recommend.decide(found, Question(**{**told_, **changes}), policy=policy)


def why(decision: Decision) -> dict[str, str]:
    return {c.defense: c.rule for c in decision.rejected}


def of_model(pack: made.Pack, model: str) -> list[Any]:
    return [
        r.model_copy(
            update={
                "trial_id": f"{model}-{r.trial_id}",
                "cell": r.cell.model_copy(update={"model": model}),
            }
        )
        for r in pack.records
    ]


def test_a_weaker_attack_that_tells_members_apart_counts() -> None:
    shield = Row(L={"guess": 0.01, "map": 0.05}, fields={"M": {"guess": 0.10}})
    decision = ask(made.sources({"shield": shield}))
    (found,) = [c for c in decision.rejected if c.defense == "shield"]
    assert found.rule == "member_leakage" and "by guess" in found.reason


def test_a_row_that_repeats_what_the_protocol_refuses_is_never_recommended() -> None:
    best = Row(L={"guess": 0.0, "map": 0.0}, utility=0.9, fields={"layer": {"reproduction": True}})
    decision = ask(made.sources({"copied": best, "shield": Row()}))
    assert decision.chosen is not None and decision.chosen.defense == "shield"
    assert why(decision)["copied"] == "reproduction"
    own = replace(best, fields={"layer": {"reproduction": False}})
    chosen = ask(made.sources({"copied": own, "shield": Row()})).chosen
    assert chosen is not None and chosen.defense == "copied"


def test_less_access_never_turns_yes_into_no() -> None:
    shield = Row(L={"guess": 0.01, "map": 0.05}, fields={"M": {"guess": 0.10}})
    found = made.sources({"shield": shield})
    answers = [ask(found, access=access).chosen is not None for access in ("labels", "scores")]
    assert answers == [False, False]


def test_a_layer_on_the_answers_is_no_evidence_for_who_has_the_weights() -> None:
    stack = Row(
        L={"guess": 0.0, "map": 0.05, "open": 0.05}, fields={"stages": ["training", "release"]}
    )
    found = evidence.read([made.pack({"none": OPEN, "stack": stack})])
    assert ask(found, access="scores").chosen
    decision = ask(found, access="weights")
    assert why(decision)["stack"] == "bypassed"


def test_no_query_cap_binds_who_has_the_weights() -> None:
    leaky = Row(L={"guess": 0.0, "map": 0.5, "map[budget=1000]": 0.05, "open": 0.05})
    none = Row(L=OPEN.L | {"map[budget=1000]": 0.5}, M=OPEN.M)
    found = evidence.read([made.pack({"none": none, "leaky": leaky})])
    assert ask(found, access="scores", query_cap=1000).chosen
    decision = ask(found, access="weights", query_cap=1000)
    assert decision.chosen is None
    assert "no cap binds who has the weights" in decision.steps[1]
    assert any("query cap was ignored" in said for said in decision.caveats)


def test_public_records_of_data_that_declares_none_are_undeclared() -> None:
    silent = made.pack({"none": made.NONE, "shield": Row(fields={"public": 5})})
    records = [
        r.model_copy(update={"data": r.data.model_copy(update={"facts": {}})})
        for r in silent.records
    ]
    decision = ask(evidence.read([made.Pack("made", records, {})]))
    assert why(decision)["shield"] == "undeclared_public_data"


@pytest.mark.parametrize(
    "ledger",
    [made.ledger(50.0), made.ledger(sampling="shuffle"), made.ledger(unit="class")],
    ids=["vacuous", "shuffled", "wrong unit"],
)
def test_what_guarantees_nothing_wins_no_tie(ledger: Any) -> None:
    rows = {"plain": Row(utility=0.800), "dp": Row(utility=0.799, ledger=ledger)}
    decision = ask(made.sources(rows))
    assert decision.chosen and decision.chosen.defense == "plain"
    assert ask(made.sources(rows), bars=REQUIRED).chosen is None


def test_a_straw_man_says_nothing_of_what_a_defense_costs() -> None:
    poor = Utility(metric="auroc", value=0.80, reference=0.90, all={"auroc": 0.80})
    decision = ask(made.sources({"shield": Row()}, utility=poor))
    assert why(decision)["shield"] == "straw_man"


def test_a_board_of_weak_attacks_gives_way_to_the_next_stronger_access() -> None:
    none = Row(L={"guess": -0.05, "map": 0.6}, M=0.2)
    shield = Row(L={"guess": -0.05, "map": 0.05})
    decision = ask(evidence.read([made.pack({"none": none, "shield": shield})]), access="labels")
    assert decision.chosen and decision.chosen.measured[0].access == "scores"


def test_another_packs_scenarios_are_no_evidence_for_or_against() -> None:
    mine = made.pack({"none": made.NONE, "shield": Row()})
    refuted = {"verification": {"outcome": "failed", "by": "Other lab"}}
    other = [
        r.model_copy(update={"cell": r.cell.model_copy(update={"dataset": "shop"})})
        for r in mine.records
    ]
    found = evidence.read([mine, made.Pack("shop", other, {}, {}, refuted)])
    decision = ask(found)
    assert decision.chosen and decision.chosen.defense == "shield"
    assert list(decision.digests or ()) == ["made"]


def test_the_same_evidence_twice_counts_once() -> None:
    mine = made.pack({"none": made.NONE, "shield": Row()})
    decision = ask(evidence.read([mine, mine]))
    assert decision.chosen and len(decision.chosen.measured) == 1


def test_a_row_must_meet_the_attack_that_another_pack_brings() -> None:
    base = made.pack({"none": made.NONE, "shield": Row(), "armour": Row()})
    L = {"guess": 0.0, "map": 0.05, "probe": 0.05}
    none = Row(L={"guess": 0.30, "map": 0.60, "probe": 0.7}, M=0.2)
    newer = made.pack({"none": none, "armour": Row(L=L)})
    decision = ask(evidence.read([base, made.Pack("newer", newer.records, {})]))
    (late,) = [c for c in decision.rejected if c.defense == "shield"]
    assert late.rule == "not_measured" and "did not meet probe" in late.reason
    assert decision.chosen and decision.chosen.defense == "armour"


def test_evidence_that_does_not_follow_from_its_records_recommends_nothing() -> None:
    (source,) = made.sources({"shield": Row()})
    altered = (replace(source, faults=("loans/mlp/shield/map/0: L is 0.01, not 0.60",)),)
    assert ask((source,)).chosen is not None
    decision = ask(altered)
    assert decision.chosen is None and "altered" in why(decision).values()


def test_whoever_made_the_pack_is_nobody_else() -> None:
    typed = {"submitter": "We", "verification": {"outcome": "verified", "by": "Other lab"}}
    found = made.sources({"shield": Row()}, notes=typed)
    assert not ask(found).verified  # anybody can have typed that
    assert not ask(made.signed(found, we="2026-03-02")).verified
    assert ask(made.signed(found, Other_lab="2026-03-02")).verified


def test_a_composition_that_could_not_qualify_is_not_proposed() -> None:
    leaks = {"guess": 0.05, "probe": 0.1, "map": 0.40}
    rows = {
        "plain": Row(L=leaks),
        "dp": Row(L={**leaks, "map": 0.45}, ledger=made.ledger()),
        "mask": Row(L={**leaks, "map": 0.42}, fields={"stages": ["release"]}),
        "mute": Row(L={"guess": 0.25}, fields={"stages": ["release"]}),
    }
    none = Row(L={"guess": 0.3, "probe": 0.5, "map": 0.60}, M=0.2, step=0.02)
    found = evidence.read([made.pack({"none": none, **rows})])
    assert "plain+mask" in ask(found).steps[3]  # not mute: labels were measured already
    assert "dp+mask" in ask(found, bars=REQUIRED).steps[3]


def test_clients_go_on_sharing_updates_whatever_customers_get() -> None:
    leaky = Row(L={"guess": 0.05, "map": 0.40})
    goals = (("attribute", "scores"), ("gradient_reconstruction", "gradients"))
    decision = ask(made.sources({"leaky": leaky}), goals=goals)
    assert "with labels, nothing would qualify either" in decision.steps[1]


def test_a_clipped_zero_is_told_as_it_came_out() -> None:
    said = text(
        explain.document(ask(made.sources({"shield": Row(L={"guess": -0.3, "map": -0.04})})))
    )
    assert "unclipped" in said and "no better than without the model" in " ".join(said.split())
    assert "does worse than guessing without the model" in " ".join(said.split())
    assert "of 10 targets" in " ".join(said.split())


def test_the_luck_of_many_comparisons_is_told() -> None:
    clear = ask(made.sources({"shield": Row()}))
    assert any("still keeps all bars when intervals allow" in said for said in clear.caveats)
    close = ask(made.sources({"shield": Row(L={"guess": 0.0, "map": 0.183}, step=0.02)}))
    assert any("no longer shown to keep L on attribute" in said for said in close.caveats)


def test_where_only_the_intervals_are_too_wide_it_says_how_many_seeds_it_takes() -> None:
    # 0.187 +- 0.016: a half width of 0.013 takes some seeds more than ten.
    row = Row(L={"guess": 0.0, "map": 0.187}, step=0.02)
    decision = ask(made.sources({"shield": row}))
    assert decision.nearest and decision.nearest.defense == "shield"
    assert "about 1" in " ".join(text(explain.document(decision)).split())
    assert decision.nearest.seed_s == 2 * (1 + 3)  # a training and three attacks, and those on none
    assert "by the recorded times" in decision.steps[0]
    beyond = ask(made.sources({"shield": Row(L={"guess": 0.0, "map": 0.3})}))
    assert "seeds would show it" not in text(explain.document(beyond))


def test_too_few_seeds_are_told_in_seeds_and_time() -> None:
    decision = ask(made.sources({"shield": Row()}), seeds=16)
    assert why(decision)["shield"] == "too_few_seeds"
    assert "about 16 seeds" in decision.steps[0] and "48 s" in decision.steps[0]


def test_nearest_is_what_misses_by_an_interval_not_by_far() -> None:
    rows = {
        "useful": Row(L={"guess": 0.0, "map": 0.5}, utility=0.85),
        "close": Row(L={"guess": 0.0, "map": 0.187}, step=0.02),
    }
    decision = ask(made.sources(rows))
    assert decision.nearest and decision.nearest.defense == "close"


def test_a_tier_below_the_policys_own_is_said() -> None:
    found, policy = made.sources({"shield": Row()}), load()
    lax = ask(found, tier="T3", bars=policy.tier("T3"), policy=policy)
    assert any("puts credit data in T2; T3 asks less" in said for said in lax.caveats)
    assert not any("asks less" in c for c in ask(found, tier="T2", policy=policy).caveats)


def test_a_row_whose_planned_trials_are_not_all_there_is_no_evidence() -> None:
    whole = made.pack({"none": made.NONE, "shield": Row(), "armour": Row()})
    plan = {"suite": "made", "trials": {r.trial_id: r.cell.key() for r in whole.records}}
    [sound] = evidence.read([replace(whole, manifest=plan)])
    assert "shield" not in why(ask((sound,)))
    for gone in ("shield-map-3", "shield-guess-9"):
        fewer = [r for r in whole.records if r.trial_id != gone]
        found = evidence.read([replace(whole, records=fewer, manifest=plan)])
        decision = ask(found)
        assert why(decision)["shield"] == "missing"
        assert "armour" not in why(decision)
        assert "planned trials are there" in text(explain.document(decision))


def test_an_attack_that_joined_and_a_row_did_not_meet_is_not_met() -> None:
    met = made.pack({"none": made.NONE, "shield": Row(), "armour": Row()})
    like = next(r for r in met.records if r.cell.attack == "map")
    absent = Failure(type=coverage.NOT_RUN, message="It did not meet this row.")
    records = [
        coverage.stand_in(r.trial_id, r.cell, absent, like, r, r.data)
        if (r.cell.defense, r.cell.attack) == ("shield", "map")
        else r
        for r in met.records
    ]
    decision = ask(evidence.read([replace(met, records=records)]))
    assert why(decision)["shield"] == "not_measured"
