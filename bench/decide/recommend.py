"""The default defense of a deployment, by the decision rule (PROTOCOL 8.1)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.contract.exposure import ACCESS_ORDER, Access
from bench.decide import evidence, next_steps
from bench.decide.evidence import NO_EVIDENCE, Estimate, Measured, Scenario, Source, Use
from bench.decide.policy import Bars, Policy
from bench.report.frame import UNDEFENDED
from bench.report.text import interval, number

_MEMBERS = ("attribute", "attribute_observed", "training_instance")
"""Goals about members of the training set: without M nothing is known of them."""
_UNACCOUNTED = "not_accounted"
_EXACT = 1e-9  # 0.80 - 0.77 is no more than 0.03
_UNFIT = {
    "void": "a control failed that its board rests on",
    "broken_privacy": "canaries show that training gives more away than its epsilon claims",
    "weak_attack": "attacks were too weak there to tell anything",
    "no_headroom": "leakage could not be measured there",
    "dirty": "its trials ran from a modified working copy",
    "non_adaptive": "no attack that adapts to it was run: its leakage is only a lower bound",
}
"""Flags of a row that is no evidence for its defense, the gravest first."""


@dataclass(frozen=True)
class Question:
    """What is asked of the evidence.

    Attributes:
        scenario: what is deployed.
        access: what customers get.
        bars: what must be kept.
        tier: name of the tier the bars are of; empty for bars of one's own.
        goals: each adversary's goal that must be measured, and the access it has.
        query_cap: most queries of an attack; None: unlimited.
        needs_scores: whether the application uses scores.
        seeds: fewest seeds of a row that counts.
    """

    scenario: Scenario
    access: Access
    bars: Bars
    tier: str
    goals: tuple[tuple[str, Access], ...]
    query_cap: int | None = None
    needs_scores: bool = False
    seeds: int = 10


@dataclass(frozen=True)
class Guarantee:
    """Differential privacy as the evidence's ledger has it."""

    epsilon: float
    delta: float
    unit: str
    basis: str
    sampling: str
    formal: bool
    """Whether sampling and tuning are accounted for: what was not is no guarantee."""
    personal: bool
    """Whether it covers all records of a person."""


@dataclass(frozen=True)
class Candidate:
    """A defense under the rule; ``reason`` is the one thing that decides against it."""

    defense: str
    use: Use
    measured: tuple[Measured, ...]
    guarantee: Guarantee | None
    stages: tuple[str, ...]
    settings: int
    rule: str = ""
    reason: str = ""

    @property
    def admissible(self) -> bool:
        """Whether the rule lets it through."""
        return not self.rule

    @property
    def worst(self) -> float:
        """The largest upper end of L; infinite where one is not known."""
        ends = [m.L.hi if m.L.known else math.inf for m in self.measured]
        return max(ends, default=math.inf)


@dataclass(frozen=True)
class Decision:
    """What the rule says.

    Attributes:
        question: what was asked.
        metric: of utility, that ``bars.loss`` was compared in.
        chosen: the recommended defense; None: nothing qualifies.
        because: how it was told from those tied with it.
        runner_up: the next in the rule's order. why_not: what put it behind.
        undefended: whether ``none`` is itself admissible.
        admissible: all that qualify, in the rule's order.
        rejected: all that do not, least leakage first.
        missing: required goals without evidence, as sentences.
        steps: what to do next where nothing qualifies, in order.
        caveats: what qualifies the answer, not-tested things last.
        digests: sha256 of the evidence, by suite.
        recorded: first and last day of it.
    """

    question: Question
    metric: str
    chosen: Candidate | None
    because: str
    runner_up: Candidate | None
    why_not: str
    undefended: bool
    admissible: tuple[Candidate, ...]
    rejected: tuple[Candidate, ...]
    missing: tuple[str, ...]
    steps: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    digests: Mapping[str, str] | None = None
    recorded: tuple[str, str] = ("", "")


def asked(
    policy: Policy, scenario: Scenario, access: Access, federated: bool = False,
    declined: Sequence[str] = (), further: Sequence[str] = (),
) -> tuple[tuple[str, Access], ...]:  # fmt: skip
    """Every goal that must be measured, with the access an adversary has for it.

    Args:
        policy: says what the class of data requires.
        scenario: what is deployed.
        access: what customers get.
        federated: whether clients share updates, whatever customers get.
        declined: goals that are required but left out.
        further: goals that are asked for besides.
    """
    federated = federated or access == "gradients"
    plain = [*policy.required(scenario.sector, scenario.modality), *further]
    pairs: dict[str, Access] = {goal: access for goal in plain if goal not in declined}
    if federated:
        pairs |= {goal: "gradients" for goal in policy.federated if goal not in declined}
    return tuple(
        (goal, "gradients" if goal in policy.federated else at) for goal, at in pairs.items()
    )


