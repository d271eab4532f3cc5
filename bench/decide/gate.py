"""The gate: what has to hold before a model is released (PROTOCOL 8.3)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta

import pandas as pd

from bench import __version__
from bench.contract.errors import nearest, require
from bench.contract.identity import PROTOCOL_VERSION
from bench.contract.ledger import PrivacyLedger
from bench.decide import candidates, evidence, next_steps, recommend
from bench.decide.candidates import Candidate, Question
from bench.decide.deployed import Deployed, Role, SignOff
from bench.decide.evidence import Scenario, Source
from bench.decide.policy import Policy
from bench.decide.use import Use, usefulness
from bench.decide.verdict import Finding, Judgement
from bench.report import canaries

EXIT = {"PASS": 0, "BLOCK": 1, "CONDITIONAL": 3}
_RULE_OF = {
    "leakage": "leakage_above_bar",
    "member_leakage": "member_leakage_above_bar",
    "broken_privacy": "dp_audit_exceeds_claim",
    "verification_failed": "verification_failed",
    "no_guarantee": "dp_required",
    "utility": "",  # a poor model may be released; the assessment says so
    "straw_man": "",
    "no_scores": "",
}
"""The gate's rule for each reason of the decision rule; all others are no evidence."""


def judge(
    sources: Sequence[Source], model: Deployed, policy: Policy, today: date, weights: str
) -> Judgement:
    """Judge a model.

    Args:
        sources: its evidence.
        model: its description.
        policy: bars and rules.
        today: the day it is judged on.
        weights: digest of its weights, :func:`bench.decide.deployed.digest`; empty: unknown.

    Raises:
        UserError: the description names a tier, data set, model or defense nobody knows.
    """
    of = evidence.scenario(sources, model.data.dataset, model.model)
    sources = evidence.about(sources, of)
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
        policy.tier(model.tier),
        model.tier,
        asked,
        model.exposure.query_cap,
        seeds=policy.seeds.provisional,
    )
    metric, found, missing = candidates.candidates(sources, question)
    candidate = _of(sources, question, model.defense.name, found)
    place = (of.dataset, of.model, candidate.defense)
    ledger = next((s.facts.ledgers[place] for s in sources if place in s.facts.ledgers), None)
    trials = pd.concat([s.trials(of) for s in sources])
    trials = trials[trials["defense"] == candidate.defense]
    recorded = date.fromisoformat(min(s.facts.first for s in sources)[:10])
    last = date.fromisoformat(max(s.facts.last for s in sources)[:10])
    signed = model.signed(last, today)

    raised = [
        *(("no_ranked_evidence", sentence) for sentence in missing),
        *_by_rule(candidate),
        *_privacy(model, question, candidate, ledger, trials, weights, signed),
        *_origin(sources, model, policy, trials, weights, today, recorded, last),
        *_duties(sources, model, policy, candidate, of, declined),
    ]
    findings = _weighed(raised, model, policy, today)
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
        recorded,
        min([recorded + timedelta(days=policy.max_age_days), *used]),
        f"version {', '.join(sorted(versions))}, protocol "
        f"{', '.join(sorted({s.facts.protocol for s in sources}))}",
        gains[gains["attack"].isin(worst)],
        (
            *next_steps.of_chosen(candidate, question.bars, len(found)),
            *next_steps.of_layers(sources, of, candidate),
            *next_steps.of_cap(question, candidate.measured),
            *filter(None, [next_steps.further_seeds(candidate, question)]),
        ),
        tuple(evidence.not_tested(sources, of, access)),
        signed,
        _identity(model, digest, weights, policy),
    )


def _of(
    sources: Sequence[Source], question: Question, defense: str, found: Sequence[Candidate]
) -> Candidate:
    of = question.scenario
    known = {c.defense: c for c in found}
    tried = {name for s in sources for name in s.trials(of)["defense"]}
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


