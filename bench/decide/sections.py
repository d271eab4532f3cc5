"""The sections of an assessment: what the gate says of a model, part by part."""

from __future__ import annotations

import math

from bench.decide import covered
from bench.decide.candidates import metric_name, told
from bench.decide.deployed import ROLES
from bench.decide.document import Block, Points, Table
from bench.decide.explain import drawn
from bench.decide.figures import Measured
from bench.decide.policy import Tier
from bench.decide.rulebook import RULES
from bench.decide.verdict import Finding, Judgement
from bench.goals import goals
from bench.report.text import allowed, at_most, estimate

_TRIGGERS = (
    "a new attack changes L of any goal by more than 0.05",
    "the model, its defense or the training data changes, or the data drifts",
    "access, users or the query cap change, or weights are shared with somebody else",
    "an account is flagged or refused as prober, or an incident is reported",
)


def tier_of(o: Judgement) -> Tier:
    """The tier that the description names."""
    return o.policy.tier(o.model.tier)


def state(f: Finding) -> str:
    """What a finding does."""
    return "waived" if f.waiver is not None else f.severity


def findings(o: Judgement) -> list[Block]:
    """What does not hold, and who let it pass."""
    if not o.findings:
        return ["None: every rule of the policy holds."]
    rows = [(state(f), f.rule, f.sentence, RULES[f.rule].mend) for f in o.findings]
    waivers = [
        f"{f.rule} is waived by {f.waiver.name} until {f.waiver.expires}: {f.waiver.reason}"
        for f in o.waived
        if f.waiver is not None
    ]
    blocks: list[Block] = [Table(("state", "rule", "what was found", "what to do"), rows)]
    held = [
        r
        for r in RULES
        if o.policy.severity(r, o.model.tier) != "off" and r not in {f.rule for f in o.findings}
    ]
    return [
        *blocks,
        *([Points(waivers)] if waivers else []),
        f"{len(held)} of {len(RULES)} rules hold.",
    ]


def rules(o: Judgement) -> list[Block]:
    """Which policy it was judged by, and how that differs from the shipped one."""
    blocks: list[Block] = [f"Policy {o.policy.title}; sha256 {o.policy.digest}."]
    return [*blocks, Points(o.differences)] if o.differences else blocks


def purpose(o: Judgement) -> list[Block]:
    """What the model is for, and which data it is made of."""
    m = o.model
    return [
        Table(
            ("item", "answer"),
            [
                ("Purpose", m.purpose),
                ("Necessity", m.necessity),
                ("Data sources", "; ".join(m.data.sources)),
                (
                    "Data set in the evidence",
                    f"{m.data.dataset}, sha256 {m.data.sha256 or 'not given'}",
                ),
                ("Categories", ", ".join(m.data.categories)),
                ("Privacy unit", m.data.privacy_unit),
                ("Sector and tier", f"{m.data.sector}, {m.tier}: {tier_of(o).data}"),
            ],
        )
    ]


def exposure(o: Judgement) -> list[Block]:
    """Who gets what of the model."""
    e = o.model.exposure
    used = {m.budget for m in o.candidate.measured}
    relied = "; ".join(f"some results below are of {at_most(b)}" for b in sorted(used - {math.inf}))
    cap = (
        "none"
        if e.query_cap is None
        else (f"{e.query_cap:,}; {relied or 'the results below do not rely on it'}")
    )
    shared = ", ".join(e.weights_shared_with) or "nobody"
    level = "" if e.effective == e.access else f"; judged as {e.effective}, as weights are shared"
    return [
        Table(
            ("item", "answer"),
            [
                ("Access", f"{e.access}{level}"),
                ("Users", e.users),
                ("Query cap", cap),
                ("Weights shared with", shared),
                ("Federated", "yes" if e.federated else "no"),
            ],
        )
    ]


