"""How much a score depends on who happened to be attacked: its bootstrap over people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bench.contract import Score
from bench.contract.columns import SAME
from bench.metrics.people import DIGITS, weights
from bench.metrics.roc import Floats

Sides = tuple[Floats, Floats, Floats]
"""Resampled ``value``, ``members`` and ``nonmembers`` of a score, each ``[draws]``."""


def resampled(score: Score, person: Tensor) -> dict[str, list[float]]:
    """The score as it would be of other victims from the same population.

    Every person counts as often as a Poisson number of mean 1 says, with all records (the Poisson
    bootstrap of Hanley and MacGibbon, 2006; resampling persons is the cluster bootstrap). A person
    has the same numbers in every trial, so that the scores of two attacks on the same people can
    be compared draw by draw.

    Args:
        score: of an attack or a baseline.
        person: to whom each row of ``outcomes`` belongs, int64 ``[n]``.

    Returns:
        ``value``, ``members`` and ``nonmembers``, each a list of ``DRAWS`` numbers. Empty where
        nothing is known of single victims, or a draw leaves nothing to compare.
    """
    judge = _JUDGES.get(score.metric)
    if judge is None:
        return {}
    outcomes = {name: values.cpu().numpy() for name, values in score.outcomes.items()}
    sides = judge(outcomes, weights(person.cpu().numpy()))
    if not all(np.isfinite(side).all() for side in sides):
        return {}
    names = ("value", "members", "nonmembers")
    return {n: np.round(s, DIGITS).tolist() for n, s in zip(names, sides, strict=True)}


Outcomes = Mapping[str, npt.NDArray[Any]]


def _attribute(outcomes: Outcomes, weights: Floats) -> Sides:
    """Macro AUC of the members and of the others."""
    scores, truth, member = outcomes["score"], outcomes["truth"], outcomes["member"] > 0
    values = range(scores.shape[1]) if scores.shape[1] > 2 else (1,)

    def side(inside: npt.NDArray[np.bool_]) -> Floats:
        areas = np.stack(
            [_area(scores[inside, v], truth[inside] == v, weights[:, inside]) for v in values]
        )
        with np.errstate(invalid="ignore"):
            judged = ~np.isnan(areas)
            total: Floats = np.where(judged, areas, 0.0).sum(0) / judged.sum(0)
        return total

    members = side(member)
    return members, members, side(~member)


def _area(scores: npt.NDArray[Any], right: npt.NDArray[np.bool_], weights: Floats) -> Floats:
    """Weighted area under the ROC curve of every draw; NaN where a side has no weight."""
    if not len(scores):
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    up = np.add.reduceat((weights * right)[:, order], starts, 1)
    down = np.add.reduceat((weights * ~right)[:, order], starts, 1)
    below = np.cumsum(down, 1) - down / 2
    pairs = up.sum(1) * down.sum(1)
    area: Floats = np.where(pairs > 0, (up * below).sum(1) / np.maximum(pairs, 1e-300), np.nan)
    return area


def _mean(name: str) -> Callable[[Outcomes, Floats], Sides]:
    """Mean of an outcome over the members and over the others."""

    def judge(outcomes: Outcomes, weights: Floats) -> Sides:
        values, member = outcomes[name].astype(np.float64), outcomes["member"] > 0
        members, others = (_weighted(values, weights * who) for who in (member, ~member))
        return members, members, others

    return judge


def _skill(outcomes: Outcomes, weights: Floats) -> Sides:
    """1 minus a ratio of mean squared errors, of members and of others.

    It may be below 0, where the score is not: were it cut off, it would seem to move less.
    """
    member = outcomes["member"] > 0
    if "mse" in outcomes:
        errors = [outcomes["mse"], outcomes["mse_public_mean"]]
    else:
        errors = [-outcomes["score"], outcomes["base_error"]]

    def side(who: npt.NDArray[np.bool_]) -> Floats:
        own, blank = (_weighted(e.astype(np.float64), weights * who) for e in errors)
        skill: Floats = 1 - own / np.maximum(blank, 1e-12)
        return skill

    members = side(member)
    return members, members, side(~member)


def _classes(outcomes: Outcomes, weights: Floats) -> Sides:
    value, members, others = (
        _weighted(outcomes[name].astype(np.float64), weights)
        for name in ("success", "member_success", "nonmember_success")
    )
    return value, members, others


def _records(outcomes: Outcomes, _: Floats) -> Sides:
    """Who is nearest depends on who was trained on and who was not: these people are drawn.

    What was rebuilt near one person is one thing, however often, and is drawn by itself.
    """
    member, other = (_nearest(outcomes, side) for side in ("members", "heldout"))
    won = (member < other - SAME).astype(float) - (member > other + SAME)
    ours, theirs = (outcomes[f"near_{side}"][:, 0] for side in ("members", "heldout"))
    people = [outcomes[f"near_{side}_person"][:, 0] for side in ("members", "heldout")]
    counts = weights(_REBUILT + np.where(ours < theirs, *people))
    with np.errstate(invalid="ignore"):
        near = np.sum((1 + won) / 2 * counts, 1) / counts.sum(1)
    return near, near, 1.0 - near


def _nearest(outcomes: Outcomes, side: str) -> Floats:
    """Distance of each row to the nearest of a side who is in each draw, ``[draws, n]``."""
    distances, people = outcomes[f"near_{side}"], outcomes[f"near_{side}_person"]
    there = weights(people.ravel()).reshape(-1, *people.shape) > 0
    there[..., -1] = True
    rows = np.arange(len(distances))
    nearest: Floats = distances[rows, there.argmax(2)]
    return nearest


_REBUILT = 2**40
"""What was rebuilt has other numbers than the person next to it."""


def _weighted(values: Floats, weights: Floats) -> Floats:
    """Weighted mean of every draw; NaN where nothing has weight."""
    total = weights.sum(1)
    mean: Floats = np.where(total > 0, weights @ values / np.maximum(total, 1e-300), np.nan)
    return mean


_JUDGES: Mapping[str, Callable[[Outcomes, Floats], Sides]] = {
    "auc": _attribute,
    "mse_skill": _skill,
    "f1_at_k": _mean("f1"),
    "committee_reid": _classes,
    "nearer_member": _records,
}
"""By the name of the metric: judges are not imported, since each attack rests on its own alone."""
