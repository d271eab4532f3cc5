"""Who is attacked, and what the attacker is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.contract import (
    Federation,
    Goal,
    Knowledge,
    Splits,
    Task,
    TrainLike,
    Victims,
    require,
    sparse,
)


def victims_of(
    splits: Splits, goal: Goal, payload: Mapping[str, Any], federation: Federation
) -> Victims | None:
    """Members and matched held-out records under attack; None where the goal names classes.

    Raises:
        UserError: fewer records than the attack's protocol wants.
    """
    from bench.data.victims import draw

    if goal.victims == "classes":
        return None
    if goal.victims == "records":
        limit = payload["limit"]
        return draw(splits, payload["seed"], min(limit, goal.most) if goal.most else limit)
    half = federation.records // 2
    victims = draw(splits, payload["seed"], half)
    require(
        len(victims.records) == 2 * half,
        f"The attack wants the updates of {half} members and as many held-out records, data set "
        f"'{splits.card.name}' has {len(victims.records) // 2} of each; set fewer records.",
    )
    return victims


def knowledge_of(
    splits: Splits,
    goal: Goal,
    victims: Victims | None,
    prior: Mapping[str, Tensor],
    defense: Sequence[Mapping[str, Any]],
    observe: Callable[[Tensor], Tensor] | None,
    federation: Federation,
    task: Task,
    device: str,
    train_like: TrainLike | None = None,
) -> Knowledge:
    """What the attacker is told, and nothing else.

    ``observe`` is what the deployment answered for the victims' own, complete records; None where
    the attacker has not seen that. ``train_like`` is for who knows how the target was made; None
    where there is no target.
    """
    classes = partial = observed = labels = protocol = None
    if goal.victims == "classes":
        classes = torch.arange(splits.card.n_classes, device=device)
    if goal.victims == "clients":
        protocol = federation
    if victims is not None and goal.hides_attribute:
        sensitive = splits.card.sensitive
        assert sensitive is not None
        records = victims.records.to(device)
        partial = dataclasses.replace(records, x=sensitive.hide(records.x), s=None)
    if victims is not None and goal.tells_labels and task == "classification":
        labels = victims.records.y.to(device)
    if observe is not None and victims is not None:
        asked = victims.records.x
        if sparse.is_sparse(splits.train.x):
            asked = sparse.compressed(asked)  # multiplies faster where most of it is 0
        with torch.no_grad():
            observed = observe(asked.to(device))
    return Knowledge(
        splits.card,
        splits.public.to(device),
        tuple(defense),
        classes,
        partial,
        observed,
        labels,
        protocol,
        task,
        {k: v.to(device) for k, v in prior.items()},
        train_like,
        None if train_like is None else len(splits.train),
    )
