"""The decision rule, asked for every deployment that a source covers."""

from __future__ import annotations

from collections.abc import Iterator

from bench.contract.access import ACCESS_ORDER, Access, at_least
from bench.decide import covered, recommend
from bench.decide.candidates import Candidate, Question, told
from bench.decide.decision import Decision
from bench.decide.evidence import Scenario, Source, scenarios
from bench.decide.policy import Policy
from bench.report.answers import Answer, Answers, Row
from bench.report.text import ceiling


def answers(source: Source, policy: Policy) -> Answers:
    """What the rule says of every scenario, access and tier of the policy.

    Args:
        source: the evidence.
        policy: rule and bars.
    """
    each = tuple(
        answer
        for scenario in scenarios([source])
        for access in _accesses(source, scenario)
        for answer in _tiers(source, policy, scenario, access)
    )
    return Answers(policy.name, {name: tier.data for name, tier in policy.tiers.items()}, each)


def _accesses(source: Source, scenario: Scenario) -> list[Access]:
    """Those of its boards, but for deletions: nobody deploys a model for them."""
    rows = source.boards.rows
    here = (rows["dataset"] == scenario.dataset) & (rows["model"] == scenario.model)
    known = set(rows.loc[here, "access"])
    return [access for access in ACCESS_ORDER if access in known and access != "deletions"]


def _tiers(source: Source, policy: Policy, scenario: Scenario, access: Access) -> Iterator[Answer]:
    federated = at_least(access, "gradients")
    goals = recommend.asked(policy, scenario, access, federated)
    if federated:  # what its users see is another question
        goals = tuple(pair for pair in goals if pair[0] in policy.federated)
    boards = None
    for name, tier in policy.tiers.items():
        question = Question(
            scenario,
            access,
            tier,
            name,
            goals,
            seeds=policy.seeds.ranked,
            one_target=policy.one_target,
        )
        if boards is None:
            boards = covered.boards([source], question)
        decision = recommend.decide([source], question, steps=False, policy=policy, boards=boards)
        yield Answer(
            scenario.dataset,
            scenario.model,
            scenario.modality,
            federated,
            access,
            name,
            _row(decision.chosen),
            _reason(decision),
            _row(decision.runner_up),
            decision.why_not,
            goals,
        )


def _row(candidate: Candidate | None) -> Row | None:
    if candidate is None:
        return None
    loss = candidate.use.loss
    return Row(
        candidate.defense,
        ceiling(candidate.worst),
        told(loss, 3, True) if loss.known else "",
    )


def _reason(decision: Decision) -> str:
    if decision.chosen is not None:
        return decision.because
    if decision.missing:
        return " ".join(decision.missing)
    near = decision.nearest or next(iter(decision.rejected), None)
    if near is None:
        return "Nothing was measured."
    return f"Nearest is {near.defense}: {near.reason}."
