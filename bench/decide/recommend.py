"""The default defense of a deployment, by the decision rule (PROTOCOL 8.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

from bench.contract.access import Access, at_least
from bench.decide import covered, evidence, further, next_steps
from bench.decide.candidates import SOUND, Candidate, Question, candidates, metric_name, told
from bench.decide.decision import Decision
from bench.decide.evidence import Scenario, Source
from bench.decide.further import Run
from bench.decide.policy import EpsilonRule, Policy

_DAYS = 180


def asked(
    policy: Policy,
    scenario: Scenario,
    access: Access,
    federated: bool = False,
    declined: Sequence[str] = (),
    further: Sequence[str] = (),
) -> tuple[tuple[str, Access], ...]:
    """Every goal that must be measured, with the access an adversary has for it.

    Args:
        policy: says what the class of data requires.
        scenario: what is deployed.
        access: what customers get.
        federated: whether clients share updates, whatever customers get.
        declined: goals that are required but left out.
        further: goals that are asked for besides.
    """
    shared: Access = access if at_least(access, "gradients") else "gradients"
    federated = federated or access == shared
    plain = [*policy.required(scenario.sector, scenario.modality), *further]
    pairs: dict[str, Access] = {goal: access for goal in plain if goal not in declined}
    if federated:
        pairs |= {goal: shared for goal in policy.federated if goal not in declined}
    return tuple((goal, shared if goal in policy.federated else at) for goal, at in pairs.items())


def decide(
    sources: Sequence[Source],
    question: Question,
    steps: bool = True,
    policy: Policy | None = None,
    runs: Mapping[str, Run] | None = None,
    more: Sequence[str] = (),
    boards: Mapping[str, covered.Rows] | None = None,
) -> Decision:
    """The rule, applied to every defense of the scenario.

    Args:
        sources: the evidence.
        question: what is asked.
        steps: whether to work out what to do where nothing qualifies.
        policy: whose tier was asked for, if one was.
        runs: how the sources were asked for, by their names.
        more: overrides of the user's own, for what is to be run.
        boards: as for :func:`bench.decide.candidates.candidates`.
    """
    given, sources = sources, evidence.about(sources, question.scenario)
    metric, found, missing = candidates(sources, question, boards)
    admissible = [c for c in found if c.admissible] if not missing else []
    order, because, why_not = _ranked(admissible, question.bars.epsilon)
    rejected = sorted((c for c in found if not c.admissible), key=lambda c: (c.worst, c.defense))
    close = sorted(
        (c for c in rejected if {rule for rule, _ in c.reasons} <= SOUND),
        key=lambda c: (
            len(c.reasons),
            next_steps.more_seeds(c, question) is None,
            *_low(c),
            c.defense,
        ),
    )
    days = [d for s in sources for d in (s.facts.first, s.facts.last)]
    decision = Decision(
        question,
        metric,
        order[0] if order else None,
        because,
        order[1] if len(order) > 1 else None,
        why_not,
        any(c.bare for c in order),
        tuple(order),
        tuple(rejected),
        tuple(missing),
        close[0] if close and not missing else None,
        digests={s.suite: s.digest for s in sources},
        recorded=(min(days)[:10], max(days)[:10]),
        verified=all(s.verified_by for s in sources),
        until=str(
            date.fromisoformat(min(days)[:10])
            + timedelta(days=_DAYS if policy is None else policy.max_age_days)
        ),
    )
    if not steps:
        return decision

    def qualifying(changed: Question) -> str:
        chosen = decide(given, changed, steps=False).chosen
        return chosen.defense if chosen else ""

    return replace(
        decision,
        steps=() if order else tuple(next_steps.following(given, decision, qualifying)),
        to_run=()
        if order
        else tuple(further.to_run(sources, question, decision.rejected, runs or {}, more)),
        caveats=tuple(next_steps.caveats(sources, decision, policy)),
    )


def _ranked(admissible: Sequence[Candidate], rule: EpsilonRule) -> tuple[list[Candidate], str, str]:
    """The rule's order, how the first was told from those tied with it, why the second is behind.

    Tied are those whose interval of utility overlaps that of the greatest lower end. A model
    without a defense goes before all others where it qualifies.
    """
    by_utility = sorted(admissible, key=lambda c: (*_low(c), c.defense))
    if not by_utility:
        return [], "", ""
    best = by_utility[0]
    tied = [
        c
        for c in by_utility
        if c is best
        or (c.use.metric == best.use.metric and c.use.utility.hi >= best.use.utility.lo)
    ]
    order = sorted(tied, key=lambda c: (*_preference(c, rule), c.defense))
    order += [c for c in by_utility if c not in tied]
    bare = [c for c in order if c.bare]
    if bare:
        order = bare + [c for c in order if not c.bare]
        return order, _BARE, "it is not needed, whatever it leaks less" if len(order) > 1 else ""
    if len(tied) == 1:
        because = "It has the greatest lower end of utility, and no other's interval reaches it."
    else:
        because = (
            f"{len(tied)} defenses are tied in utility (their intervals overlap); "
            + _told_by(order, rule)
        )
    if len(order) == 1:
        return order, "Nothing else qualifies.", ""
    first, second = order[:2]
    if second.use.metric != first.use.metric:
        return order, because, f"it has no {metric_name(first.use.metric)} to compare"
    if second not in tied:
        return (
            order,
            because,
            (f"its utility {told(second.use.utility, 3)} lies below {told(first.use.utility, 3)}"),
        )
    return order, because, "tied in utility; " + _difference(first, second, rule)


def _low(c: Candidate) -> tuple[bool, float]:
    """Sorts the most useful first by the lower end; what is told in another metric comes last."""
    low = c.use.utility.lo
    return not c.use.comparable, -low if math.isfinite(low) else math.inf


_BARE = "It keeps every bar without any defense, and what is not needed is not recommended."
_CRITERIA = (
    "a formal guarantee",
    "fewer parameters",
    "less training time",
    "fewer settings tried",
    "fewer public records",
    "the greater lower end of utility",
)


def _preference(c: Candidate, rule: EpsilonRule) -> tuple[float, ...]:
    known = [math.inf if math.isnan(v) else v for v in (c.use.n_params, c.use.train_s)]
    formal = c.guarantee is not None and c.guarantee.within(rule.most)
    # Tenths of a second of training are the machine's mood, not the defense's cost.
    return (
        -float(formal),
        known[0],
        round(known[1]) if math.isfinite(known[1]) else math.inf,
        c.settings,
        c.use.public_records,
        _low(c)[1],
    )


def _difference(first: Candidate, second: Candidate, rule: EpsilonRule) -> str:
    mine, other = _preference(first, rule), _preference(second, rule)
    for name, a, b in zip(_CRITERIA, mine, other, strict=False):
        if a != b:
            return f"{first.defense} has {name}"
    return "equal by every criterion, told apart by name only"


def _told_by(order: Sequence[Candidate], rule: EpsilonRule) -> str:
    return f"{_difference(order[0], order[1], rule)}, ahead of {order[1].defense}."
