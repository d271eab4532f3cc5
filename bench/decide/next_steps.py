"""What to do where nothing qualifies, in the protocol's order, and what qualifies an answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from scipy.stats import norm

from bench.contract.access import ACCESS_ORDER, Access, at_least
from bench.decide import evidence, one_model, untested
from bench.decide.candidates import SOUND, Candidate, Question, leak, metric_name
from bench.decide.decision import Decision
from bench.decide.evidence import Scenario, Source
from bench.decide.figures import Estimate, Measured
from bench.decide.policy import Bars, Policy
from bench.engine.durations import duration
from bench.goals import goals
from bench.report import stats
from bench.report.closure import COUNTED
from bench.report.frame import UNDEFENDED
from bench.report.text import at_most

_STAGES = {"training": "at training", "release": "on the answers", "serve": "watching queries"}


Qualifying = Callable[[Question], str]
"""What the rule would recommend under a changed question; empty: nothing."""


def following(
    sources: Sequence[Source], decision: Decision, qualifying: Qualifying
) -> Iterator[str]:
    """What to do next where nothing qualifies; each claim was looked up in the evidence."""
    for sentence in decision.missing:
        yield f"Measure first: {sentence}"
    lacking = [c for c in decision.rejected if further_seeds(c, decision.question)]
    if lacking and not decision.missing:
        cheapest = min(lacking, key=lambda c: more_seeds(c, decision.question) or math.inf)
        yield f"Run more seeds: {further_seeds(cheapest, decision.question)}"
    yield _access(sources, decision.question, qualifying)
    yield _queries(sources, decision.question, qualifying)
    yield _model(sources, decision.question, qualifying)
    yield _compose(decision)
    yield from one_model.steps([m for c in decision.rejected for m in c.measured])
    yield "If none of this helps: no acceptable default. Do not expose the model."


def _access(sources: Sequence[Source], asked: Question, qualifying: Qualifying) -> str:
    below = [
        access
        for access in ACCESS_ORDER[1:]
        if access != asked.access and at_least(asked.access, access)
    ]
    if not below:
        return f"Reduce access: there is nothing below {asked.access}."
    said = []
    for access in reversed(below):
        if access == "labels" and asked.needs_scores:
            said.append("labels alone are no option, as scores are needed")
            continue
        # Customers who get less stop no client from sharing updates; sharing none does.
        wanted = tuple(
            (g, at if goals()[g].victims == "clients" else access)
            for g, at in asked.goals
            if goals()[g].victims != "clients" or not at_least(asked.access, "gradients")
        )
        have = {
            str(row.access)
            for s in sources
            for row in s.boards.rows.itertuples()
            if (row.dataset, row.model) == (asked.scenario.dataset, asked.scenario.model)
        }
        if not wanted or access not in have:
            said.append(f"with {access} nothing was measured")
            continue
        found = qualifying(replace(asked, access=access, goals=wanted))
        said.append(
            f"with {access}, {found} would qualify"
            if found
            else f"with {access}, nothing would qualify either"
        )
    return f"Reduce access below {asked.access}: {'; '.join(said)}."


def _queries(sources: Sequence[Source], asked: Question, qualifying: Qualifying) -> str:
    if asked.access not in COUNTED:
        return f"Cut the queries: no cap binds who has the {asked.access}."
    budgets = {
        float(budget)
        for s in evidence.about(sources, asked.scenario)
        for budget in s.trials(asked.scenario)["budget"]
        if budget < (asked.query_cap or math.inf)
    }
    if not budgets:
        less = "a smaller" if asked.query_cap else "a"
        return f"Cut the queries: no attack was run with {less} budget; measure with one."
    for budget in sorted(budgets, reverse=True):
        found = qualifying(replace(asked, query_cap=int(budget)))
        if found:
            return f"Cut the queries: with {at_most(budget)}, {found} would qualify."
    return (
        "Cut the queries: no budget that attacks were run with "
        f"({', '.join(f'{b:,.0f}' for b in sorted(budgets))}) leaves a defense that would qualify."
    )


def _model(sources: Sequence[Source], asked: Question, qualifying: Qualifying) -> str:
    others = sorted(
        {
            str(row.model)
            for s in sources
            for row in s.boards.rows.itertuples()
            if row.dataset == asked.scenario.dataset and row.model != asked.scenario.model
        }
    )
    found = []
    for model in others:
        defense = qualifying(replace(asked, scenario=replace(asked.scenario, model=model)))
        found.append(
            f"{model} with {defense} would qualify" if defense else f"{model} would not qualify"
        )
    tried = f" On the same evidence {'; '.join(found)}." if found else ""
    return (
        "Change the privacy unit or the model: no class per person, aggregate answers, a simpler "
        f"model.{tried}"
    )


def _compose(decision: Decision) -> str:
    """The best of each stage among defenses that help and whose boards are evidence."""
    best: dict[str, Candidate] = {}
    epsilon = decision.question.bars.epsilon
    for c in decision.rejected:  # least leakage first
        if c.defense == UNDEFENDED or len(c.stages) != 1:
            continue
        if not {rule for rule, _ in c.reasons} <= {*SOUND, "too_few_seeds"}:
            continue
        # What gives labels alone turns the rest into a deployment of labels, which was measured.
        if any("no_effect" in m.flags or m.withheld for m in c.measured):
            continue
        if not any(m.lessens for m in c.measured):
            continue
        # A layer that costs more than may be lost leaves nothing to compose with.
        if c.use.loss.known and c.use.loss.value < -decision.question.bars.loss:
            continue
        proved = c.guarantee is not None and c.guarantee.within(epsilon.most)
        if epsilon.rule == "required" and c.stages == ("training",) and not proved:
            continue
        kept, stage = best.get(c.stages[0]), c.stages[0]
        affordable = c.use.loss.lo >= -decision.question.bars.loss
        if kept is None or (affordable and not kept.use.loss.lo >= -decision.question.bars.loss):
            best[stage] = c
    if len(best) < 2:
        return "Compose defenses: the evidence has no two layers that help here; measure some."
    named = [f"{best[s].defense} {words}" for s, words in _STAGES.items() if s in best]
    layers = "+".join(best[s].defense for s in _STAGES if s in best)
    return (
        f"Compose at most three layers and measure the composition, whose effects do not add up: "
        f"{', '.join(named)} ({layers})."
    )


def more_seeds(c: Candidate, asked: Question) -> int | None:
    """Seeds to run until its intervals keep the bars, should means and spreads stay as they are.

    None where a mean itself is beyond its bar, or something else speaks against the defense.
    """
    rules = {rule for rule, _ in c.reasons}
    if any(m.single for m in c.measured):
        return None  # there is one target: more runs narrow no interval over people
    if not rules or not rules <= {"leakage", "member_leakage", "utility", "too_few_seeds"}:
        return None
    fewest = min((m.n_seeds for m in c.measured), default=0)
    figures = [(-c.use.loss.value, c.use.loss, asked.bars.loss, fewest)]
    for m in c.measured:
        figures.append((m.judged_L[1].value, m.judged_L[1], asked.bars.tau, m.n_seeds))
        figures.append((m.judged_M[1].value, m.judged_M[1], asked.bars.mu, m.n_seeds))
    most = asked.seeds if "too_few_seeds" in rules else 0
    for mean, e, bar, n in figures:
        if e.known and mean >= bar:
            return None
        if n >= 2 and e.known:
            sd = (e.hi - e.value) / float(stats.half_width(1.0, n))
            most = max(most, int(stats.seeds_for(sd, bar - mean))) if sd > 0 else most
    return most or None


def further_seeds(c: Candidate, asked: Question) -> str:
    """How many seeds more, and how long they take, where only seeds are missing; else empty."""
    needed, have = more_seeds(c, asked), min((m.n_seeds for m in c.measured), default=0)
    if needed is None or needed <= have:
        return ""
    time = duration((needed - have) * c.seed_s) if math.isfinite(c.seed_s) else "an unknown time"
    return (
        f"The means of {c.defense} keep every bar. Should means and spreads stay as they are, "
        f"about {needed} seeds would show it: {needed - have} more than there are. They take "
        f"about {time} by the recorded times, one trial after another. This is a rough guess."
    )


def caveats(sources: Sequence[Source], decision: Decision, policy: Policy | None) -> Iterator[str]:
    """What qualifies the answer; what was not tested comes last."""
    asked, chosen = decision.question, decision.chosen
    tier = policy.tier_of(asked.scenario.sector) if policy else ""
    if policy and asked.tier and policy.lenient(asked.tier, asked.scenario.sector):
        yield f"The policy puts {asked.scenario.sector} data in {tier}; {asked.tier} asks less."
    if asked.bars.utility and asked.bars.utility != decision.metric:
        yield (
            f"The tier means its utility budget in {metric_name(asked.bars.utility)}, which was "
            f"not measured; {metric_name(decision.metric)} takes its place."
        )
    elif chosen is not None and chosen.use.metric != decision.metric:
        yield (
            f"{chosen.defense} has no {metric_name(decision.metric)}; "
            f"{metric_name(chosen.use.metric)} takes its place."
        )
    if not decision.verified:
        yield (
            "Nobody but its maker is noted to have re-run this evidence: have somebody run "
            "'invbench verify' before you rely on it."
        )
    if chosen is not None:
        epsilon, g = asked.bars.epsilon, chosen.guarantee
        if epsilon.rule == "expected" and not (g is not None and g.within(epsilon.most)):
            yield (
                f"Differential privacy is expected here; {chosen.defense} guarantees none that "
                "counts, which takes a written reason."
            )
        compared = len(decision.admissible) + len(decision.rejected)
        yield from one_model.limits(chosen.measured)
        yield from of_chosen(chosen, asked.bars, compared)
        yield from of_layers(sources, asked.scenario, chosen)
    for c in decision.admissible:
        if c.hides and c is not chosen:
            yield _acts_on(c, sources, asked.scenario)
    for goal in evidence.goals(sources, asked.scenario):
        if goal in dict(asked.goals):
            continue
        yield from _also(sources, decision, goal)
    judged = [chosen, *decision.rejected] if chosen is not None else decision.rejected
    yield from of_cap(asked, [m for c in judged if c is not None for m in c.measured])
    yield from untested.not_tested(sources, asked.scenario, asked.access)


def of_cap(asked: Question, measured: Sequence[Measured]) -> Iterator[str]:
    """On which boards a question with a query cap was judged."""
    if asked.query_cap is None:
        return
    if asked.access not in COUNTED:
        yield f"The query cap was ignored: who has the {asked.access} needs no queries."
        return
    budgets = {m.budget for m in measured if m.access in COUNTED}
    for budget in sorted(budgets - {math.inf}):
        yield (
            f"Judged by the boards of {at_most(budget)}, the smallest budget that covers the cap "
            f"of {asked.query_cap:,}; it must hold over all accounts of an attacker together."
        )
    if math.inf in budgets:
        yield (
            f"No board of a budget covers the query cap of {asked.query_cap:,}: judged by attacks "
            "without limit, which may find more."
        )


def of_chosen(c: Candidate, bars: Bars, compared: int) -> Iterator[str]:
    """What must be known of a defense that is used, chosen among so many that were compared."""
    flags = {flag for m in c.measured for flag in m.flags}
    if "missing" in flags:
        yield (
            "Some planned trials did not finish or have no record: the worst case may be among "
            "them."
        )
    if "little_headroom" in flags:
        yield "Without the model the secret is already guessed well: little was left to measure."
    if "straw_man" in flags:
        yield "The undefended model is weaker than a plain baseline: utility losses may be larger."
    if "no_spread" in flags:
        yield (
            "All targets gave the same leakage: its interval rests on the number of victims alone."
        )
    if any(m.raw.hi < 0 for m in c.measured):
        yield (
            "On some goal the strongest attack does worse than guessing without the model. That "
            "bounds this attack; a better one may find something."
        )
    if any(not m.judged_M[1].known and m.members_known for m in c.measured):
        yield "Member-specific leakage M has no figure for some goal; L alone was judged there."
    if any("no_effect" in m.flags for m in c.measured):
        yield f"{c.defense} does not act at the exposed access: it is the undefended model there."
    g, preferred = c.guarantee, bars.epsilon.preferred
    if g is not None and not g.formal:
        yield f"Its epsilon of {g.epsilon:.2f} leaves out tuning: do not claim it as a guarantee."
    elif g is not None and preferred is not None and g.epsilon > preferred:
        yield f"Epsilon {g.epsilon:.2f} is above the preferred {preferred:g}: it needs a sign-off."
    if g is not None:
        yield (
            "The evidence's noise is seeded to be repeatable: whoever knows the seed can take it "
            "away. Train the model that you release with secure randomness."
        )
    if c.use.public_records:
        yield (
            f"It rests on {c.use.public_records:.0f} public records of the same kind; others than "
            "these were not tried."
        )
    if c.admissible and compared > 1:
        yield _by_luck(c, bars, compared)


def of_layers(sources: Sequence[Source], of: Scenario, c: Candidate) -> Iterator[str]:
    """What must be known of the layers of a defense that is used."""
    if c.hides:
        yield _acts_on(c, sources, of)
    if c.use.against == UNDEFENDED != c.defense:
        yield (
            "What it costs is measured against an untuned network, which any regularisation may "
            "improve. With the defense 'regularised' in the grid it is measured against a tuned "
            "one."
        )


def _acts_on(c: Candidate, sources: Sequence[Source], of: Scenario) -> str:
    """What a defense leaves that acts on some attributes alone."""
    secrets = sorted({s.facts.cards[of.dataset].sensitive for s in sources} - {""})
    tested = f" It was tested for the attribute {', '.join(secrets)} alone." if secrets else ""
    return (
        f"{c.defense} acts on {', '.join(c.hides)} alone.{tested} Any other attribute is as "
        "exposed as without it."
    )


def _by_luck(c: Candidate, bars: Bars, compared: int) -> str:
    """Who picks the best of many picks some luck with it; Bonferroni's intervals allow for that."""

    def wide(e: Estimate, n: int) -> float:
        level = stats.ALPHA / compared
        if one:  # the interval over people is a normal one
            return (e.hi - e.value) * float(norm.isf(level / 2) / norm.isf(stats.ALPHA / 2))
        ratio = float(stats.half_width(1.0, n, level) / stats.half_width(1.0, n))
        return (e.hi - e.value) * ratio

    one = any(m.single for m in c.measured)
    lost = []
    for m in c.measured:
        goal, member = m.goal.replace("_", " "), m.judged_M[1]
        if m.L.value + wide(m.L, m.n_seeds) > bars.tau:
            lost.append(f"L on {goal}")
        if member.known and member.value + wide(member, m.n_seeds) > bars.mu:
            lost.append(f"M on {goal}")
    loss = c.use.loss
    if loss.value - wide(loss, max((m.n_seeds for m in c.measured), default=0)) < -bars.loss:
        lost.append("utility")
    start = (
        f"{compared} defenses were compared, each by an interval of its own: one may pass by luck."
    )
    if not lost:
        return f"{start} {c.defense} still keeps all bars when intervals allow for that."
    return (
        f"{start} When intervals allow for that, {c.defense} is no longer shown to keep "
        f"{', '.join(lost)}: measure it on {'other people' if one else 'new seeds'}."
    )


def _also(sources: Sequence[Source], decision: Decision, goal: str) -> Iterator[str]:
    """A goal that the class of data does not require but that was measured."""
    asked, chosen = decision.question, decision.chosen
    if chosen is None:
        return
    shared = goals()[goal].victims == "clients" and not at_least(asked.access, "gradients")
    at: Access = "gradients" if shared else asked.access
    if ACCESS_ORDER.index(at) > ACCESS_ORDER.index(asked.access):
        return
    for m in evidence.measured(sources, asked.scenario, goal, at, asked.query_cap).get(
        chosen.defense, []
    ):
        unfit = [f for f in ("void", "weak_attack", "no_headroom", "non_adaptive") if f in m.flags]
        words = f"L {leak(m.L)}" + ("" if m.L.hi <= asked.bars.tau else ", above the bar")
        if unfit:
            words = f"no evidence ({', '.join(unfit).replace('_', ' ')})"
        yield f"Measured but not required, {m.where}: {words}."
