"""Fit what an attacker learns without the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.contract import Federation, Prior, metered
from bench.engine.components import build
from bench.engine.knowledge import knowledge_of, victims_of
from bench.engine.stages.data import splits_of
from bench.engine.stages.result import Machine, Parents, Result, kept
from bench.goals import goal_named


def run(payload: Mapping[str, Any], parents: Parents, machine: Machine) -> Result:
    """Tensors of the fitted prior."""
    splits = splits_of(parents["data"])
    goal = goal_named(payload["goal"])
    federation = Federation()
    victims = None
    if goal.victims != "clients":  # clients are whatever protocol the attack is about
        victims = victims_of(splits, goal, payload["victims"], federation)
    knowledge = knowledge_of(
        splits, goal, victims, {}, (), None, federation, splits.card.tasks[0], machine.device
    )
    prior: Prior = build(payload["prior"], "prior", machine.packages)
    watched, read = metered(knowledge, prior.knowledge)
    tensors = kept(prior.fit(watched, payload["seed"], machine.device))
    return Result({"knowledge_read": sorted(read)}, tensors)
