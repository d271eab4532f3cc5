"""Every defense of a scenario, held against bars: what the decision rule chooses from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.contract.access import Access
from bench.decide import covered
from bench.decide.evidence import NO_EVIDENCE, Scenario, Source
from bench.decide.figures import Estimate, Measured
from bench.decide.hiding import hidden
from bench.decide.policy import Bars, OneTarget
from bench.decide.use import Use, seconds, usefulness
from bench.goals import goal_named
from bench.report.frame import REGULARISED, UNDEFENDED
from bench.report.text import bounded, interval, number

_UNACCOUNTED = "not_accounted"
_SAMPLED = ("poisson", "full_batch")
"""Sampling that an accountant knows."""
_EXACT = 1e-9  # 0.80 - 0.77 is no more than 0.03
_UNFIT = {
    "void": "a control failed that its board rests on",
    "broken_privacy": "canaries show that training gives more away than its epsilon claims",
    "reproduction": "it repeats a paper with settings that the protocol refuses",
    "weak_attack": "attacks were too weak there to tell anything",
    "no_headroom": "leakage could not be measured there",
    "dirty": "its trials ran from a modified working copy",
    "non_adaptive": "no attack that adapts to it was run: its leakage is only a lower bound",
    "straw_man": "the undefended model is weaker than a plain baseline: what it costs is not known",
}
"""Flags of a row that is no evidence for its defense, the gravest first."""
_UNKNOWN_MEMBERS = (
    "nobody knows whom the model was trained on, so members cannot be compared with others and M "
    "is not judged"
)
SOUND = frozenset(
    {"leakage", "member_leakage", "members_unknown", "utility", "no_guarantee", "no_scores"}
)
"""Reasons of a defense that was measured well and does not keep the bars."""


@dataclass(frozen=True)
class Question:
    """What is asked of the evidence.

    Attributes:
        scenario: what is deployed.
        access: what customers get.
        bars: what must be kept.
        tier: name of the tier the bars are of; empty for bars of one's own.
        goals: each adversary's goal that must be measured, and the access it has.
        query_cap: most queries that are answered; None: unlimited. The boards of the smallest
            budget that covers it are judged, those without limit where none does.
        needs_scores: whether the application uses scores.
        seeds: fewest seeds of a row that counts.
        one_target: least evidence on one target that was given.
        stand_in: a scenario whose boards fill what this one has none of.
        trained_with: a defense of the stand-in's training that is in the given weights already.
    """

    scenario: Scenario
    access: Access
    bars: Bars
    tier: str
    goals: tuple[tuple[str, Access], ...]
    query_cap: int | None = None
    needs_scores: bool = False
    seeds: int = 10
    one_target: OneTarget = field(default_factory=OneTarget)
    stand_in: Scenario | None = None
    trained_with: str = ""

    def row(self, defense: str) -> str:
        """The row of the scenario by which a defense is judged."""
        return UNDEFENDED if defense and defense == self.trained_with else defense


@dataclass(frozen=True)
class Guarantee:
    """Differential privacy as the evidence's ledgers have it, the weakest of them."""

    epsilon: float
    delta: float
    unit: str
    basis: str
    sampling: str
    formal: bool
    """Whether sampling and tuning are accounted for: what was not is no guarantee."""
    personal: bool
    """Whether it covers all records of a person."""

    def within(self, most: float | None) -> bool:
        """Whether it says anything: a large epsilon promises nothing (PROTOCOL 4.5)."""
        return self.formal and self.personal and (most is None or self.epsilon <= most)


@dataclass(frozen=True)
class Candidate:
    """A defense under the rule.

    Attributes:
        hides: attributes on which it acts, where it leaves all others as they are.
        seed_s: seconds that one more seed of it and of ``none`` takes, by the recorded times.
        reasons: all that speaks against it, as rule and sentence, the deciding one first.
    """

    defense: str
    use: Use
    measured: tuple[Measured, ...]
    guarantee: Guarantee | None
    stages: tuple[str, ...]
    settings: int
    seed_s: float = math.nan
    hides: tuple[str, ...] = ()
    reasons: tuple[tuple[str, str], ...] = ()

    @property
    def rule(self) -> str:
        """Name of the deciding reason; empty: none."""
        return self.reasons[0][0] if self.reasons else ""

    @property
    def reason(self) -> str:
        """The deciding reason."""
        return self.reasons[0][1] if self.reasons else ""

    @property
    def called(self) -> str:
        """Its name, and what it acts on where that is not all of a record."""
        return (
            f"{self.defense} (acts on {', '.join(self.hides)} alone)"
            if self.hides
            else self.defense
        )

    @property
    def bare(self) -> bool:
        """Whether it is a model without a defense: the undefended or the regularised one."""
        return self.defense.split("[", 1)[0] in (UNDEFENDED, REGULARISED)

    @property
    def admissible(self) -> bool:
        """Whether the rule lets it through."""
        return not self.reasons

    @property
    def worst(self) -> float:
        """The largest upper end of L; infinite where one is not known."""
        ends = [e.hi if e.known else math.inf for _, e in (m.judged_L for m in self.measured)]
        return max(ends, default=math.inf)