def threats(o: Judgement) -> list[Block]:
    """Every goal of an adversary, and whether it matters here."""
    asked, rows = dict(o.question.goals), []
    for goal, entry in goals().items():
        code, what = entry.words.code, entry.words.event
        said = o.model.goals.get(goal)
        relevant = "yes" if goal in asked else "no"
        reason = (
            said.reason
            if said
            else (
                "the policy requires it for such data"
                if goal in asked
                else "the policy does not require it; the description does not name it"
            )
        )
        rows.append((code, what, relevant, reason))
    return [Table(("goal", "what happens", "relevant", "reason"), rows)]


def results(o: Judgement) -> list[Block]:
    """Figures of the required goals."""
    t = tier_of(o)
    rows = [
        (
            goals()[m.goal].words.code,
            allowed(m.access, m.budget),
            drawn(m.judged_L[1], t.tau),
            m.judged_L[0],
            member(m),
            "; ".join(m.adaptive) or "none ran",
            m.targets,
            covered.whose(m) if m.itself else f"{covered.whose(m)} ({m.model})",
        )
        for m in o.candidate.measured
    ]
    if not rows:
        return ["There is no evidence for the goals that are required."]
    head = (
        "goal",
        "access",
        f"L, bar {t.tau:g}",
        "strongest attack",
        f"M, bar {t.mu:g}",
        "attacks that adapt",
        "targets",
        "figures of",
    )
    return [
        Table(head, rows),
        f"Evidence: {', '.join(o.suites)}, {o.releases}, oldest trial of {o.recorded}, sha256 "
        f"over all records {o.evidence_digest}. L is 0 for an attacker without the model, 1 for "
        "the truth itself; "
        "M is success on members minus matched non-members, here of the attack that reaches "
        "highest. Targets: how many independently trained ones the figures are of; of one that was "
        "given, how often the attacks were run on it, and on how many people. A stand-in is what "
        "the benchmark trained, even where one of them is released: figures are of all of them.",
    ]


def member(m: Measured) -> str:
    """The M that was judged, and by which attack where that is not the strongest."""
    by, found = m.judged_M
    if not found.known:
        return "no figure" if m.members_known else "no figure: members are not known"
    return told(found, 3) if by == m.attack else f"{told(found, 3)} by {by}"


def risk(o: Judgement, m: Measured) -> tuple[str, str]:
    """Likelihood band and residual risk of a goal; unknown where L is not."""
    leak = m.judged_L[1]
    if not leak.known:
        return "unknown", "unknown"
    band = o.policy.band(leak.hi)
    return band, o.policy.risk.get(tier_of(o).severity, {}).get(band, "unknown")


def remaining(o: Judgement) -> list[Block]:
    """Likelihood, severity and residual risk by goal."""
    rows = [
        (
            goals()[m.goal].words.code,
            f"{m.judged_L[1].hi:.2f}" if m.judged_L[1].known else "unknown",
            risk(o, m)[0],
            tier_of(o).severity,
            risk(o, m)[1],
        )
        for m in o.candidate.measured
    ]
    head = ("goal", "upper end of L", "likelihood", "severity of the tier", "residual risk")
    return [Table(head, rows)] if rows else ["Unknown: nothing required was measured."]


def usefulness(o: Judgement) -> list[Block]:
    """How useful the model is, and to whom it leaks most."""
    use = o.candidate.use
    said: list[Block] = [
        f"Usefulness ({metric_name(use.metric)}): {told(use.utility, 3)}; against "
        f"{use.reference} {told(use.loss, 3, True)}, where a loss of {tier_of(o).loss:g} is meant "
        "to be the most."
    ]
    gains = o.gains.dropna(subset="gain_lo").sort_values("gain", ascending=False).head(3)
    if len(gains):
        rows = [
            (g["group"], g["attack"], estimate(g, "gain", signed=True))
            for g in gains.to_dict("records")
        ]
        said += [
            "Leakage by subgroup: the three where the strongest attack gains most over its "
            "baseline. The largest of many is biased upwards.",
            Table(("subgroup", "attack", "gain"), rows),
        ]
    else:
        said.append("The evidence holds no figures of leakage by subgroup.")
    said.append(
        f"Subgroups, as the owner says: {o.model.subgroups or 'not assessed'}.".replace("..", ".")
    )
    return said