def decide(sources: Sequence[Source], question: Question, steps: bool = True) -> Decision:
    """The rule, applied to every defense of the scenario.

    Args:
        sources: the evidence.
        question: what is asked.
        steps: whether to work out what to do where nothing qualifies.
    """
    given = sources
    if question.query_cap is not None:
        sources = [source.capped(question.query_cap) for source in sources]
    metric, found, missing = candidates(sources, question)
    admissible = [c for c in found if c.admissible] if not missing else []
    order, because, why_not = _ranked(admissible)
    rejected = sorted((c for c in found if not c.admissible), key=lambda c: (c.worst, c.defense))
    days = [d for s in sources for d in (s.facts.first, s.facts.last)]
    decision = Decision(
        question, metric, order[0] if order else None, because,
        order[1] if len(order) > 1 else None, why_not,
        any(c.defense == UNDEFENDED for c in order), tuple(order), tuple(rejected),
        tuple(missing), digests={s.suite: s.digest for s in given},
        recorded=(min(days)[:10], max(days)[:10]),
    )  # fmt: skip
    if not steps:
        return decision
    return replace(
        decision,
        steps=() if order else tuple(next_steps.following(given, decision)),
        caveats=tuple(next_steps.caveats(sources, decision)),
    )


def candidates(
    sources: Sequence[Source], question: Question
) -> tuple[str, list[Candidate], list[str]]:
    """The metric of utility, every defense judged, and the goals nothing is known about."""
    of = question.scenario
    metric, uses = evidence.usefulness(sources, of, question.bars.utility)
    boards = {goal: evidence.measured(sources, of, goal, access) for goal, access in question.goals}
    missing = [
        f"There is no evidence on {goal.replace('_', ' ')} with {access} or more access."
        for goal, access in question.goals
        if not boards[goal]
    ]
    for goal, access in question.goals:
        everyone = [m for found in boards[goal].values() for m in found]
        for flag in NO_EVIDENCE:
            if everyone and all(flag in m.flags for m in everyone):
                missing.append(
                    f"The board on {goal.replace('_', ' ')} with {access} is no evidence "
                    f"({flag.replace('_', ' ')})."
                )
    out = []
    for defense in sorted({name for found in boards.values() for name in found}):
        rows = tuple(m for goal in boards for m in boards[goal].get(defense, []))
        lacking = [goal for goal in boards if boards[goal] and defense not in boards[goal]]
        infos = [s.facts.defenses[defense] for s in sources if defense in s.facts.defenses]
        candidate = Candidate(
            defense, uses.get(defense, Use()), rows, guarantee(sources, of, defense),
            tuple(infos[0].stages) if infos else (), infos[0].settings if infos else 1,
        )  # fmt: skip
        found = against(sources, question, candidate, lacking)
        rule, reason = next(found, ("", ""))
        out.append(replace(candidate, rule=rule, reason=reason))
    return metric, out, missing


def guarantee(sources: Sequence[Source], of: Scenario, defense: str) -> Guarantee | None:
    """What the ledgers of a defense guarantee; None without one."""
    place = (of.dataset, of.model, defense)
    ledgers = [(s, s.facts.ledgers[place]) for s in sources if place in s.facts.ledgers]
    if not ledgers:
        return None
    spent = [
        float(row["epsilon"]) for s, _ in ledgers for row in s.boards.rows.to_dict("records")
        if tuple(row[name] for name in ("dataset", "model", "defense")) == place
        and math.isfinite(row["epsilon"])
    ]  # fmt: skip
    source, ledger = ledgers[0]
    total = ledger.epsilon if ledger.epsilon_total is None else ledger.epsilon_total
    formal = ledger.epsilon_total_basis != _UNACCOUNTED and math.isfinite(total)
    return Guarantee(
        max([total, *spent]), ledger.delta, ledger.unit, ledger.epsilon_total_basis,
        ledger.sampling, formal,
        ledger.unit == "person" or source.facts.cards[of.dataset].privacy_unit == ledger.unit,
    )  # fmt: skip


