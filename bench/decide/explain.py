"""A decision as a document and as plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.decide.candidates import Candidate, leak, metric_name, told
from bench.decide.decision import Decision
from bench.decide.document import Block, Code, Document, Drawn, Points, Section, Table
from bench.decide.figures import Estimate, Measured, over
from bench.decide.next_steps import further_seeds
from bench.decide.one_model import GIVEN
from bench.goals import goals
from bench.report.frame import UNDEFENDED
from bench.report.text import leaks

_SHOWN = 6
"""Rejected defenses on the page that is to fit on one sheet."""


def document(decision: Decision, brief: bool = False) -> Document:
    """What to say of a decision; ``brief`` shows only the least leaky of the rejected."""
    q, chosen = decision.question, decision.chosen
    bars = q.bars
    what = f"{q.scenario.dataset}, {q.scenario.model}, customers get {q.access}"
    if chosen is None:
        verdict, tone = "Nothing qualifies.", "bad"
        lead = (
            "No defense is shown to keep all bars; the bars are not relaxed. What to do is below."
        )
    else:
        verdict, tone = f"Use {chosen.defense}.", "good"
        lead = decision.because
        if len(decision.admissible) == 1:
            count = 1 + len(decision.rejected)
            lead = f"Of the {count} defenses measured, it alone is shown to keep every bar."
        if decision.undefended:
            lead = (
                "The undefended model is itself admissible: no defense is needed at these bars. "
                f"{lead}"
                if chosen.defense == UNDEFENDED
                else "No defense is needed at these bars, if the model is regularised for its "
                f"usefulness ({chosen.defense}). {lead}"
            )
            verdict = "No defense is needed."
    judged = [*decision.admissible, *decision.rejected]
    rows = [m for c in judged for m in c.measured]
    if any(m.single for m in rows):
        lead = f"{lead} {GIVEN}"
    facts = [
        ("Deployment", what),
        (
            "Bars",
            f"{f'tier {q.tier}: ' if q.tier else ''}L at most {bars.tau:g}, M at most "
            f"{bars.mu:g}, utility loss at most {bars.loss:g}",
        ),
        (
            "Threats",
            "; ".join(
                f"{goal.replace('_', ' ')} with {at}: {goals()[goal].words.event}"
                for goal, at in q.goals
            ),
        ),
        (
            "Privacy",
            f"epsilon {bars.epsilon.rule}"
            + (f", at most {bars.epsilon.most:g}" if bars.epsilon.most is not None else ""),
        ),
        ("Evidence", f"{', '.join(decision.digests or ())}, {_days(decision.recorded)}"),
        ("Utility", metric_name(decision.metric)),
    ]
    if q.query_cap is not None:
        facts.append(("Query cap", f"{q.query_cap:,}"))
    facts.append(
        (
            "Decide again",
            f"by {decision.until}, and when a new attack changes any L by "
            "more than 0.05 or the data drifts",
        )
    )
    if not decision.verified:
        facts.append(("Re-run by", "nobody but its maker: provisional until somebody else did"))
    sections = list(_sections(decision, brief))
    hashes = "; ".join(
        f"{name} sha256 {sha[:16]}" for name, sha in (decision.digests or {}).items()
    )
    return Document(
        f"Default defense for {q.scenario.dataset}",
        "Inversion Bench recommendation",
        verdict,
        tone,
        lead,
        facts,
        sections,
        "L: leakage, 0 as an attacker without the model, 1 as the truth itself. M: success on "
        f"members minus matched non-members. Brackets are 95 % intervals over {over(rows)}; ends "
        f"are compared with the bars. {hashes}.",
    )


def _sections(decision: Decision, brief: bool) -> list[Section]:
    q, out = decision.question, []
    if decision.chosen is not None:
        out.append(Section("Evidence", _evidence(decision, decision.chosen)))
        others = decision.admissible[1:]
        said: list[Block] = []
        if decision.runner_up is not None:
            r = decision.runner_up
            said.append(f"{r.defense} also qualifies, but is behind: {decision.why_not}.")
            said.append(Table(_HEAD, [_row(c, q.bars.tau) for c in others[:_SHOWN]]))
        else:
            said += ["None: nothing else keeps all bars.", *_nearest(decision)]
        out.append(Section("Runner-up", said))
    else:
        out.append(Section("What to do, in this order", [Points(decision.steps, ordered=True)]))
        if decision.to_run:
            blocks: list[Block] = []
            for run in decision.to_run:
                blocks += [f"{run.why} ({run.time}):", Code(run.command)]
            out.append(Section("What to run for an answer", blocks))
        if decision.nearest is not None:
            out.append(Section("Nearest to the bars", _nearest(decision)))
    if decision.missing and decision.chosen is not None:
        out.append(Section("Missing evidence", [Points(decision.missing)]))
    rejected = decision.rejected[:_SHOWN] if brief else decision.rejected
    if rejected:
        rows = [(c.called, c.reason) for c in rejected]
        left = len(decision.rejected) - len(rejected)
        more = [f"And {left} more that may leak more: --json lists them all."] if left else []
        out.append(
            Section(
                "Not admissible, and the one reason that decides",
                [Table(("defense", "reason"), rows), *more],
            )
        )
    out.append(Section("Caveats", [Points(decision.caveats)]))
    return out


def _nearest(decision: Decision) -> list[Block]:
    near = decision.nearest
    if near is None:
        return []
    count = len(near.reasons)
    words = "one bar is" if count == 1 else f"{count} bars are"
    reasons = "; ".join(sentence for _, sentence in near.reasons)
    said: list[Block] = [
        f"Nearest is {near.defense}, of which {words} not shown to be kept: {reasons}."
    ]
    seeds = further_seeds(near, decision.question)
    return [*said, seeds] if seeds else said


_HEAD = ("defense", "goal", "L", "M", "utility", "against none", "epsilon")


def _row(c: Candidate, tau: float, m: Measured | None = None) -> tuple[Any, ...]:
    m = m or c.measured[0]
    epsilon = (
        "none"
        if c.guarantee is None
        else f"{c.guarantee.epsilon:.2f}" + ("" if c.guarantee.formal else ", tuning left out")
    )
    return (
        c.called,
        m.where,
        drawn(m.L, tau),
        told(m.judged_M[1], 3),
        told(c.use.utility, 3),
        told(c.use.loss, 3, True),
        epsilon,
    )


def drawn(e: Estimate, bar: float) -> Drawn:
    """An estimate of L with its interval on [0, 1]."""
    return Drawn(leak(e), e.value, e.lo, e.hi, bar)


def _evidence(decision: Decision, c: Candidate) -> list[Block]:
    bars, said = decision.question.bars, []
    for m in c.measured:
        said.append(
            f"{m.where[:1].upper()}{m.where[1:]}: the strongest of "
            f"{len(m.met)} attacks, {m.attack}, reaches {leaks(leak(m.L))}, bar {bars.tau:g}"
            f"{_below(m)}. {_member(m, bars.mu)}{_targets(m)}"
        )
    compared = (
        ""
        if c.defense == c.use.against
        else f", against {c.use.reference} {told(c.use.loss, 3, True)}"
    )
    said.append(
        f"Usefulness ({metric_name(c.use.metric)}) is {told(c.use.utility, 3)}{compared}; a loss "
        f"of up to {bars.loss:g} is allowed."
    )
    rows = [_row(c, bars.tau, m) for m in c.measured]
    return [Points(said), Table(_HEAD, rows)]


def _below(m: Measured) -> str:
    """A clipped 0 hides how far below it an attack came out."""
    if not m.raw.value < 0:
        return ""
    return f"; unclipped {told(m.raw, 2, True)}, so it does no better than without the model"


def _member(m: Measured, bar: float) -> str:
    by, member = m.judged_M
    if not member.known:
        return "M has no figure here."
    which = "by it" if by == m.attack else f"by {by}, which tells members apart best"
    return f"M is {told(member, 3)} {which}, bar {bar:g}."


def _targets(m: Measured) -> str:
    adapt = f"; {len(m.adaptive)} of the attacks adapt to the defense" if m.adaptive else ""
    targets = (
        f"the one model that was given, {m.targets[2:]}" if m.single else f"{m.targets} targets"
    )
    said = f" Figures are of {targets}{adapt}."
    return said.replace(" 1 of the attacks adapt ", " 1 of the attacks adapts ")


def _days(recorded: tuple[str, str]) -> str:
    first, last = recorded
    return f"recorded {first}" if first == last else f"recorded {first} to {last}"


def data(decision: Decision) -> dict[str, Any]:
    """A decision as JSON takes it; figures that are not known are null."""
    out: dict[str, Any] = _plain(asdict(decision))
    others = (out["chosen"], out["runner_up"], out["nearest"])
    for candidate in (*others, *out["admissible"], *out["rejected"]):
        if candidate is not None:
            reasons = candidate["reasons"]
            candidate["rule"], candidate["reason"] = reasons[0] if reasons else ("", "")
            candidate["admissible"] = not reasons
    return {"recommend": 1, **out}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "model_dump"):
        return _plain(value.model_dump())
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    return value
