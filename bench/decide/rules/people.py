"""Rules on what people say and sign: real answers, real names, one person a role."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date

from bench.decide.case import Case
from bench.decide.deployed import Deployed, Role, SignOff, Waiver
from bench.decide.persons import named, person, placeholder
from bench.decide.policy import Policy


def placeholder_text(case: Case) -> Iterator[str]:
    """Answers that are none."""
    m = case.model
    answers = {
        "name": m.name,
        "owner": m.owner,
        "purpose": m.purpose,
        "necessity": m.necessity,
        "monitoring": m.monitoring,
        "incident_contact": m.incident_contact,
        "exposure.users": m.exposure.users,
        **{f"data.sources.{n}": text for n, text in enumerate(m.data.sources)},
        **({} if any(c.isdigit() for c in m.version) else {"version": m.version}),
        **{f"goals.{goal}.reason": entry.reason for goal, entry in m.goals.items()},
    }
    for place, text in answers.items():
        if placeholder(text):
            yield f"{place} is no answer: '{text[:40]}'"


def sign_offs(
    model: Deployed, last: date, today: date, verifiers: Sequence[str]
) -> tuple[dict[Role, SignOff], tuple[str, ...]]:
    """Sign-offs that count by role, and why others do not.

    Args:
        model: the description.
        last: day of the newest trial: nobody signs what was not there yet.
        today: the day of judgement: nobody signs ahead.
        verifiers: who ran the evidence again: who checks does not approve.
    """
    roles: dict[str, set[Role]] = defaultdict(set)
    for s in model.sign_offs:
        roles[person(s.name)].add(s.role)
    checked = set(map(person, verifiers))
    counted: dict[Role, SignOff] = {}
    unfit = []
    for s in model.sign_offs:
        who = f"{s.name[:60]} ({s.role}, {s.date})"
        if not named(s.name):
            unfit.append(f"{who} is no person's name")
        elif s.date < last:
            unfit.append(f"{who} signed before the evidence of {last} was there")
        elif s.date > today:
            unfit.append(f"{who} signed after the day of judgement, {today}")
        elif len(roles[person(s.name)]) > 1:
            unfit.append(f"{who} signed in several roles; each takes a person of its own")
        elif person(s.name) in checked:
            unfit.append(f"{who} ran the evidence again as well; who checks does not approve")
        elif s.role != "model owner" and person(s.name) == person(model.owner):
            unfit.append(f"{who} is the model's owner, who approves it as 'model owner' only")
        else:
            counted[s.role] = s
    return counted, tuple(unfit)


def sign_offs_unfit(case: Case) -> Iterator[str]:
    """Sign-offs that do not count."""
    yield from case.unsigned


def unfit(waiver: Waiver, policy: Policy, today: date) -> str:
    """Why a waiver does not count; empty: it does, until it ends."""
    if not named(waiver.name):
        return f"'{waiver.name[:60]}' is no person's name"
    if placeholder(waiver.reason):
        return f"'{waiver.reason[:60]}' is no reason"
    days = (waiver.expires - today).days
    if days > policy.max_waiver_days:
        return f"it ends in {days:,} days; {policy.max_waiver_days} are the most"
    return ""


def waivers_unfit(case: Case) -> Iterator[str]:
    """Waivers that do not count."""
    for waiver in case.model.waivers:
        why = unfit(waiver, case.policy, case.today)
        if why:
            yield f"the waiver of {waiver.rule} by {waiver.name[:60]} does not count: {why}"


CHECKS = {
    "placeholder_text": placeholder_text,
    "sign_offs_unfit": sign_offs_unfit,
    "waivers_unfit": waivers_unfit,
}