def against(
    sources: Sequence[Source], question: Question, c: Candidate, lacking: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """What speaks against a defense, the deciding thing first: what makes evidence, then bars."""
    bars, of = question.bars, question.scenario
    flags = {flag: m for m in c.measured for flag in m.flags}
    for flag, words in _UNFIT.items():
        if flag in flags:
            yield flag, _on(flags[flag], words)
    if lacking:
        yield "not_measured", f"not attacked for {', '.join(lacking).replace('_', ' ')}"
    if any(s.refuted for s in sources):
        yield "verification_failed", "whoever re-ran the evidence found something else"
    few = min(c.measured, key=lambda m: m.n_seeds)
    if few.n_seeds < question.seeds:
        yield "too_few_seeds", _on(few, f"{few.n_seeds} seeds, where {question.seeds} are asked")
    public = max(s.facts.cards[of.dataset].facts.get("n_public", math.inf) for s in sources)
    if c.use.public_records > public:
        yield (
            "undeclared_public_data",
            f"it used {c.use.public_records:.0f} public records, the data declares {public}",
        )
    if question.needs_scores and any(m.withheld and m.access == "scores" for m in c.measured):
        yield "no_scores", "it answers labels alone, and scores are needed"
    for m in c.measured:
        yield from _leaks(m, bars)
    loss = c.use.loss
    if not (loss.known and loss.lo >= -bars.loss - _EXACT):
        yield (
            "utility",
            f"{metric_name(c.use.metric)} {told(loss, 3, True)} against undefended: it may "
            f"cost more than {bars.loss:g}",
        )
    yield from _without(bars, c)


def _leaks(m: Measured, bars: Bars) -> Iterator[tuple[str, str]]:
    idle = "; it does not act at this access" if "no_effect" in m.flags else ""
    for rule, name, e, bar in (
        ("leakage", "L", m.L, bars.tau), ("member_leakage", "M", m.M, bars.mu),
    ):  # fmt: skip
        if e.known and e.hi > bar:
            yield rule, _on(m, f"{name} {told(e, 3)} by {m.attack}, whose upper end is above "
                               f"{bar:g}{idle}")  # fmt: skip
        elif not e.known and (name == "L" or m.goal in _MEMBERS):
            yield rule, _on(m, f"{name} has no figure with an interval")


def _without(bars: Bars, c: Candidate) -> Iterator[tuple[str, str]]:
    """Why a required guarantee is not there."""
    g, most = c.guarantee, bars.epsilon.most
    if bars.epsilon.rule != "required":
        return
    if g is None:
        yield "no_guarantee", "no differential privacy, which is required"
    elif not g.formal:
        yield "no_guarantee", f"its epsilon of {g.epsilon:.2f} leaves out tuning ({g.basis}): " \
                              "no formal guarantee"  # fmt: skip
    elif not g.personal:
        yield "no_guarantee", f"its guarantee is of one {g.unit}, not of all data of a person"
    elif most is not None and g.epsilon > most:
        yield "no_guarantee", f"epsilon {g.epsilon:.2f}, where at most {most:g} is allowed"


def _ranked(admissible: Sequence[Candidate]) -> tuple[list[Candidate], str, str]:
    """The rule's order, how the first was told from those tied with it, why the second is behind.

    Tied are those whose interval of utility overlaps that of the greatest lower end.
    """
    by_utility = sorted(admissible, key=lambda c: (-_low(c), c.defense))
    if not by_utility:
        return [], "", ""
    best = by_utility[0]
    tied = [
        c
        for c in by_utility
        if c is best or (_low(c) > -math.inf and c.use.utility.hi >= _low(best))
    ]
    order = sorted(tied, key=_preference)
    order += [c for c in by_utility if c not in tied]
    if len(tied) == 1:
        because = "It has the greatest lower end of utility, and no other's interval reaches it."
    else:
        because = (
            f"{len(tied)} defenses are tied in utility (their intervals overlap); " + _told_by(tied)
        )
    if len(order) == 1:
        return order, "Nothing else qualifies.", ""
    first, second = order[:2]
    if second not in tied:
        return order, because, (
            f"its utility {told(second.use.utility, 3)} lies below "
            f"{told(first.use.utility, 3)}"
        )  # fmt: skip
    return order, because, "tied in utility; " + _difference(first, second)


def _low(c: Candidate) -> float:
    known = c.use.comparable and math.isfinite(c.use.utility.lo)
    return c.use.utility.lo if known else -math.inf


_CRITERIA = (
    "a formal guarantee", "fewer parameters", "less training time", "fewer settings tried",
    "fewer public records", "greater lower end of utility",
)  # fmt: skip


def _preference(c: Candidate) -> tuple[float, float, float, float, float, float, str]:
    known = [math.inf if math.isnan(v) else v for v in (c.use.n_params, c.use.train_s)]
    formal = c.guarantee is not None and c.guarantee.formal
    # Tenths of a second of training are the machine's mood, not the defense's cost.
    return (
        -float(formal), known[0], round(known[1]) if math.isfinite(known[1]) else math.inf,
        c.settings, c.use.public_records, -_low(c), c.defense,
    )  # fmt: skip


def _difference(first: Candidate, second: Candidate) -> str:
    mine, other = _preference(first), _preference(second)
    for name, a, b in zip(_CRITERIA, mine, other, strict=False):
        if a != b:
            return f"{first.defense} has {name}"
    return "equal by every criterion, told apart by name only"


def _told_by(tied: Sequence[Candidate]) -> str:
    order = sorted(tied, key=_preference)
    return f"{_difference(order[0], order[1])}, ahead of {order[1].defense}."


def told(e: Estimate, digits: int = 2, signed: bool = False) -> str:
    """``0.04 [0.01, 0.08]``."""
    ends = interval(e.lo, e.hi, digits, signed)
    return f"{number(e.value, digits, signed)} {ends}".rstrip()


def metric_name(name: str) -> str:
    """A metric as people write it."""
    return "AUROC" if name == "auroc" else name.replace("_", " ")


def _on(m: Measured, words: str) -> str:
    return f"{m.goal.replace('_', ' ')} with {m.access}: {words}"


def weaker(access: Access) -> list[Access]:
    """Accesses below, the nearest first."""
    below = ACCESS_ORDER[1 : ACCESS_ORDER.index(access)]
    return list(reversed(below))
