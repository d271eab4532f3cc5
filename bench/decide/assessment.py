"""The privacy impact assessment of a gate's outcome, in the protocol's ten sections (8.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bench.decide import covered, sections
from bench.decide.candidates import metric_name
from bench.decide.document import Block, Document, Points, Section
from bench.decide.figures import over
from bench.decide.rulebook import RULES
from bench.decide.verdict import Judgement

_TONES = {"PASS": "good", "CONDITIONAL": "warn", "BLOCK": "bad"}
_NOT_LEGAL = "This document gathers technical evidence; it is not legal advice."


def document(o: Judgement) -> Document:
    """The assessment."""
    m = o.model
    return Document(
        f"Privacy impact assessment: {m.name}, version {m.version}",
        "Inversion Bench gate",
        f"{o.verdict}",
        _TONES[o.verdict],
        _lead(o),
        [
            ("Assessment", f"{o.pia_id}, {o.status}"),
            ("Judged", f"{o.today}"),
            ("Policy", f"{o.policy.title}; sha256 {o.policy.digest[:12]}"),
            ("Expires", f"{o.valid_until}"),
            ("Owner", m.owner),
            ("Tier", f"{m.tier}: {sections.tier_of(o).data}"),
            ("Weights", o.address or o.weights[:32] or "not named"),
            ("Figures of", o.evidence_of),
        ],
        [
            Section("Findings", sections.findings(o)),
            Section("Policy", sections.rules(o)),
            Section("1. Purpose, necessity and data", sections.purpose(o)),
            Section("2. Exposure", sections.exposure(o)),
            Section("3. Threats", sections.threats(o)),
            Section("4. Results", sections.results(o)),
            Section("5. Residual risk", sections.remaining(o)),
            Section("6. Utility and subgroups", sections.usefulness(o)),
            Section("7. Measures chosen, alternatives rejected", sections.measures(o)),
            Section("8. Differential privacy", sections.guarantees(o)),
            Section("9. Monitoring, incidents, new assessment", sections.monitoring(o)),
            Section("10. Sign-off", sections.sign_off(o)),
            *([Section("Known limits of the figures", [Points(o.limits)])] if o.limits else []),
            Section("What was not tested", [Points(o.untested)]),
        ],
        f"{_NOT_LEGAL} Brackets are 95 % intervals over {over(o.candidate.measured)}.",
    )


def _lead(o: Judgement) -> str:
    if o.verdict == "PASS":
        count = len(o.waived)
        policy = f" of policy {o.policy.title}"
        return (
            f"Every rule holds{policy}."
            if not count
            else (f"Every rule{policy} holds but {count}, let pass by named waivers that end.")
        )
    still = [f for f in o.findings if f.waiver is None]
    word = "blocks" if o.verdict == "BLOCK" else "needs a named waiver with an expiry date"
    mine = [f for f in still if (f.severity == "block") == (o.verdict == "BLOCK")]
    return f"{len(mine)} finding{'s' if len(mine) != 1 else ''} {word}.".replace(
        "findings blocks", "findings block"
    ).replace("findings needs", "findings need")


def card(o: Judgement) -> Document:
    """The section "Inversion risk" of a model card (Mitchell et al., FAT* 2019)."""
    m, e = o.model, o.model.exposure
    figures: list[Block] = [*sections.results(o), *sections.remaining(o)[:1]]
    return Document(
        "Inversion risk",
        "",
        "",
        "",
        "",
        [],
        [
            Section(
                "Intended use", [f"{m.purpose.rstrip('.')}. Exposed: {e.access} to {e.users}."]
            ),
            Section(
                "Out-of-scope use",
                [
                    f"Any access beyond {e.effective}, other users, or data of other people: "
                    "nothing below covers it."
                ],
            ),
            Section("Factors", sections.usefulness(o)[1:]),
            Section(
                "Metrics",
                [
                    "Leakage L by the strongest attack, member-specific leakage M by the one that "
                    f"reaches highest; {metric_name(o.candidate.use.metric)} for usefulness."
                ],
            ),
            Section(
                "Evaluation data",
                [f"{m.data.dataset} ({'; '.join(m.data.sources)}), sha256 {m.data.sha256 or '-'}."],
            ),
            Section("Quantitative analyses", figures),
            Section(
                "Ethical considerations",
                [
                    f"Tier {m.tier}: {sections.tier_of(o).data}. Defense: {o.candidate.defense}. "
                    f"Gate: {o.verdict} on {o.today}, valid until {o.valid_until}. {_NOT_LEGAL}"
                ],
            ),
            Section("Caveats and what was not tested", [Points([*o.limits, *o.untested])]),
        ],
    )


def data(o: Judgement) -> Mapping[str, Any]:
    """An outcome as JSON takes it."""
    return {
        "gate": 1,
        "verdict": o.verdict,
        "model": o.model.name,
        "version": o.model.version,
        "today": str(o.today),
        "policy": o.policy.name,
        "policy_sha256": o.policy.digest,
        "policy_differences": list(o.differences),
        "pia_id": o.pia_id,
        "pia_status": o.status,
        "valid_until": str(o.valid_until),
        "evidence_sha256": o.evidence_digest,
        "evidence_recorded": str(o.recorded),
        "weights_sha256": None if o.address else o.weights or None,
        "url": o.address or None,
        "evidence_of": o.evidence_of,
        "findings": [
            {
                "rule": f.rule,
                "state": sections.state(f),
                "sentence": f.sentence,
                "mend": RULES[f.rule].mend,
                "waiver": None if f.waiver is None else f.waiver.model_dump(mode="json"),
            }
            for f in o.findings
        ],
        "results": [
            {
                "goal": m.goal,
                "access": m.access,
                "budget": int(m.budget) if math.isfinite(m.budget) else None,
                "attack": m.judged_L[0],
                "of": covered.whose(m),
                "model": m.model,
                "targets": 1 if m.single else m.n_seeds,
                "runs": m.n_seeds,
                "victims": m.victims if m.single else None,
                "L_upper": m.judged_L[1].hi if m.judged_L[1].known else None,
                "M_upper": m.judged_M[1].hi if m.judged_M[1].known else None,
                "likelihood": sections.risk(o, m)[0],
                "residual_risk": sections.risk(o, m)[1],
            }
            for m in o.candidate.measured
        ],
    }


def lines(o: Judgement) -> list[str]:
    """For a terminal: the verdict, then one sentence a finding with its rule's name."""
    out = [f"{o.verdict}: {o.model.name} {o.model.version}. {_lead(o)}"]
    for f in o.findings:
        until = f" ({f.waiver.name}, until {f.waiver.expires})" if f.waiver is not None else ""
        out.append(f"  {sections.state(f):<11} {f.rule}: {f.sentence}{until}")
    expired = " EXPIRED." if o.today > o.valid_until else ""
    steps = {f.rule: RULES[f.rule].mend for f in o.findings if f.waiver is None}
    out += [f"  to do       {rule}: {step}." for rule, step in steps.items()]
    out += [f"  figures of  {o.evidence_of}."] * bool(o.candidate.measured)
    out += [f"Policy {o.policy.title}; sha256 {o.policy.digest[:12]}."]
    out += [f"  policy      {difference}" for difference in o.differences]
    return [*out, f"Assessment {o.pia_id}, {o.status}, valid until {o.valid_until}.{expired}"]
