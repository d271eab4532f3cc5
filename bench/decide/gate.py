"""The gate: what has to hold before a model is released (PROTOCOL 8.3)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import date, timedelta

import pandas as pd

from bench.contract.errors import nearest, require
from bench.decide import (
    candidates,
    covered,
    evidence,
    next_steps,
    one_model,
    recommend,
    rules,
    untested,
)
from bench.decide.candidates import Candidate, Question
from bench.decide.case import Case, recorded
from bench.decide.deployed import Deployed
from bench.decide.evidence import Scenario, Source
from bench.decide.policy import Policy
from bench.decide.rules import people
from bench.decide.use import Use, usefulness
from bench.decide.verdict import Finding, Judgement
from bench.report import canaries

EXIT = {"PASS": 0, "BLOCK": 1, "CONDITIONAL": 3}
_UNSIGNED = (
    "Nobody signed to have run all of this evidence again. Records, plan and digests that somebody "
    "changed together, so that all sums hold, are found by running trials again only: seeds or "
    "attacks left out of records and plan alike, times moved all by the same, a made-up run.",
)


def judge(
    sources: Sequence[Source],
    model: Deployed,
    policy: Policy,
    today: date,
    names: tuple[str, ...],
) -> Judgement:
    """Judge a model.

    Args:
        sources: its evidence.
        model: its description.
        policy: bars and rules.
        today: the day it is judged on.
        names: its digests or its address, :func:`bench.decide.deployed.digest`; empty: unknown.

    Raises:
        UserError: the description names a tier, data set, model or defense nobody knows.
    """
    bars = policy.tier(model.tier)
    of = evidence.scenario(sources, model.data.dataset, model.model)
    other = (
        evidence.scenario(sources, model.data.dataset, model.stand_in) if model.stand_in else None
    )
    named, sources = sources, _about(sources, of, other)
    access = model.exposure.effective
    declined = [goal for goal, told in model.goals.items() if not told.relevant]
    asked = recommend.asked(
        policy,
        of,
        access,
        model.exposure.federated,
        declined,
        [goal for goal, told in model.goals.items() if told.relevant],
    )
    question = Question(
        of,
        access,
        bars,
        model.tier,
        asked,
        model.exposure.query_cap,
        seeds=policy.seeds.provisional,
        one_target=policy.one_target,
        stand_in=other,
        trained_with=covered.trained_with(sources, of, other, model.defense.name),
    )
    metric, found, missing = candidates.candidates(sources, question)
    found = covered.marked(found, names)
    candidate = _of(sources, question, model.defense.name, found)
    row = question.row(candidate.defense)
    place = (of.dataset, of.model, row)
    ledger = next((s.facts.ledgers[place] for s in sources if place in s.facts.ledgers), None)
    trials = _trials(sources, of, {row})
    filling = _trials(
        sources,
        other or of,
        {m.defense for m in candidate.measured if other and m.model == other.model},
    )
    first, last = recorded(sources)
    signed, unsigned = people.sign_offs(
        model, last, today, [name for s in named for name in s.reruns]
    )
    case = Case(
        tuple(named),
        tuple(sources),
        model,
        policy,
        today,
        names,
        question,
        candidate,
        tuple(missing),
        tuple(declined),
        ledger,
        trials,
        filling,
        signed,
        unsigned,
    )
    findings = _weighed(rules.breaches(case), model, policy, today)
    used = [f.waiver.expires for f in findings if f.waiver is not None]
    blocked = any(f.severity == "block" for f in findings)
    open_ = any(f.waiver is None for f in findings)
    digests = sorted(s.digest for s in sources)
    digest = hashlib.sha256("".join(digests).encode()).hexdigest()
    digest = digests[0] if len(digests) == 1 else digest
    versions = {v for s in sources for v in s.facts.environments.get("benchmark version", ())}
    gains = pd.concat([s.facts.gains for s in sources])
    worst = {m.attack for m in candidate.measured}
    for name, value in zip(("dataset", "model", "defense"), place, strict=True):
        gains = gains[gains[name] == value]
    weights = names[0] if names else ""
    lower, done = trials["epsilon_lower"].max(), trials[trials["status"] == "done"]
    return Judgement(
        "BLOCK" if blocked else "CONDITIONAL" if open_ else "PASS",
        findings,
        model,
        policy,
        today,
        of,
        question,
        candidate,
        tuple(c for c in found if c is not candidate),
        metric,
        ledger,
        None if pd.isna(lower) else float(lower),
        "; ".join(map(canaries.sentence, canaries.audits(done, ["defense"]).to_dict("records"))),
        weights,
        tuple(dict.fromkeys(s.suite for s in sources)),
        digest,
        first,
        min([first + timedelta(days=policy.max_age_days), *used]),
        f"version {', '.join(sorted(versions))}, protocol "
        f"{', '.join(sorted({s.facts.protocol for s in sources}))}",
        gains[gains["attack"].isin(worst)],
        (
            *one_model.limits(candidate.measured, model.artifact),
            *next_steps.of_chosen(candidate, question.bars, len(found)),
            *next_steps.of_layers(sources, of, candidate),
            *next_steps.of_cap(question, candidate.measured),
            *filter(None, [next_steps.further_seeds(candidate, question)]),
        ),
        (
            *_UNSIGNED * any(not s.reruns for s in sources),
            *untested.not_tested(sources, of, access),
        ),
        signed,
        unsigned,
        tuple(policy.differences()),
        _identity(model, digest, weights, policy),
        case.first_moment.isoformat(),
    )


def _of(
    sources: Sequence[Source], question: Question, defense: str, found: Sequence[Candidate]
) -> Candidate:
    of = question.scenario
    known = {c.defense: c for c in found}
    scenarios = [of] if question.stand_in is None else [of, question.stand_in]
    tried = {name for s in sources for at in scenarios for name in s.trials(at)["defense"]}
    require(
        defense in tried,
        f"The evidence has no defense '{defense}' for {of.dataset} and "
        f"{of.model}.{nearest(defense, tried)}",
    )
    if defense in known:
        return known[defense]
    uses = usefulness(sources, of, "", question.access)[1]
    spent = candidates.guarantee(sources, of, defense)
    return Candidate(defense, uses.get(defense, Use()), (), spent, (), 1)


def _about(sources: Sequence[Source], *scenarios: Scenario | None) -> list[Source]:
    """The evidence that has a board of one of the scenarios."""
    wanted = {s.digest for of in scenarios if of is not None for s in evidence.about(sources, of)}
    return [s for s in sources if s.digest in wanted]


def _trials(sources: Sequence[Source], of: Scenario, defenses: set[str]) -> pd.DataFrame:
    """The trials of some defenses of a scenario, controls left out."""
    trials = pd.concat([s.trials(of) for s in sources])
    return trials[trials["defense"].isin(defenses)]


def _weighed(
    raised: Iterable[tuple[str, str]], model: Deployed, policy: Policy, today: date
) -> tuple[Finding, ...]:
    """What each breach does under the policy, and whether a waiver lets it pass."""
    out = []
    for rule, sentence in raised:
        severity = policy.severity(rule, model.tier)
        if severity == "off":
            continue
        waivers = [w for w in model.waivers if w.rule == rule]
        fit = [w for w in waivers if not people.unfit(w, policy, today)]
        good = max((w for w in fit if w.expires >= today), default=None, key=lambda w: w.expires)
        text = sentence[:1].upper() + sentence[1:].rstrip(".")
        if waivers and severity == "block":
            text += "; this rule cannot be waived"
        elif fit and good is None:
            text += f"; the waiver by {fit[0].name} expired on {fit[0].expires}"
        out.append(Finding(rule, severity, f"{text}.", good if severity == "conditional" else None))
    return tuple(sorted(out, key=lambda f: (f.severity != "block", f.waiver is not None)))


def _identity(model: Deployed, digest: str, weights: str, policy: Policy) -> str:
    told = model.model_dump(
        mode="json", exclude={"waivers", "sign_offs", "evidence", "artifact", "incidents"}
    )
    parts = [told, digest, weights, policy.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
