"""The contract of attacks, tried: what they return, ask, read, and what they follow from."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bench.contract import Attack, BudgetError, Reconstruction, Truth, nearest
from bench.engine.check.findings import Check, attempt, require_that, told
from bench.engine.check.probes import Ground, paper
from bench.engine.check.runs import Outcome, Scene, scene_of
from bench.engine.conf import list_options
from bench.engine.config import Option
from bench.engine.stages import plain
from bench.goals import goal_named

_NOTED = ("K1", "K2", "K3", "K4", "K6", "K7")
"""Codes that the meter sees being read."""


def try_attack(option: Option, part: Attack, ground: Ground) -> Iterator[Check]:
    """Run it twice with one seed and, where it asks the deployment, on a small budget."""
    yield paper(option, part)
    yield attempt(
        f"{option.name}: runs at its access",
        lambda: (
            ""
            if part.access in part.accesses()
            else f"'{part.access}' is not among {list(part.accesses())}"
        ),
    )
    yield attempt(
        f"{option.name}: names defenses that it adapts to", lambda: _adaptive_to(part, ground)
    )
    scene, place, prior_codes = scene_of(option, part, ground)
    if scene is None:
        yield Check(f"{option.name}: reads only the knowledge it declares", False, prior_codes)
        return
    first = scene.run(global_seed=0)
    all_read = sorted(first.read | set(prior_codes.split()))
    undeclared = [code for code in all_read if code not in part.knowledge]
    yield require_that(
        f"{option.name}: reads only the knowledge it declares"
        + (f" (read: {', '.join(all_read)})" if all_read else " (read: none)"),
        not undeclared,
        f"it, or its prior, read {', '.join(undeclared)}, and it declares "
        f"{', '.join(sorted(part.knowledge)) or 'no knowledge'}; add the code to the class "
        "attribute 'knowledge', or do not read it",
    )
    if first.error is not None:
        yield Check(f"{option.name}: runs without an error on {place}", False, told(first.error))
        return
    unread = sorted((part.knowledge & set(_NOTED)) - first.read - set(prior_codes.split()))
    if unread:
        yield Check(
            f"{option.name}: uses the knowledge it declares",
            True,
            f"it did not read {', '.join(unread)} here; leave a code out of 'knowledge' if it is "
            "never read, so that the attack does not seem to need more than it does",
        )
    yield from _returned(option, scene, first, place)
    yield from _asked(option, part, first)
    yield require_that(
        f"{option.name}: leaves the process as it was",
        not first.changed,
        f"it changed {first.changed}; use generators made from the seed, and put back what you "
        "must change",
    )
    second = scene.run(global_seed=1)
    yield attempt(f"{option.name}: follows from its seed alone", lambda: _unsteady(first, second))
    if part.access in ("labels", "scores") and first.asked > 1:
        yield _budget(option, scene, first)


def _adaptive_to(part: Attack, ground: Ground) -> str:
    """Why what an attack names is no defense that it can adapt to."""
    if isinstance(part.adaptive_to, str):
        return f"'adaptive_to' must be a tuple of names, as in ('{part.adaptive_to}',)"
    if part.adaptive_to and part.access == "none":
        return "an attack with access 'none' meets no defense; leave 'adaptive_to' empty"
    known = list_options("defense", ground.folder)
    unknown = [name for name in part.adaptive_to if name not in known]
    if unknown:
        return (
            f"'adaptive_to' must name options of conf/defense; unknown: {unknown}."
            f"{nearest(unknown[0], known)}"
        )
    return ""


# ---------------------------------------------------------------- what it returns
def _returned(option: Option, scene: Scene, outcome: Outcome, place: str) -> Iterator[Check]:
    problem = _unlike(scene, outcome.found)
    yield require_that(
        f"{option.name}: returns what its goal asks for, in shape and type", not problem, problem
    )
    if problem:
        return
    finite = bool(torch.isfinite(outcome.found.values).all())
    yield require_that(
        f"{option.name}: returns finite values",
        finite,
        "its values hold NaN or Inf; raise DivergedError where it found nothing",
    )
    if finite:
        yield attempt(f"{option.name}: scores on {place}", lambda: _scored(scene, outcome.found))
    yield attempt(f"{option.name}: its info is plain", lambda: _plain_info(outcome.found))


def _unlike(scene: Scene, found: Any) -> str:
    """Why something is no reconstruction of the attack's goal; empty if it is."""
    if not isinstance(found, Reconstruction) or not isinstance(found.values, Tensor):
        return f"it returned {type(found).__name__}, not a Reconstruction that holds a tensor"
    splits, goal = scene.splits, goal_named(scene.attack.goal)
    victims, card = scene.victims(splits), splits.card
    rows = len(victims.records) if victims is not None else card.n_classes
    wanted: tuple[int, ...] = (rows, *card.shape)
    if goal.hides_attribute and card.sensitive is not None:
        wanted = (rows, len(card.sensitive.values))
    shape = tuple(found.values.shape)
    free_rows = goal.rows == "any" or (goal.rows == "shared" and shape[0] == 1)
    if (shape[1:] != wanted[1:] or not shape[0]) if free_rows else shape != wanted:
        return (
            f"the goal '{goal.name}' wants values of shape "
            f"{('any number', *wanted[1:]) if free_rows else wanted}, it returned {shape}"
        )
    if not found.values.is_floating_point():
        return f"values must be floating-point numbers, it returned {found.values.dtype}"
    if found.labels is not None and (
        tuple(found.labels.shape) != (rows,) or found.labels.dtype != torch.int64
    ):
        return (
            f"labels must be int64 ({rows},), it returned {tuple(found.labels.shape)} "
            f"{found.labels.dtype}"
        )
    return ""


