"""Standard sets of attacks in a plan."""

from __future__ import annotations

import hashlib
import json

import pytest

from bench import api
from bench.engine import standards
from bench.engine.config import compose_grid
from bench.engine.trials import Trials
from bench.goals import goals

TABLE = ["dataset=[diabetes]", "attack=[csmia]", "seeds=1", "controls=[]"]

PUBLISHED = {
    "standard-tables-weights-1": "12a52e5458e6",
    "standard-tables-scores-1": "d126554043cb",
    "standard-tables-labels-1": "e49427b51169",
    "standard-faces-weights-1": "ef576ab471c3",
    "standard-faces-scores-1": "302b4cd58318",
    "standard-faces-labels-1": "03270a6d7e88",
    "standard-images-gradients-1": "26bc19ec07b7",
    "standard-tables-gradients-1": "1ca1d43a2122",
    "standard-images-malicious_server-1": "fb3c51913ff1",
    "standard-tables-malicious_server-1": "bbf74561a29f",
    "standard-baskets-weights-1": "eb0e1db4dcfb",
    "standard-baskets-scores-1": "a211d4f46637",
    "standard-baskets-labels-1": "2b28aac019d0",
    "standard-images-scores-1": "7a2f840effe8",
    "standard-images-labels-1": "c4fa203d8d47",
    "standard-records-weights-1": "0704e2def7a1",
    "standard-records-scores-1": "37ce7ae684d2",
    "standard-basket-records-weights-1": "0704e2def7a1",
    "standard-basket-records-scores-1": "37ce7ae684d2",
    "standard-tables-deletions-1": "f549a9a6d843",
}
"""Digest of what the members of each published set do."""


def planned(*words: str) -> dict[str, dict[str, int]]:
    """Attacks of a plan with their places in standard sets."""
    trials = api.plan([*TABLE, *words]).plan.trials
    return {t.cell.attack: t.info["attack"]["member"] for t in trials if t.access != "none"}


def test_a_grid_gets_the_members_of_the_sets_for_what_it_attacks() -> None:
    alone, whole = planned(), planned("standard=true")
    name = "standard-tables-scores-1"
    assert list(alone) == ["csmia"] and name in alone["csmia"]
    size = len(next(s.members for s in goals()["attribute"].standard if s.name == name))
    assert sorted(places[name] for places in whole.values()) == list(range(size))
    assert all("standard-tables-labels-1" not in places for places in whole.values())


def test_what_the_grid_has_already_runs_once() -> None:
    words = ["attack=[attribute_map]", "attack.attribute_map.sweep=[{access: scores, weight: 4}]"]
    whole = planned(*words, "standard=true")
    assert sum(name.startswith("attribute_map") for name in whole) == 3


def test_overrides_do_not_reach_the_set() -> None:
    words = ["attack=[membership]", "attack.membership.sweep=[{signal: calibrated, impute: true}]"]
    changed = planned(*words, "attack.membership.prior.trees=7", "standard=true")
    rows = {name: places for name, places in changed.items() if name.startswith("membership")}
    assert sorted(map(bool, rows.values())) == [False, True]


def test_how_many_members_can_attack_depends_on_the_target() -> None:
    words = ["model=[mlp,decision_tree]", "attack=[neuron,tree_counts]"]
    trials = api.plan([*TABLE, *words]).plan.trials
    sizes = {
        t.cell.model: t.info["attack"]["standard"]["standard-tables-weights-1"]
        for t in trials
        if t.access == "weights"
    }
    assert sizes == {"mlp": 1, "decision_tree": 2}


@pytest.mark.parametrize("goal", goals())
def test_a_published_set_does_not_change(goal: str) -> None:
    sets = standards.read([goal], Trials(compose_grid(TABLE)).row)
    for name, (_, members) in sets.items():
        text = json.dumps([standards.content(row) for row in members])
        assert hashlib.sha256(text.encode()).hexdigest()[:12] == PUBLISHED.get(name), (
            f"{name} is published: give the changed set the next number and add its digest here."
        )