def measures(o: Judgement) -> list[Block]:
    """The defense that was chosen, and those that were not."""
    params = ", ".join(f"{k}={v}" for k, v in o.model.defense.params.items())
    rows = [
        (
            c.defense,
            drawn(c.measured[0].judged_L[1], tier_of(o).tau),
            told(c.measured[0].judged_M[1], 3),
            told(c.use.loss, 3, True),
            c.reason or "keeps all bars as well",
        )
        for c in sorted(o.others, key=lambda c: (not c.admissible, c.worst))[:8]
        if c.measured
    ]
    chosen = f"Chosen: {o.candidate.defense}{f' ({params})' if params else ''}."
    against = (
        f" The decision rule would not recommend it: {o.candidate.reason}."
        if o.candidate.reason
        else ""
    )
    return [
        chosen + against,
        Table(
            ("alternative", "L", "M", "utility against none", "why not"),
            rows,
            f"The {len(rows)} alternatives that leak least, of {len(o.others)} measured.",
        ),
    ]


def guarantees(o: Judgement) -> list[Block]:
    """Differential privacy as it is claimed and as the ledger has it."""
    claim, ledger = o.model.dp, o.ledger
    said: list[Block] = [
        "No guarantee of differential privacy is claimed."
        if claim is None
        else f"Claimed: epsilon {claim.epsilon:g}, delta {claim.delta:g}, of one "
        f"{claim.unit}; sampling accounted for: {claim.sampling}."
    ]
    if ledger is None:
        return [*said, "The evidence holds no ledger of this defense."]
    total = "not accounted for" if ledger.epsilon_total is None else f"{ledger.epsilon_total:.3f}"
    libraries = ", ".join(f"{k} {v}" for k, v in sorted(ledger.libraries.items()))
    rows = [
        (
            "epsilon, delta",
            f"{ledger.epsilon:.3f} ({ledger.accountant}), {ledger.epsilon_rdp:.3f} "
            f"(rdp), {ledger.delta:.2g}",
        ),
        ("unit, neighbours", f"{ledger.unit}, {ledger.neighbour_relation}"),
        (
            "sampling executed",
            f"{ledger.sampling}, rate {ledger.sample_rate:.4g}, "
            f"{ledger.expected_batch:.4g} expected",
        ),
        ("steps of the released weights", f"{ledger.steps}, of them {ledger.empty_batches} empty"),
        (
            "noise multiplier, clipping norm",
            f"{ledger.noise_multiplier:.4g}, {ledger.clip_norm:.4g}",
        ),
        ("tuning", f"{ledger.epsilon_total_basis}; epsilon with tuning: {total}"),
        ("randomness", ledger.rng),
        ("libraries", libraries),
        ("epsilon by canaries", f"{o.audit}; a bound below the claim proves nothing"),
        ("what else touched private data", "not in the evidence: the owner must state it"),
    ]
    return [*said, Table(("item", "ledger of the evidence, first seed"), rows)]


def monitoring(o: Judgement) -> list[Block]:
    """Who watches, and what makes the assessment void."""
    return [
        Table(
            ("item", "answer"),
            [("Monitoring", o.model.monitoring), ("Incidents to", o.model.incident_contact)],
        ),
        f"To be assessed again on {o.valid_until}, or as soon as:",
        Points(_TRIGGERS),
    ]


def sign_off(o: Judgement) -> list[Block]:
    """Who signed, and until when it stands."""
    signed = o.signed
    rows = [
        (
            role,
            signed[role].name if role in signed else "",
            str(signed[role].date) if role in signed else "",
            "",
        )
        for role in ROLES
    ]
    return [
        Table(("role", "name", "date", "signature"), rows),
        *([f"Not counted: {'; '.join(o.unsigned)}."] if o.unsigned else []),
        f"Expires on {o.valid_until}: {o.policy.max_age_days} days after the oldest trial, or when "
        "a waiver ends.",
    ]