def _by_rule(c: Candidate) -> Iterator[tuple[str, str]]:
    """Everything the decision rule holds against the defense."""
    if not c.measured:
        yield "no_ranked_evidence", f"'{c.defense}' was not attacked for any required goal"
    for reason, sentence in c.reasons:
        rule = _RULE_OF.get(reason, "no_ranked_evidence")
        if rule:
            yield rule, sentence


def _privacy(
    model: Deployed,
    question: Question,
    c: Candidate,
    ledger: PrivacyLedger | None,
    trials: pd.DataFrame,
    weights: str,
    signed: Mapping[Role, SignOff],
) -> Iterator[tuple[str, str]]:
    claim, asked, g = model.dp, question.bars.epsilon, c.guarantee
    if claim is None:
        if asked.rule == "required" and g is not None and g.formal:
            yield "dp_required", "the description claims no differential privacy"
        if asked.rule == "expected":
            yield "dp_expected", f"tier {model.tier} expects differential privacy; none is claimed"
        return
    if ledger is None or g is None:
        yield (
            "dp_claim_unsupported",
            (f"epsilon {claim.epsilon:g} is claimed, but '{c.defense}' has no ledger"),
        )
        return
    if ledger.sampling != claim.sampling:
        yield (
            "dp_sampling_mismatch",
            (f"{claim.sampling} sampling was accounted for, {ledger.sampling} was executed"),
        )
    if "seeded" in ledger.rng:
        yield "dp_noise_seeded", "the noise came from a seed: who knows it can take the noise away"
    if claim.epsilon < g.epsilon * (1 - 1e-9) or claim.delta < ledger.delta * (1 - 1e-9):
        yield (
            "dp_claim_unsupported",
            (
                f"({claim.epsilon:g}, {claim.delta:g}) is claimed, the ledger has "
                f"({g.epsilon:.3f}, {ledger.delta:g})"
            ),
        )
    if claim.unit != ledger.unit and not (claim.unit == "person" and g.personal):
        yield (
            "dp_claim_unsupported",
            (f"a guarantee of one {claim.unit} is claimed, the ledger's is of one {ledger.unit}"),
        )
    bounds = trials.dropna(subset="epsilon_lower")
    released = bounds[bounds["target_sha"] == weights]["epsilon_lower"]
    over = bounds.groupby("seed")["epsilon_lower"].first() > claim.epsilon
    if over.mean() > 0.5 or (released > claim.epsilon).any():
        yield (
            "dp_audit_exceeds_claim",
            (
                f"canaries show an epsilon of at least {bounds['epsilon_lower'].max():.2f}, "
                f"{claim.epsilon:g} is claimed"
            ),
        )
    small = asked.most is None or g.epsilon <= asked.most
    if asked.rule == "expected" and not (g.formal and small):
        why = f"of {g.epsilon:.2f} is above {asked.most:g}" if g.formal else "leaves out tuning"
        yield "dp_expected", f"the epsilon {why}"
    ask = asked.preferred if asked.rule == "required" else None
    if ask is not None and g.epsilon > ask and "dpo" not in signed:
        yield (
            "dp_sign_off_missing",
            f"epsilon {g.epsilon:.2f} is above the preferred {ask:g}, and no DPO signed it off",
        )


