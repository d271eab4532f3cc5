"""Rules on whether a description and its evidence speak of one and the same deployment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.decide.case import Case
from bench.decide.persons import folded, placeholder


def sector_mismatch(case: Case) -> Iterator[str]:
    """Another sector than that of the evidence's data."""
    stated, measured = case.model.data.sector, case.scenario.sector
    if folded(stated) != folded(measured):
        yield f"the description is of sector '{stated[:80]}', the evidence of '{measured}'"


def privacy_unit_mismatch(case: Case) -> Iterator[str]:
    """Another protected unit than that of the evidence's data."""
    stated = case.model.data.privacy_unit
    for s in case.sources:
        measured = s.facts.cards[case.scenario.dataset].privacy_unit
        if measured != stated:
            yield (
                f"the description protects one {stated}, the evidence '{s.suite}' is of one "
                f"{measured}"
            )


def categories_unfit(case: Case) -> Iterator[str]:
    """Categories that nobody knows, or that such data cannot hold."""
    of, stated = case.scenario, folded(case.model.data.sector)
    for category in case.model.data.categories:
        kind = case.policy.kind_of(category)
        if kind is None:
            yield f"the policy knows no category '{category[:80]}'"
            continue
        sectors = set(map(folded, kind.sectors))
        if sectors and not {stated, folded(of.sector)} <= sectors:
            yield (
                f"'{category}' is in data of {' or '.join(kind.sectors)}, not of sector "
                f"'{case.model.data.sector[:80]}'"
            )
        if kind.modalities and of.modality not in kind.modalities:
            yield (
                f"'{category}' comes as {' or '.join(kind.modalities)}, the evidence is of "
                f"{of.modality} data"
            )


def tier_too_lenient(case: Case) -> Iterator[str]:
    """A more lenient tier than the policy has for the sector or for a category."""
    policy, tier = case.policy, case.model.tier
    for sector in dict.fromkeys((case.scenario.sector, folded(case.model.data.sector))):
        if policy.lenient(tier, sector):
            yield (
                f"the policy puts {sector} data in tier {policy.tier_of(sector)}, the description "
                f"in {tier}"
            )
    for category in case.model.data.categories:
        kind = policy.kind_of(category)
        if kind is not None and policy.later(tier, kind.tier):
            yield f"the policy puts '{category}' in tier {kind.tier}, the description in {tier}"


def defense_params_differ(case: Case) -> Iterator[str]:
    """Options of the defense that are not those it was evaluated with."""
    name = case.candidate.defense
    for s in case.sources:
        if name not in s.facts.defenses:
            continue
        layers = s.facts.defenses[name].layers
        for option, value in case.model.defense.params.items():
            used = [layer[option] for layer in layers if option in layer and option != "_target_"]
            shown = f"{str(option)[:40]}={str(value)[:40]}"
            if not used:
                yield f"the evidence '{s.suite}' does not say that '{name}' has {shown}"
            elif not any(_same(value, other) for other in used):
                yield (
                    f"{shown} is deployed, the evidence '{s.suite}' is of "
                    f"{str(option)[:40]}={', '.join(str(other)[:40] for other in used)}"
                )


def _same(one: Any, other: Any) -> bool:
    """Whether two values are one; true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def required_goal_declined(case: Case) -> Iterator[str]:
    """Goals that the class of data requires and the description calls irrelevant."""
    of, model = case.scenario, case.model
    needed = case.policy.required(of.sector, of.modality)
    needed = needed + (case.policy.federated if model.exposure.federated else [])
    for goal in case.declined:
        if goal in needed:
            yield (
                f"{goal.replace('_', ' ')} is required for such data, the description calls it "
                f"irrelevant: {model.goals[goal].reason}"
            )


def subgroup_missing(case: Case) -> Iterator[str]:
    """Nothing is said of subgroups."""
    if placeholder(case.model.subgroups or ""):
        yield "the description says nothing of subgroups"


CHECKS = {
    "sector_mismatch": sector_mismatch,
    "privacy_unit_mismatch": privacy_unit_mismatch,
    "categories_unfit": categories_unfit,
    "tier_too_lenient": tier_too_lenient,
    "defense_params_differ": defense_params_differ,
    "required_goal_declined": required_goal_declined,
    "subgroup_missing": subgroup_missing,
}