def candidates(
    sources: Sequence[Source], question: Question, boards: Mapping[str, covered.Rows] | None = None
) -> tuple[str, list[Candidate], list[str]]:
    """The metric of utility, every defense judged, and the goals nothing is known about.

    Args:
        sources: the evidence.
        question: what is asked.
        boards: what :func:`bench.decide.covered.boards` says of the question, where it is known:
            other bars change nothing of it.
    """
    of = question.scenario
    metric, uses = usefulness(sources, of, question.bars.utility, question.access)
    boards = covered.boards(sources, question) if boards is None else boards
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
    out, spent = [], seconds(sources, of)
    card = next(s.facts.cards[of.dataset] for s in sources if of.dataset in s.facts.cards)
    for defense in sorted({name for found in boards.values() for name in found}):
        rows = tuple(m for goal in boards for m in boards[goal].get(defense, []))
        lacking = [goal for goal in boards if boards[goal] and defense not in boards[goal]]
        infos = [s.facts.defenses[defense] for s in sources if defense in s.facts.defenses]
        candidate = Candidate(
            defense,
            uses.get(question.row(defense), Use()),
            rows,
            guarantee(sources, of, defense),
            tuple(infos[0].stages) if infos else (),
            infos[0].settings if infos else 1,
            spent.get(question.row(defense), math.nan),
            hidden(infos[0].layers, card.sensitive) if infos else (),
        )
        reasons = dict.fromkeys(_against(sources, question, candidate, lacking))
        out.append(replace(candidate, reasons=tuple(reasons)))
    return metric, out, missing


def guarantee(sources: Sequence[Source], of: Scenario, defense: str) -> Guarantee | None:
    """What the ledgers of a defense guarantee; None without one."""
    place = (of.dataset, of.model, defense)
    ledgers = [(s, s.facts.ledgers[place]) for s in sources if place in s.facts.ledgers]
    if not ledgers:
        return None
    spent = [
        float(row["epsilon"])
        for s, _ in ledgers
        for row in s.boards.rows.to_dict("records")
        if tuple(row[name] for name in ("dataset", "model", "defense")) == place
        and math.isfinite(row["epsilon"])
    ]
    told = [ledger for _, ledger in ledgers]
    totals = [led.epsilon if led.epsilon_total is None else led.epsilon_total for led in told]
    formal = all(
        led.epsilon_total_basis != _UNACCOUNTED and led.sampling in _SAMPLED for led in told
    )
    personal = all(
        led.unit == "person" or s.facts.cards[of.dataset].privacy_unit == led.unit
        for s, led in ledgers
    )
    epsilon = max([*totals, *spent])
    return Guarantee(
        epsilon,
        max(led.delta for led in told),
        told[0].unit,
        ", ".join(sorted({led.epsilon_total_basis for led in told})),
        ", ".join(sorted({led.sampling for led in told})),
        formal and math.isfinite(epsilon),
        personal,
    )


def _against(
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
    fault = next((f"'{s.suite}', {fault}" for s in sources for fault in s.faults), "")
    if fault:
        yield "altered", f"its evidence does not follow from its own records: {fault}"
    if any(s.refuted for s in sources):
        yield "verification_failed", "whoever re-ran the evidence found something else"
    for m in c.measured:
        yield from _incomplete(m)
    few = min((m for m in c.measured if not m.single), key=lambda m: m.n_seeds, default=None)
    if few is not None and few.n_seeds < question.seeds:
        asked = f"{few.n_seeds} seeds, where {question.seeds} are asked"
        yield "too_few_seeds", _on(few, f"{asked}: run it with seeds={question.seeds}")
    for m in c.measured:
        yield from _undertested(m, question.one_target)
    public = max(s.facts.cards[of.dataset].facts.get("n_public", 0) for s in sources)
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
            f"{metric_name(c.use.metric)} {told(loss, 3, True)} against {c.use.reference}: it may "
            f"cost more than {bars.loss:g}",
        )
    yield from _without(bars, c)