def _origin(
    sources: Sequence[Source],
    model: Deployed,
    policy: Policy,
    trials: pd.DataFrame,
    weights: str,
    today: date,
    recorded: date,
    last: date,
) -> Iterator[tuple[str, str]]:
    """Data, weights and age: whether the evidence is of this model."""
    used = {sha for sha in trials["data_sha"] if sha}
    if model.data.sha256 is None:
        yield "data_hash_unknown", "the description has no data.sha256"
    elif used != {model.data.sha256}:
        other = ", ".join(sorted(sha[:12] for sha in used)) or "unknown data"
        yield (
            "data_hash_unknown",
            (f"the model's data is {model.data.sha256[:12]}, the evidence was made with {other}"),
        )
    if not weights:
        yield "artifact_mismatch", "the description names no weights"
    elif weights not in set(trials["target_sha"]):
        yield (
            "artifact_mismatch",
            (
                f"the released weights {weights[:12]} are none of the "
                f"{trials['target_sha'].nunique()} that were evaluated"
            ),
        )
    age = (today - recorded).days
    if age > policy.max_age_days:
        yield (
            "evidence_too_old",
            (f"the oldest trial is {age} days old ({recorded}); {policy.max_age_days} are allowed"),
        )
    if last > today + timedelta(days=1):  # a day: clocks differ by time zone
        yield "evidence_too_old", f"the newest trial is dated {last}, after the day of judgement"
    for s in sources:
        versions = s.facts.environments.get("benchmark version", ())
        old = [v for v in versions if _major(v) < _major(__version__)]
        if old or _major(s.facts.protocol) < _major(PROTOCOL_VERSION):
            yield (
                "benchmark_outdated",
                (
                    f"'{s.suite}' is of version {', '.join(versions)}, protocol "
                    f"{s.facts.protocol}; today's are {__version__} and {PROTOCOL_VERSION}"
                ),
            )


def _duties(
    sources: Sequence[Source],
    model: Deployed,
    policy: Policy,
    c: Candidate,
    of: Scenario,
    declined: Sequence[str],
) -> Iterator[tuple[str, str]]:
    """What a person has to do, or to answer for."""
    few = min((m.n_seeds for m in c.measured), default=policy.seeds.ranked)
    if policy.seeds.provisional <= few < policy.seeds.ranked:
        yield "provisional_seeds", f"{few} seeds, where a ranked row has {policy.seeds.ranked}"
    if not (model.subgroups or "").strip():
        yield "subgroup_missing", "the description says nothing of subgroups"
    if not all(s.verified_by not in ("", model.owner) for s in sources):
        yield (
            "not_independently_verified",
            "nobody but its maker or the owner is noted to have re-run the evidence",
        )
    if policy.lenient(model.tier, of.sector):
        yield (
            "tier_too_lenient",
            f"the policy puts {of.sector} data in tier {policy.tier_of(of.sector)}, the "
            f"description in {model.tier}",
        )
    needed = policy.required(of.sector, of.modality)
    needed = needed + (policy.federated if model.exposure.federated else [])
    for goal in declined:
        if goal in needed:
            yield (
                "required_goal_declined",
                (
                    f"{goal.replace('_', ' ')} is required for such data, the description calls it "
                    f"irrelevant: {model.goals[goal].reason}"
                ),
            )


def _weighed(
    raised: Sequence[tuple[str, str]], model: Deployed, policy: Policy, today: date
) -> tuple[Finding, ...]:
    found = []
    for rule, sentence in dict.fromkeys(raised):
        severity = policy.severity(rule)
        if severity == "off":
            continue
        waivers = [w for w in model.waivers if w.rule == rule]
        good = max(
            (w for w in waivers if w.expires >= today), default=None, key=lambda w: w.expires
        )
        said = sentence[:1].upper() + sentence[1:].rstrip(".")
        if waivers and severity == "block":
            said += "; this rule cannot be waived"
        elif waivers and good is None:
            said += f"; the waiver by {waivers[0].name} expired on {waivers[0].expires}"
        found.append(
            Finding(rule, severity, f"{said}.", good if severity == "conditional" else None)
        )
    return tuple(sorted(found, key=lambda f: (f.severity != "block", f.waiver is not None)))


def _major(version: str) -> int:
    digits = version.partition(".")[0]
    return int(digits) if digits.isdigit() else -1


def _identity(model: Deployed, digest: str, weights: str, policy: Policy) -> str:
    told = model.model_dump(mode="json", exclude={"waivers", "sign_offs", "evidence", "artifact"})
    parts = [told, digest, weights, policy.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
