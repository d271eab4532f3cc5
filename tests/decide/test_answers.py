"""The answers of the front page are those of the decision rule."""

from __future__ import annotations

from bench.decide import evidence, recommend
from bench.decide.answers import answers
from bench.decide.candidates import Question
from bench.decide.policy import load
from tests.decide import made
from tests.decide.made import Row

POLICY = load("default")
FOUND = made.sources({"shield": Row(L={"guess": 0.0, "map": 0.10}), "leaky": Row()})


def test_every_tier_of_every_access_is_answered_as_recommend_does() -> None:
    [source] = FOUND
    told = answers(source, POLICY)
    rows = source.boards.rows
    assert {answer.access for answer in told.each} == set(rows["access"])
    assert list(told.tiers) == list(POLICY.tiers)
    assert len(told.each) == len(set(rows["access"])) * len(POLICY.tiers)
    scenario = evidence.scenario(FOUND)
    for answer in told.each:
        question = Question(
            scenario,
            answer.access,  # type: ignore[arg-type]
            POLICY.tiers[answer.tier],
            answer.tier,
            recommend.asked(POLICY, scenario, answer.access),  # type: ignore[arg-type]
            seeds=POLICY.seeds.ranked,
        )
        decision = recommend.decide(FOUND, question)
        chosen = None if decision.chosen is None else decision.chosen.defense
        assert (None if answer.chosen is None else answer.chosen.defense) == chosen
        assert answer.goals == question.goals and answer.reason
    assert any(answer.chosen for answer in told.each)
    assert any(answer.chosen is None for answer in told.each)
