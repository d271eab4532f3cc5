"""Standard sets of attacks: their members as rows of a grid, and who of them met a deployment."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence

from bench.contract import Task, common_task
from bench.contract.goals import StandardSet
from bench.engine.conf import read_option
from bench.engine.config import Option, expand
from bench.engine.fits import refused, threat
from bench.engine.graph import Row
from bench.goals import goal_named

Sets = dict[str, tuple[StandardSet, list[Row]]]


def read(goals: Iterable[str], make: Callable[[Option], Row]) -> Sets:
    """The standard sets of some goals by their names, with their members as rows.

    Args:
        goals: names.
        make: builds the components of an option.
    """
    return {
        standard.name: (standard, [make(option) for option in _options(standard)])
        for goal in sorted(set(goals))
        for standard in goal_named(goal).standard
    }


def _options(standard: StandardSet) -> list[Option]:
    return [
        option
        for name, setting in standard.members
        for option in expand(
            "attack", name, {name: read_option("attack", name) | {"sweep": [dict(setting)]}}
        )
    ]


def added(sets: Sets, attacks: Sequence[Row], modalities: Iterable[str]) -> list[Row]:
    """Members that a grid lacks of the sets for the goals and accesses that it attacks.

    A row that has the name of another with other options is told apart by the name of its set.
    """
    attacked = {
        (threat(attack.first), attack.first.access, modality)
        for attack in attacks
        for modality in attack.first.modalities & set(modalities)
    }
    rows, known = list(attacks), {content(attack) for attack in attacks}
    for standard, members in sets.values():
        for row in members:
            board = (threat(row.first), standard.access, standard.modality)
            if board in attacked and content(row) not in known:
                known.add(content(row))
                taken = row.name in {other.name for other in rows}
                rows.append(_renamed(row, standard.name) if taken else row)
    return rows[len(attacks) :]


def content(attack: Row) -> str:
    """What an attack does, however it is called and however its queries are sent."""
    prior = attack.prior.config if attack.prior else None
    return json.dumps([attack.layers, prior], sort_keys=True)


def places(sets: Sets) -> dict[str, dict[str, int]]:
    """Of every member, by its content, the sets that it belongs to and its place in each."""
    by_content: dict[str, dict[str, int]] = {}
    for name, (_, members) in sets.items():
        for place, row in enumerate(members):
            by_content.setdefault(content(row), {}).setdefault(name, place)
    return by_content


def sizes(sets: Sets, dataset: Row, model: Row, defense: Row, attack: Row) -> dict[str, int]:
    """How many members of each set for the attack's goal can attack such a deployment."""
    task = common_task(dataset.first.tasks, model.first.tasks)
    assert task is not None
    return {
        name: sum(_able(row, model, defense, task) for row in members)
        for name, (standard, members) in sets.items()
        if standard.modality == dataset.first.modality
        and threat(members[0].first) == threat(attack.first)
    }


def _able(attack: Row, model: Row, defense: Row, task: Task) -> bool:
    part = attack.first
    fits = task in part.tasks and part.requires <= model.first.offers
    return fits and refused(defense, attack) is None


def _renamed(row: Row, standard: str) -> Row:
    head, tail = row.name.removesuffix("]"), f"set={standard}]"
    name = f"{head},{tail}" if "[" in head else f"{head}[{tail}"
    return dataclasses.replace(row, option=dataclasses.replace(row.option, name=name))
