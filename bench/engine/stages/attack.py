"""Attack a deployment and judge what comes back."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench.contract import (
    AccessError,
    Attack,
    DivergedError,
    Exposure,
    Gateway,
    Goal,
    Reconstruction,
    Score,
    Splits,
    Stream,
    Truth,
    Victims,
    metered,
)
from bench.contract import seed as derive
from bench.engine.components import build
from bench.engine.deployment import Deployment, Made
from bench.engine.knowledge import knowledge_of, victims_of
from bench.engine.names import PICTURE
from bench.engine.pictures import strip
from bench.engine.recent import Recent
from bench.engine.stages.data import splits_of
from bench.engine.stages.prepare import deployment_of
from bench.engine.stages.result import Machine, Parents, Result
from bench.engine.stages.target import digest_of
from bench.engine.trail import parquet
from bench.goals import goal_named
from bench.metrics.resampling import resampled

_MADE: Made = Recent(128 * 2**20)
"""Attacks on one target, and on what it answers behind other release layers, want the same ones."""


def run(payload: Mapping[str, Any], parents: Parents, machine: Machine) -> Result:
    """Score, budget, and the reconstruction with its outcomes.

    Raises:
        DivergedError: NaN or Inf in the reconstruction.
    """
    splits = splits_of(parents["data"])
    goal = goal_named(payload["goal"])
    attack: Attack = build(payload["attack"], "attack", machine.packages)
    federation = attack.federation
    gate = Gateway()
    exposure = Exposure("none", _refuse, _refuse)
    observe, like, task = None, None, payload["task"]
    deployed = _deployed(splits, payload, parents, machine) if "target" in parents else None
    if deployed is not None:
        federation, like = deployed.observed(attack), deployed.like
    victims = victims_of(splits, goal, payload["victims"], federation)
    if deployed is not None:
        gate = deployed.gate(Stream(**payload.get("stream", {})))
        exposure = deployed.expose(attack, victims, payload["seed"], gate, payload.get("budget"))
        if "K6" in attack.knowledge:
            scores, labels = deployed.interface(derive(payload["seed"], part="observed"))
            observe = labels if attack.access == "labels" else scores
    prior: Mapping[str, Tensor] = {}
    prior_knowledge = frozenset[str]()
    if "prior" in parents:
        prior = parents["prior"].tensors
        prior_knowledge = frozenset(parents["prior"].output["knowledge_read"])
    told, device = payload["defense"], machine.device
    knowledge = knowledge_of(
        splits, goal, victims, prior, told, observe, federation, task, device, like
    )
    watched, read = metered(knowledge, attack.knowledge)
    started = time.perf_counter()
    found = attack.run(exposure, watched, payload["seed"], machine.device)
    attack_s = time.perf_counter() - started
    if deployed is not None:  # what it would have taken without other attacks on this target
        attack_s += sum(deployed.spared)
    if not bool(torch.isfinite(found.values).all()):
        raise DivergedError("The attack returned NaN or Inf.")
    found = Reconstruction(
        found.values.detach().cpu().contiguous(),
        found.info,
        None if found.labels is None else found.labels.detach().cpu(),
    )

    started = time.perf_counter()
    classes = None if knowledge.classes is None else knowledge.classes.cpu()
    truth = Truth(splits, victims, classes, parents["evaluator"].tensors, federation)
    score = importlib.import_module(goal.judge).score(found, truth)
    again: Mapping[str, list[float]] = {}
    if payload.get("resampled"):
        score, again = _over_people(score, goal, victims, classes, found.values)
    score_s = time.perf_counter() - started

    outcomes = {f"outcome.{k}": v.detach().cpu().contiguous() for k, v in score.outcomes.items()}
    files = {}
    if splits.card.modality == "image":
        shown = _true_pictures(splits, classes, victims)
        files[PICTURE] = strip(shown, found.values[: len(shown)])
    trail = gate.trail.columns()
    if trail:
        files["trail.parquet"] = parquet(trail)
    return Result(
        {
            "score": {
                key: getattr(score, key)
                for key in ("metric", "value", "members", "nonmembers", "ceiling", "victims")
            }
            | {"extra": dict(score.extra)},
            "resampled": again,
            "info": dict(found.info),
            "knowledge_read": sorted(read | prior_knowledge),
            "sha256": digest_of({"values": found.values}),
            "budget": {
                **vars(exposure.meter),
                "cover": gate.covered,
                "accounts": gate.used,
                "duration_s": gate.clock,
                "queries_cap": exposure.budget,
            },
            "refusals": [
                {"account": account, "answered": answered, "detected": detected}
                for account, answered, detected in gate.refusals
            ],
            "attack_s": attack_s,
            "score_s": score_s,
        },
        {"values": found.values, **outcomes},
        files,
    )


def _deployed(
    splits: Splits, payload: Mapping[str, Any], parents: Parents, machine: Machine
) -> Deployment:
    """The deployment under attack, which keeps what is trained like it unless all is made anew."""
    deployed = deployment_of(splits, payload, parents, machine)
    if payload.get("again"):
        return deployed
    return replace(deployed, origin=parents["target"].output["sha256"], made=_MADE)


def _over_people(
    score: Score,
    goal: Goal,
    victims: Victims | None,
    classes: Tensor | None,
    values: Tensor,
) -> tuple[Score, dict[str, list[float]]]:
    """A score of one target with the number of its people, and what it is of others like them."""
    if victims is not None:
        units = victims.records.person
        members = units[victims.member.to(units.device)]
    elif goal.victims == "classes":
        assert classes is not None
        members = units = classes
    else:  # what was rebuilt; what was rebuilt twice is one thing
        members = units = torch.unique(values.flatten(1), dim=0, return_inverse=True)[1]
    people = min(score.victims, len(torch.unique(members)))
    return replace(score, victims=people), resampled(score, units)


def _true_pictures(
    splits: Splits, classes: Tensor | None, victims: Victims | None, most: int = 10
) -> Tensor:
    """What the first reconstructions should look like: a class's picture, or the victim's own."""
    if classes is not None:  # class representatives
        train = splits.train
        return torch.stack([train.x[(train.y == c).nonzero()[0, 0]] for c in classes[:most]])
    assert victims is not None
    return victims.records.x[:most]


def _refuse(_: Tensor) -> Tensor:
    raise AccessError("A baseline has no access to a model.")