def _undertested(m: Measured, least: OneTarget) -> Iterator[tuple[str, str]]:
    """Too few runs of the attacks on one target that was given, or too few people."""
    if m.single and m.n_seeds < least.seeds:
        said = f"attacks were run {m.n_seeds} times on the one model, where {least.seeds} are asked"
        yield "undertested", _on(m, f"{said}: run it with seeds={least.seeds}")
    if m.single and goal_named(m.goal).victims == "records" and m.victims < least.victims:
        said = f"attacks were tried on {m.victims:,} people, where {least.victims:,} are asked"
        yield "undertested", _on(m, f"{said}: run it with victims={least.victims}")


def _incomplete(m: Measured) -> Iterator[tuple[str, str]]:
    """Attacks and trials that the figures of a row are without."""
    if m.lost:
        yield (
            "missing",
            _on(
                m,
                f"{m.lost} of the {m.planned} planned trials of its row have no "
                "record: its worst case may be among them",
            ),
        )
    if m.unmet:
        yield (
            "not_measured",
            _on(m, f"it did not meet {', '.join(m.unmet)}, which ran against the undefended model"),
        )
    if m.single and not m.lost and "missing" in m.flags:
        yield (
            "missing",
            _on(m, "not every run of its attacks ended: its worst case may be among the others"),
        )
    if "bypassed" in m.flags:
        yield (
            "bypassed",
            _on(
                m,
                "who has the weights goes round its layer on the answers, but "
                "attacks on answers met that layer: its leakage is only a lower "
                "bound; see its training part alone",
            ),
        )


def _leaks(m: Measured, bars: Bars) -> Iterator[tuple[str, str]]:
    idle = "; it does not act at this access" if "no_effect" in m.flags else ""
    for rule, name, (attack, e), bar in (
        ("leakage", "L", m.judged_L, bars.tau),
        ("member_leakage", "M", m.judged_M, bars.mu),
    ):
        if e.known and e.hi > bar:
            figure = leak(e, 3) if name == "L" else told(e, 3)
            yield (
                rule,
                _on(m, f"{name} {figure} by {attack}, whose upper end is above {bar:g}{idle}"),
            )
        elif name == "M" and not m.members_known:
            yield "members_unknown", _on(m, _UNKNOWN_MEMBERS)
        elif not e.known and (name == "L" or goal_named(m.goal).members):
            yield rule, _on(m, f"{name} has no figure with an interval")


def _without(bars: Bars, c: Candidate) -> Iterator[tuple[str, str]]:
    """Why a required guarantee is not there."""
    g, most = c.guarantee, bars.epsilon.most
    if bars.epsilon.rule != "required":
        return
    if g is None:
        yield "no_guarantee", "no differential privacy, which is required"
    elif not g.formal:
        yield (
            "no_guarantee",
            f"its epsilon of {g.epsilon:.2f} leaves out tuning ({g.basis}): no formal guarantee",
        )
    elif not g.personal:
        yield "no_guarantee", f"its guarantee is of one {g.unit}, not of all data of a person"
    elif most is not None and g.epsilon > most:
        yield "no_guarantee", f"epsilon {g.epsilon:.2f}, where at most {most:g} is allowed"


def told(e: Estimate, digits: int = 2, signed: bool = False) -> str:
    """``0.04 [0.01, 0.08]``."""
    ends = interval(e.lo, e.hi, digits, signed)
    return f"{number(e.value, digits, signed)} {ends}".rstrip()


def leak(e: Estimate, digits: int = 2) -> str:
    """An estimate of L: ``0.04 [0.01, 0.08]``, or ``≤ 0.02`` where no leakage is seen."""
    return " ".join(bounded(e.value, e.lo, e.hi, digits)).rstrip()


def metric_name(name: str) -> str:
    """A metric as people write it."""
    return "AUROC" if name == "auroc" else name.replace("_", " ")


def _on(m: Measured, words: str) -> str:
    return f"{m.where}: {words}"
