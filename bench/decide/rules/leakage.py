"""Rules on what the decision rule found: evidence, bars, seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.decide.case import Case
from bench.decide.covered import scenario_of
from bench.report.frame import UNDEFENDED

_RULE_OF = {
    "leakage": "leakage_above_bar",
    "member_leakage": "member_leakage_above_bar",
    "members_unknown": "members_unknown",
    "undertested": "given_model_undertested",
    "broken_privacy": "dp_audit_exceeds_claim",
    "verification_failed": "verification_failed",
    "no_guarantee": "dp_required",
    "altered": "",  # evidence_altered lists every fault
    "utility": "",  # a poor model may be released; the assessment says so
    "straw_man": "",
    "no_scores": "",
}
"""The gate's rule for each reason of the decision rule; all others are no evidence."""


def reasons(case: Case, rule: str) -> Iterator[str]:
    """What the decision rule holds against the defense and the gate knows as ``rule``."""
    for reason, sentence in case.candidate.reasons:
        if _RULE_OF.get(reason, "no_ranked_evidence") == rule:
            yield sentence


def no_ranked_evidence(case: Case) -> Iterator[str]:
    """No evidence for a required goal, or none that counts."""
    yield from case.missing
    if not case.candidate.measured:
        yield f"'{case.candidate.defense}' was not attacked for any required goal"
    yield from reasons(case, "no_ranked_evidence")


def found(rule: str) -> Callable[[Case], Iterator[str]]:
    """A rule on what the decision rule holds against the defense.

    Bars are compared with upper ends of every attack's interval, at once, of less access too.
    """
    return lambda case: reasons(case, rule)


def provisional_seeds(case: Case) -> Iterator[str]:
    """Fewer seeds than a ranked row has, and not so few that they are no evidence."""
    seeds = case.policy.seeds
    trained = [m.n_seeds for m in case.candidate.measured if not m.single]
    few = min(trained, default=seeds.ranked)
    if seeds.provisional <= few < seeds.ranked:
        yield f"{few} seeds, where a ranked row has {seeds.ranked}"


def seeds_selected(case: Case) -> Iterator[str]:
    """Seeds that are left out: those with the least leakage may have been picked."""
    rows = {(case.scenario, UNDEFENDED): None, (case.scenario, case.row): None}
    for m in case.candidate.measured:
        of = scenario_of(m, case.scenario)
        rows |= {(of, UNDEFENDED): None, (of, m.defense): None}
    for source in case.sources:
        for of, defense in rows:
            trials = source.trials(of)
            seeds = set(trials.loc[trials["defense"] == defense, "seed"])
            absent = sorted(set(range(max(seeds, default=-1) + 1)) - seeds)
            if absent:
                shown = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
                yield (
                    f"'{source.suite}' has {len(seeds)} seeds of '{defense}' up to {max(seeds)}, "
                    f"and nothing of seed {shown}: who picks seeds picks results"
                )


CHECKS = {
    "no_ranked_evidence": no_ranked_evidence,
    "leakage_above_bar": found("leakage_above_bar"),
    "member_leakage_above_bar": found("member_leakage_above_bar"),
    "members_unknown": found("members_unknown"),
    "given_model_undertested": found("given_model_undertested"),
    "provisional_seeds": provisional_seeds,
    "seeds_selected": seeds_selected,
}
