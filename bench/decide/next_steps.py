"""What to do where nothing qualifies, in the protocol's order, and what qualifies an answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.contract.exposure import ACCESS_ORDER
from bench.decide import evidence
from bench.report.frame import UNDEFENDED

if TYPE_CHECKING:
    from bench.decide.evidence import Source
    from bench.decide.recommend import Candidate, Decision

BANDS = (10_000, 1_000, 100)
"""Upper ends of the query bands (PROTOCOL 1.1)."""
_STAGES = {"training": "at training", "release": "on the answers", "serve": "watching queries"}


def following(sources: Sequence[Source], decision: Decision) -> Iterator[str]:
    """What to do next where nothing qualifies; each claim was looked up in the evidence."""
    for sentence in decision.missing:
        yield f"Measure first: {sentence}"
    yield _access(sources, decision)
    yield _queries(sources, decision)
    yield _model(sources, decision)
    yield _compose(decision)
    yield "If none of this helps: no acceptable default. Do not expose the model."


def _try(sources: Sequence[Source], decision: Decision, **changes: object) -> str:
    """What the rule would recommend under a changed question; empty if nothing."""
    from bench.decide.recommend import decide

    question = replace(decision.question, **changes)  # type: ignore[arg-type]
    found = decide(sources, question, steps=False).chosen
    return found.defense if found else ""


def _access(sources: Sequence[Source], decision: Decision) -> str:
    from bench.decide.recommend import weaker

    asked = decision.question
    if not weaker(asked.access):
        return f"Reduce access: there is nothing below {asked.access}."
    said = []
    for access in weaker(asked.access):
        if access == "labels" and asked.needs_scores:
            said.append("labels alone are no option, as scores are needed")
            continue
        # Who stops sharing updates is no longer asked about them.
        goals = tuple((g, access) for g, at in asked.goals if at != "gradients" or g not in
                      ("gradient_reconstruction",))  # fmt: skip
        have = {str(a) for s in sources for a in s.boards.rows["access"].unique()}
        if not goals or access not in have:
            said.append(f"with {access} nothing was measured")
            continue
        found = _try(sources, decision, access=access, goals=goals)
        said.append(f"with {access}, {found} would qualify" if found
                    else f"with {access}, nothing would qualify either")  # fmt: skip
    return f"Reduce access below {asked.access}: {'; '.join(said)}."


def _queries(sources: Sequence[Source], decision: Decision) -> str:
    asked = decision.question
    most = max((float(s.trials(asked.scenario)["queries"].max() or 0) for s in sources), default=0)
    limit = min(most, asked.query_cap or math.inf)
    for band in (b for b in BANDS if b < limit):
        found = _try(sources, decision, query_cap=band)
        if found:
            return (
                f"Cut the queries: without attacks that asked more than {band:,}, {found} would "
                "qualify. They were not run with fewer: set the cap, then measure again."
            )
    return (
        "Cut the queries: no band below what the attacks asked "
        f"({limit:,.0f}) leaves a defense that would qualify."
    )


def _model(sources: Sequence[Source], decision: Decision) -> str:
    asked = decision.question
    others = sorted({
        str(row.model) for s in sources for row in s.boards.rows.itertuples()
        if row.dataset == asked.scenario.dataset and row.model != asked.scenario.model
    })  # fmt: skip
    found = []
    for model in others:
        defense = _try(sources, decision, scenario=replace(asked.scenario, model=model))
        found.append(f"{model} with {defense} would qualify" if defense
                     else f"{model} would not qualify")  # fmt: skip
    tried = f" On the same evidence {'; '.join(found)}." if found else ""
    return (
        "Change the privacy unit or the model: no class per person, aggregate answers, a simpler "
        f"model.{tried}"
    )


def _compose(decision: Decision) -> str:
    """The best of each stage among defenses that act and whose boards are evidence."""
    unsound = {"void", "weak_attack", "no_headroom", "broken_privacy", "not_measured",
               "verification_failed", "non_adaptive", "dirty"}  # fmt: skip
    best: dict[str, Candidate] = {}
    for c in decision.rejected:  # least leakage first
        if c.defense == UNDEFENDED or c.rule in unsound or len(c.stages) != 1:
            continue
        if any("no_effect" in m.flags for m in c.measured):
            continue
        kept, stage = best.get(c.stages[0]), c.stages[0]
        affordable = c.use.loss.lo >= -decision.question.bars.loss
        if kept is None or (affordable and not kept.use.loss.lo >= -decision.question.bars.loss):
            best[stage] = c
    if len(best) < 2:
        return "Compose defenses: the evidence has no two layers that act here; measure some."
    named = [f"{best[s].defense} {words}" for s, words in _STAGES.items() if s in best]
    layers = "+".join(best[s].defense for s in _STAGES if s in best)
    return (
        f"Compose at most three layers and measure the composition, whose effects do not add up: "
        f"{', '.join(named)} ({layers})."
    )


def caveats(sources: Sequence[Source], decision: Decision) -> Iterator[str]:
    """What qualifies the answer; what was not tested comes last."""
    asked, chosen = decision.question, decision.chosen
    if asked.bars.utility and asked.bars.utility != decision.metric:
        yield (
            f"The tier means its utility budget in {asked.bars.utility}, which was not measured; "
            f"{decision.metric} takes its place.".replace("_", " ")
        )
    elif chosen is not None and chosen.use.metric != decision.metric:
        yield f"{chosen.defense} has no {decision.metric}; {chosen.use.metric} takes its place."
    if not all(s.verified_by for s in sources):
        yield "Nobody is noted to have re-run this evidence."
    if chosen is not None:
        yield from _of_chosen(chosen, asked.bars.epsilon.preferred)
        yield from _members(chosen, asked.bars.mu)
    for goal in evidence.goals(sources, asked.scenario):
        if goal in dict(asked.goals):
            continue
        yield from _also(sources, decision, goal)
    if asked.query_cap is not None:
        yield (
            f"Attacks that asked more than {asked.query_cap:,} queries were left out, not run with "
            "fewer; the cap must hold over all accounts of an attacker together."
        )
    yield from evidence.not_tested(sources, asked.scenario, asked.access)


def _of_chosen(c: Candidate, preferred: float | None) -> Iterator[str]:
    flags = {flag for m in c.measured for flag in m.flags}
    if "missing" in flags:
        yield "Some planned trials did not finish: the worst case may be among them."
    if "little_headroom" in flags:
        yield "Without the model the secret is already guessed well: little was left to measure."
    if "straw_man" in flags:
        yield "The undefended model is weaker than a plain baseline: utility losses may be larger."
    if "no_spread" in flags:
        yield "All seeds gave the same leakage, so its interval has no width; no certainty follows."
    if any(not m.M.known for m in c.measured):
        yield "Member-specific leakage M has no figure for some goal; L alone was judged there."
    if any("no_effect" in m.flags for m in c.measured):
        yield f"{c.defense} does not act at the exposed access: it is the undefended model there."
    g = c.guarantee
    if g is not None and not g.formal:
        yield f"Its epsilon of {g.epsilon:.2f} leaves out tuning: do not claim it as a guarantee."
    elif g is not None and preferred is not None and g.epsilon > preferred:
        yield f"Epsilon {g.epsilon:.2f} is above the preferred {preferred:g}: it needs a sign-off."
    if g is not None:
        yield "The evidence's noise is seeded to be repeatable; a release needs secure randomness."
    if c.use.public_records:
        yield (
            f"It rests on {c.use.public_records:.0f} public records of the same kind; others than "
            "these were not tried."
        )


def _members(c: Candidate, mu: float) -> Iterator[str]:
    """M is judged of the strongest attack, as the protocol has it; another may say more."""
    from bench.decide.recommend import told

    for m in c.measured:
        attack, most = m.most_M
        if attack != m.attack and most.hi > mu:
            yield (
                f"For {m.goal.replace('_', ' ')}, M was judged of the strongest attack by L; "
                f"{attack} is not it, but has M {told(most, 3)}, whose upper end is above {mu:g}."
            )


def _also(sources: Sequence[Source], decision: Decision, goal: str) -> Iterator[str]:
    """A goal that the class of data does not require but that was measured."""
    from bench.decide.recommend import told

    asked, chosen = decision.question, decision.chosen
    if chosen is None:
        return
    at = "gradients" if goal == "gradient_reconstruction" else asked.access
    if ACCESS_ORDER.index(at) > ACCESS_ORDER.index(asked.access):
        return
    for m in evidence.measured(sources, asked.scenario, goal, at).get(chosen.defense, []):
        unfit = [f for f in ("void", "weak_attack", "no_headroom", "non_adaptive") if f in m.flags]
        words = f"L {told(m.L)}" + ("" if m.L.hi <= asked.bars.tau else ", above the bar")
        if unfit:
            words = f"no evidence ({', '.join(unfit).replace('_', ' ')})"
        yield f"Measured but not required, {goal.replace('_', ' ')} with {m.access}: {words}."
