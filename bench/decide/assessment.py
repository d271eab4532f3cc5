"""The privacy impact assessment of a gate's outcome, in the protocol's ten sections (8.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bench.decide.candidates import metric_name, told
from bench.decide.deployed import ROLES
from bench.decide.document import Block, Document, Points, Section, Table
from bench.decide.evidence import GOALS, Measured
from bench.decide.gate import Finding, Outcome
from bench.decide.policy import RULES, Tier
from bench.decide.told import drawn
from bench.report.text import allowed, at_most, estimate

_TONES = {"PASS": "good", "CONDITIONAL": "warn", "BLOCK": "bad"}
_NOT_LEGAL = "This document gathers technical evidence; it is not legal advice."
_TRIGGERS = (
    "a new attack changes L of any goal by more than 0.05",
    "the model, its defense or the training data changes, or the data drifts",
    "access, users or the query cap change, or weights are shared with somebody else",
    "an account is flagged or refused as prober, or an incident is reported",
)


def document(o: Outcome) -> Document:
    """The assessment."""
    m = o.model
    return Document(
        f"Privacy impact assessment: {m.name}, version {m.version}", "Inversion Bench gate",
        f"{o.verdict}", _TONES[o.verdict], _lead(o),
        [
            ("Assessment", f"{o.pia_id}, {o.status}"), ("Judged", f"{o.today}, policy "
             f"'{o.policy.name}'"), ("Expires", f"{o.valid_until}"), ("Owner", m.owner),
            ("Tier", f"{m.tier}: {_tier(o).data}"), ("Weights", o.weights[:32] or "not named"),
        ],
        [
            Section("Findings", _findings(o)),
            Section("1. Purpose, necessity and data", _purpose(o)),
            Section("2. Exposure", _exposure(o)),
            Section("3. Threats", _threats(o)),
            Section("4. Results", _results(o)),
            Section("5. Residual risk", _risk(o)),
            Section("6. Utility and subgroups", _utility(o)),
            Section("7. Measures chosen, alternatives rejected", _measures(o)),
            Section("8. Differential privacy", _privacy(o)),
            Section("9. Monitoring, incidents, new assessment", _monitoring(o)),
            Section("10. Sign-off", _sign_off(o)),
            *([Section("Known limits of the figures", [Points(o.limits)])] if o.limits else []),
            Section("What was not tested", [Points(o.untested)]),
        ],
        f"{_NOT_LEGAL} Brackets are 95 % intervals over independently trained targets.",
    )  # fmt: skip


def _tier(o: Outcome) -> Tier:
    return o.policy.tier(o.model.tier)


def _lead(o: Outcome) -> str:
    if o.verdict == "PASS":
        count = len(o.waived)
        return "Every rule holds." if not count else (
            f"Every rule holds but {count}, let pass by named waivers that end.")  # fmt: skip
    still = [f for f in o.findings if f.waiver is None]
    word = "blocks" if o.verdict == "BLOCK" else "needs a named waiver with an expiry date"
    mine = [f for f in still if (f.severity == "block") == (o.verdict == "BLOCK")]
    return f"{len(mine)} finding{'s' if len(mine) != 1 else ''} {word}.".replace(
        "findings blocks", "findings block").replace("findings needs", "findings need")  # fmt: skip


def state(f: Finding) -> str:
    """What a finding does."""
    return "waived" if f.waiver is not None else f.severity


def _findings(o: Outcome) -> list[Block]:
    if not o.findings:
        return ["None: every rule of the policy holds."]
    rows = [(state(f), f.rule, f.sentence) for f in o.findings]
    waivers = [
        f"{f.rule} is waived by {f.waiver.name} until {f.waiver.expires}: {f.waiver.reason}"
        for f in o.waived if f.waiver is not None
    ]  # fmt: skip
    blocks: list[Block] = [Table(("state", "rule", "what was found"), rows)]
    held = [RULES[r] for r in RULES if o.policy.severity(r) != "off"
            and r not in {f.rule for f in o.findings}]  # fmt: skip
    return [*blocks, *([Points(waivers)] if waivers else []),
            f"{len(held)} of {len(RULES)} rules hold."]  # fmt: skip


def _purpose(o: Outcome) -> list[Block]:
    m = o.model
    return [Table(("item", "answer"), [
        ("Purpose", m.purpose), ("Necessity", m.necessity),
        ("Data sources", "; ".join(m.data.sources)),
        ("Data set in the evidence", f"{m.data.dataset}, sha256 {m.data.sha256 or 'not given'}"),
        ("Categories", ", ".join(m.data.categories)), ("Privacy unit", m.data.privacy_unit),
        ("Sector and tier", f"{m.data.sector}, {m.tier}: {_tier(o).data}"),
    ])]  # fmt: skip


def _exposure(o: Outcome) -> list[Block]:
    e = o.model.exposure
    used = {m.budget for m in o.candidate.measured}
    relied = "; ".join(f"some results below are of {at_most(b)}" for b in sorted(used - {math.inf}))
    cap = "none" if e.query_cap is None else (
        f"{e.query_cap:,}; {relied or 'the results below do not rely on it'}")  # fmt: skip
    shared = ", ".join(e.weights_shared_with) or "nobody"
    level = "" if e.effective == e.access else f"; judged as {e.effective}, as weights are shared"
    return [Table(("item", "answer"), [
        ("Access", f"{e.access}{level}"), ("Users", e.users), ("Query cap", cap),
        ("Weights shared with", shared), ("Federated", "yes" if e.federated else "no"),
    ])]  # fmt: skip


def _threats(o: Outcome) -> list[Block]:
    asked, rows = dict(o.question.goals), []
    for goal, (code, what) in GOALS.items():
        said = o.model.goals.get(goal)
        relevant = "yes" if goal in asked else "no"
        reason = said.reason if said else (
            "the policy requires it for such data" if goal in asked
            else "the policy does not require it; the description does not name it")  # fmt: skip
        rows.append((code, what, relevant, reason))
    return [Table(("goal", "what happens", "relevant", "reason"), rows)]


def _results(o: Outcome) -> list[Block]:
    t = _tier(o)
    rows = [
        (GOALS[m.goal][0], allowed(m.access, m.budget), drawn(m.L, t.tau), m.attack, member(m),
         "; ".join(m.adaptive) or "none ran", f"{m.n_reported} of {m.n_seeds}")
        for m in o.candidate.measured
    ]  # fmt: skip
    if not rows:
        return ["There is no evidence for the goals that are required."]
    head = ("goal", "access", f"L, bar {t.tau:g}", "strongest attack", f"M, bar {t.mu:g}",
            "attacks that adapt", "targets")  # fmt: skip
    return [
        Table(head, rows),
        f"Evidence: {', '.join(o.suites)}, {o.releases}, oldest trial of {o.recorded}, sha256 "
        f"over all records {o.evidence_digest}. L is 0 for an attacker without the model, 1 for "
        "the truth itself; "
        "M is success on members minus matched non-members, here of the attack that reaches "
        "highest. Targets: how many independently trained ones the figures are of; the others "
        "chose the strongest attack.",
    ]


def member(m: Measured) -> str:
    """The M that was judged, and by which attack where that is not the strongest."""
    by, found = m.judged_M
    if not found.known:
        return "no figure"
    return told(found, 3) if by == m.attack else f"{told(found, 3)} by {by}"


def risk(o: Outcome, m: Measured) -> tuple[str, str]:
    """Likelihood band and residual risk of a goal; unknown where L is not."""
    if not m.L.known:
        return "unknown", "unknown"
    band = o.policy.band(m.L.hi)
    return band, o.policy.risk.get(_tier(o).severity, {}).get(band, "unknown")


def _risk(o: Outcome) -> list[Block]:
    rows = [
        (GOALS[m.goal][0], f"{m.L.hi:.2f}" if m.L.known else "unknown", risk(o, m)[0],
         _tier(o).severity, risk(o, m)[1])
        for m in o.candidate.measured
    ]  # fmt: skip
    head = ("goal", "upper end of L", "likelihood", "severity of the tier", "residual risk")
    return [Table(head, rows)] if rows else ["Unknown: nothing required was measured."]


def _utility(o: Outcome) -> list[Block]:
    use = o.candidate.use
    said: list[Block] = [
        f"Usefulness ({metric_name(use.metric)}): {told(use.utility, 3)}; against the "
        f"undefended model {told(use.loss, 3, True)}, where a loss of {_tier(o).loss:g} is meant "
        "to be the most."
    ]
    gains = o.gains.dropna(subset="gain_lo").sort_values("gain", ascending=False).head(3)
    if len(gains):
        rows = [(g["group"], g["attack"], estimate(g, "gain", signed=True))
                for g in gains.to_dict("records")]  # fmt: skip
        said += [
            "Leakage by subgroup: the three where the strongest attack gains most over its "
            "baseline. The largest of many is biased upwards.",
            Table(("subgroup", "attack", "gain"), rows),
        ]
    else:
        said.append("The evidence holds no figures of leakage by subgroup.")
    said.append(f"Subgroups, as the owner says: {o.model.subgroups or 'not assessed'}.".replace(
        "..", "."))  # fmt: skip
    return said


def _measures(o: Outcome) -> list[Block]:
    params = ", ".join(f"{k}={v}" for k, v in o.model.defense.params.items())
    rows = [
        (c.defense, drawn(c.measured[0].L, _tier(o).tau), told(c.measured[0].judged_M[1], 3),
         told(c.use.loss, 3, True), c.reason or "keeps all bars as well")
        for c in sorted(o.others, key=lambda c: (not c.admissible, c.worst))[:8] if c.measured
    ]  # fmt: skip
    chosen = f"Chosen: {o.candidate.defense}{f' ({params})' if params else ''}."
    against = f" The decision rule would not recommend it: {o.candidate.reason}." \
        if o.candidate.reason else ""  # fmt: skip
    return [
        chosen + against,
        Table(("alternative", "L", "M", "utility against none", "why not"), rows,
              f"The {len(rows)} alternatives that leak least, of {len(o.others)} measured."),
    ]  # fmt: skip


def _privacy(o: Outcome) -> list[Block]:
    claim, ledger = o.model.dp, o.ledger
    said: list[Block] = ["No guarantee of differential privacy is claimed." if claim is None else
                         f"Claimed: epsilon {claim.epsilon:g}, delta {claim.delta:g}, of one "
                         f"{claim.unit}; sampling accounted for: {claim.sampling}."]  # fmt: skip
    if ledger is None:
        return [*said, "The evidence holds no ledger of this defense."]
    total = "not accounted for" if ledger.epsilon_total is None else f"{ledger.epsilon_total:.3f}"
    lower = "not audited" if o.audit_lower is None else f"{o.audit_lower:.2f}"
    libraries = ", ".join(f"{k} {v}" for k, v in sorted(ledger.libraries.items()))
    rows = [
        ("epsilon, delta", f"{ledger.epsilon:.3f} ({ledger.accountant}), {ledger.epsilon_rdp:.3f} "
                           f"(rdp), {ledger.delta:.2g}"),
        ("unit, neighbours", f"{ledger.unit}, {ledger.neighbour_relation}"),
        ("sampling executed", f"{ledger.sampling}, rate {ledger.sample_rate:.4g}, "
                              f"{ledger.expected_batch:.4g} expected"),
        ("steps of the released weights", f"{ledger.steps}, of them {ledger.empty_batches} empty"),
        ("noise multiplier, clipping norm", f"{ledger.noise_multiplier:.4g}, "
                                            f"{ledger.clip_norm:.4g}"),
        ("tuning", f"{ledger.epsilon_total_basis}; epsilon with tuning: {total}"),
        ("randomness", ledger.rng), ("libraries", libraries),
        ("lower bound by canaries", f"{lower}; a bound below the claim proves nothing"),
        ("what else touched private data", "not in the evidence: the owner must state it"),
    ]  # fmt: skip
    return [*said, Table(("item", "ledger of the evidence, first seed"), rows)]


def _monitoring(o: Outcome) -> list[Block]:
    return [
        Table(("item", "answer"), [("Monitoring", o.model.monitoring),
                                   ("Incidents to", o.model.incident_contact)]),
        f"To be assessed again on {o.valid_until}, or as soon as:", Points(_TRIGGERS),
    ]  # fmt: skip


def _sign_off(o: Outcome) -> list[Block]:
    signed = o.signed
    rows = [
        (role, signed[role].name if role in signed else "", str(signed[role].date)
         if role in signed else "", "")
        for role in ROLES
    ]  # fmt: skip
    stale = [f"{s.name} ({s.role}, {s.date})" for s in o.model.sign_offs
             if s not in signed.values()]  # fmt: skip
    return [
        Table(("role", "name", "date", "signature"), rows),
        *(
            [f"Not counted, as dated before this evidence or after {o.today}: {', '.join(stale)}."]
            if stale
            else []
        ),
        f"Expires on {o.valid_until}: {o.policy.max_age_days} days after the oldest trial, or when "
        "a waiver ends.",
    ]


def card(o: Outcome) -> Document:
    """The section "Inversion risk" of a model card (Mitchell et al., FAT* 2019)."""
    m, e = o.model, o.model.exposure
    figures: list[Block] = [*_results(o), *_risk(o)[:1]]
    return Document(
        "Inversion risk", "", "", "", "", [], [
            Section("Intended use", [
                f"{m.purpose.rstrip('.')}. Exposed: {e.access} to {e.users}."]),
            Section("Out-of-scope use", [
                f"Any access beyond {e.effective}, other users, or data of other people: nothing "
                "below covers it."]),
            Section("Factors", _utility(o)[1:]),
            Section("Metrics", [
                "Leakage L by the strongest attack, member-specific leakage M by the one that "
                f"reaches highest; {metric_name(o.candidate.use.metric)} for usefulness."]),
            Section("Evaluation data", [
                f"{m.data.dataset} ({'; '.join(m.data.sources)}), sha256 {m.data.sha256 or '-'}."]),
            Section("Quantitative analyses", figures),
            Section("Ethical considerations", [
                f"Tier {m.tier}: {_tier(o).data}. Defense: {o.candidate.defense}. Gate: "
                f"{o.verdict} on {o.today}, valid until {o.valid_until}. {_NOT_LEGAL}"]),
            Section("Caveats and what was not tested", [Points([*o.limits, *o.untested])]),
        ],
    )  # fmt: skip


def data(o: Outcome) -> Mapping[str, Any]:
    """An outcome as JSON takes it."""
    return {
        "gate": 1, "verdict": o.verdict, "model": o.model.name, "version": o.model.version,
        "today": str(o.today), "policy": o.policy.name, "pia_id": o.pia_id,
        "pia_status": o.status, "valid_until": str(o.valid_until),
        "evidence_sha256": o.evidence_digest, "evidence_recorded": str(o.recorded),
        "weights_sha256": o.weights or None,
        "findings": [
            {"rule": f.rule, "state": state(f), "sentence": f.sentence,
             "waiver": None if f.waiver is None else f.waiver.model_dump(mode="json")}
            for f in o.findings
        ],
        "results": [
            {"goal": m.goal, "access": m.access,
             "budget": int(m.budget) if math.isfinite(m.budget) else None,
             "attack": m.attack, "targets": m.n_seeds,
             "L_upper": m.L.hi if m.L.known else None,
             "M_upper": m.judged_M[1].hi if m.judged_M[1].known else None,
             "likelihood": risk(o, m)[0], "residual_risk": risk(o, m)[1]}
            for m in o.candidate.measured
        ],
    }  # fmt: skip


def lines(o: Outcome) -> list[str]:
    """For a terminal: the verdict, then one sentence a finding with its rule's name."""
    out = [f"{o.verdict}: {o.model.name} {o.model.version}. {_lead(o)}"]
    for f in o.findings:
        until = f" ({f.waiver.name}, until {f.waiver.expires})" if f.waiver is not None else ""
        out.append(f"  {state(f):<11} {f.rule}: {f.sentence}{until}")
    expired = " EXPIRED." if o.today > o.valid_until else ""
    return [*out, f"Assessment {o.pia_id}, {o.status}, valid until {o.valid_until}.{expired}"]