def _scored(scene: Scene, found: Reconstruction) -> str:
    splits = scene.splits
    classes = None
    goal = goal_named(scene.attack.goal)
    if goal.victims == "classes":
        classes = torch.arange(splits.card.n_classes)
    evaluator = scene.parents["evaluator"].tensors
    truth = Truth(splits, scene.victims(splits), classes, evaluator, scene.attack.federation)
    detached = dataclasses.replace(found, values=found.values.detach())
    score = importlib.import_module(goal.judge).score(detached, truth)
    said = {key: getattr(score, key) for key in ("value", "members", "nonmembers", "ceiling")}
    outside = {key: value for key, value in said.items() if not 0 <= value <= 1}
    return f"scores must lie in [0, 1]: {outside}" if outside else ""


def _plain_info(found: Reconstruction) -> str:
    try:
        json.dumps(plain(dict(found.info)))
    except (TypeError, ValueError) as error:
        return f"'info' must hold values that JSON knows: {told(error)}"
    return ""


# ---------------------------------------------------------------- what it asks
def _asked(option: Option, part: Attack, outcome: Outcome) -> Iterator[Check]:
    counted, answered = outcome.exposure.meter.queries, outcome.asked
    wants = part.access in ("labels", "scores") and goal_named(part.goal).asks
    reason = ""
    if counted != answered:
        reason = f"the deployment answered {answered}; leave the meter alone"
    elif wants and not counted:
        reason = (
            "it asked nothing of the deployment it attacks; an attack that needs no model has "
            "access 'none'"
        )
    yield require_that(f"{option.name}: its queries are counted ({counted})", not reason, reason)


def _unsteady(first: Outcome, second: Outcome) -> str:
    if not isinstance(first.found, Reconstruction):
        return ""  # That is what is wrong with it.
    if second.error is not None:
        return f"the second run failed: {told(second.error)}"
    one, other = first.found.values, second.found.values
    if one.shape != other.shape or not torch.equal(torch.nan_to_num(one), torch.nan_to_num(other)):
        return (
            "two runs with the same seed differ, the process's global generators being seeded "
            "otherwise in between; use generators made from the seed"
        )
    return ""


def _budget(option: Option, scene: Scene, first: Outcome) -> Check:
    """Whether it makes do with a part of the queries it would like to ask."""
    budget = first.asked // 3 or 1
    name = f"{option.name}: stays within a budget of queries ({budget} of {first.asked})"
    outcome = scene.run(global_seed=0, budget=budget)
    if outcome.asked > budget or outcome.exposure.budget != budget:
        return Check(
            name, False, f"it asked {outcome.asked}; leave the budget of the exposure alone"
        )
    if isinstance(outcome.error, BudgetError) and not outcome.asked:
        # It cannot work with less and has spent nothing: a refusal, not an overdraft.
        return Check(name, True, "it needs more and was refused before it had asked anything")
    if outcome.error is not None:
        return Check(
            name,
            False,
            f"after {outcome.asked} queries: {told(outcome.error)} Ask 'exposure.affords(n)' "
            "before every batch and return what was found so far",
        )
    problem = _unlike(scene, outcome.found)
    if problem:
        return Check(name, False, f"on a budget {problem}")
    if not bool(torch.isfinite(outcome.found.values).all()):
        return Check(name, False, "on a budget it returns NaN or Inf")
    return Check(name, True)
