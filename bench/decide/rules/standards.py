"""Rules on what must have run: every standard attack (PROTOCOL 3.4), and the controls (3.6)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import pandas as pd

from bench.contract.access import ACCESS_ORDER, Access, at_least
from bench.contract.goals import StandardSet
from bench.decide.case import Case
from bench.decide.covered import scenario_of
from bench.decide.evidence import Scenario, Source
from bench.decide.figures import Measured
from bench.engine.conf import read_option
from bench.goals import goal_named
from bench.report.controls import UNKNOWN
from bench.report.frame import UNDEFENDED, bare_name

_CHOSEN = "excluded by the suite"
"""Why a grid leaves out what could have run: that rules no attack out."""
_ELSEWHERE = ("_target_", "sweep")
"""Keys of an option that do not tell attacks apart: classes move, and names hold sweeps."""
Member = tuple[str, Mapping[str, Any]]


def standard_attacks_missing(case: Case) -> Iterator[str]:
    """Standard attacks of a required goal and access that the evidence lacks."""
    rows = {(m.goal, m.access, m.model): m for m in case.candidate.measured}
    for m in rows.values():
        of = scenario_of(m, case.scenario)
        name, lacks, unmet = lacking(case.sources, of, m.defense, m)
        if lacks:
            yield (
                f"{m.goal.replace('_', ' ')} with {m.access}: {lacks} of the attacks of {name} did "
                f"not meet '{m.defense}' on all of its seeds; not run: "
                f"{'; '.join(unmet)}"
            )


def controls_missing(case: Case) -> Iterator[str]:
    """Control trials that boards rest on and that the evidence lacks: a failed one voids them."""
    places = {(m.goal, scenario_of(m, case.scenario)) for m in case.candidate.measured}
    for goal, of in sorted(places, key=lambda place: (place[0], place[1].model)):
        known, ended = set[str](), set[str]()
        for source in case.sources:
            checks = source.boards.controls
            mine = checks[(checks["dataset"] == of.dataset) & (checks["model"] == of.model)]
            mine = mine[mine["goal"] == goal]
            known |= set(mine["check"])
            ended |= set(mine[mine["state"] != UNKNOWN]["check"])
        if "shuffled" in ended and "untrained" not in known:  # a given model is not trained anew
            ended.add("untrained")
        for control in sorted(({"repeat"} | (goal_named(goal).controls & {"untrained"})) - ended):
            yield (
                f"{goal.replace('_', ' ')}: the control '{control}' did not run to its end on "
                f"{of.dataset} and {of.model}"
            )


def lacking(
    sources: Sequence[Source], of: Scenario, defense: str, m: Measured
) -> tuple[str, int, list[str]]:
    """The standard set that a row has to meet, and what of it the row did not meet.

    It is that of the board's access; where the deployment gives too little away for any of its
    attacks, as the records or the plan say, that of the next weaker access. An attack was met if
    one of the sources has it on all seeds that this source has of the row.

    Args:
        sources: the evidence.
        of: the scenario.
        defense: of the row.
        m: the row.

    Returns:
        The set's name (empty: there is none), how many of its attacks are absent, and those that
        did not run, in words; some of them may not be able to.
    """
    # A defense that does not act there leaves the undefended model, whose attacks are its own.
    rows = {defense, UNDEFENDED} if "no_effect" in m.flags else {defense}
    tables = []
    for source in sources:
        trials = source.trials(of)
        mine = trials[(trials["goal"] == m.goal) & trials["defense"].isin(rows)]
        tables.append(mine[mine["status"] == "done"])
    sizes = {name: n for table in tables for pairs in set(table["standard"]) for name, n in pairs}
    ruled_out = {name for source in sources for name in _ruled_out(source, of, defense)}
    for standard in _sets(m.goal, of.modality, m.access):
        impossible = [
            member for member in standard.members if any(_same_kind(n, member) for n in ruled_out)
        ]
        able = sizes.get(standard.name, len(standard.members) - len(impossible))
        if not able:
            continue
        unmet = [
            member
            for place, member in enumerate(standard.members)
            if not any(_meets(table, standard, place) for table in tables)
        ]
        lacks = max(0, able - (len(standard.members) - len(unmet)))
        return standard.name, lacks, [_words(x) for x in unmet if x not in impossible]
    return "", 0, []


def _sets(goal: str, modality: str, access: str) -> list[StandardSet]:
    """Sets of a goal for data of that kind at that access or less, the most access first."""
    order = [a for a in reversed(ACCESS_ORDER) if at_least(cast(Access, access), a)]
    sets = [s for s in goal_named(goal).standard if s.modality == modality and s.access in order]
    return sorted(sets, key=lambda s: order.index(s.access))


def _meets(trials: pd.DataFrame, standard: StandardSet, place: int) -> bool:
    """Whether a member of a set ran to its end on all seeds of a row's finished trials."""
    pair = (standard.name, place)
    ran = [
        pair in places or (not pairs and _does(standard.members[place], family, options))
        for places, pairs, family, options in zip(
            trials["member"],
            trials["standard"],
            trials["attack_family"],
            trials["options"],
            strict=True,
        )
    ]
    return len(trials) > 0 and set(trials["seed"]) <= set(trials.loc[ran, "seed"])


def _does(member: Member, family: str, options: str) -> bool:
    """Whether a trial whose record names no sets, as older ones, ran such an attack."""
    name, settings = member
    if family != name:
        return False
    wanted = {k: v for k, v in read_option("attack", name).items() if k not in _ELSEWHERE}
    return _within({**wanted, **settings}, json.loads(options)["attack"])


def _within(wanted: Mapping[str, Any], given: Any) -> bool:
    """Whether ``given`` has every key of ``wanted`` with the same value."""
    return isinstance(given, Mapping) and all(
        _within(value, given.get(key))
        if isinstance(value, Mapping)
        else key in given and given[key] == value
        for key, value in wanted.items()
        if key not in _ELSEWHERE
    )


def _ruled_out(source: Source, of: Scenario, defense: str) -> Iterator[str]:
    """Attacks that cannot run against such a deployment, as the plan of the evidence says."""
    for part in source.parts:
        for entry in part.get("skipped", ()):
            where = str(entry.get("what", "")).split(" x ")
            fits = where[:2] == [of.dataset, of.model] and where[2:-1] in ([], [defense])
            if fits and len(where) > 2 and entry.get("reason") != _CHOSEN:
                yield where[-1]


def _same_kind(name: str, member: Member) -> bool:
    """Whether a member is a setting of an attack that was ruled out, at the same access."""
    family, _, settings = bare_name(name).rstrip("]").partition("[")
    told = dict(part.split("=", 1) for part in settings.split(",") if "=" in part)
    access = member[1].get("access")
    return family == member[0] and told.get("access", access) == access


def _words(member: Member) -> str:
    name, settings = member
    told = ", ".join(f"{key}={value}" for key, value in settings.items())
    return f"{name} ({told})" if told else name


CHECKS = {
    "standard_attacks_missing": standard_attacks_missing,
    "controls_missing": controls_missing,
}
