"""Owners of linear models who train again without a record."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bench.contract import Access, Exposure, Knowledge, Model, Network, Split, Task, generator
from bench.models.logistic import Logistic
from bench.models.ridge import Ridge
from tests.attacks import rows

VICTIMS = 6


def split(task: Task, n: int, seed: int) -> Split:
    """Records of ``rows``; an outcome, or one of two classes, follows from them noisily."""
    x = rows.rows(n, seed)
    rng = generator(seed + 1)
    outcome = x @ torch.randn(rows.WIDTH, generator=generator(0)) + torch.randn(n, generator=rng)
    y = outcome if task == "regression" else (outcome > outcome.mean()).long()
    return Split(x, y, torch.arange(n))


def trained(task: Task, data: Split, decay: float = 0.0) -> Network:
    """The optimum on ``data``, under a defense's weight decay."""
    model: Model = Ridge() if task == "regression" else Logistic()
    network = model.build((rows.WIDTH,), 1 if task == "regression" else 2, 0)
    recipe = replace(model.recipe, weight_decay=decay)
    model.solve(network, data.x, data.y, recipe, 0)
    return network.eval()


def world(
    task: Task,
    members: Split,
    public: Split,
    decay: float = 0.0,
    access: Access = "deletions",
) -> tuple[Exposure, Knowledge]:
    """The first members are deleted, one at a time; the attacker is told of the decay."""
    network = trained(task, members, decay)

    def after() -> dict[str, Tensor]:
        every = torch.arange(len(members))
        states = [
            trained(task, members.take(every[every != i]), decay).state_dict()
            for i in range(VICTIMS)
        ]
        return {k: torch.stack([state[k] for state in states]) for k in states[0]}

    exposure = Exposure(access, network, network, network, after=after)
    defense = {"_target_": "defenses.weight_decay.WeightDecay", "strength": decay}
    return exposure, Knowledge(rows.card(), public, (defense,) if decay else (), task=task)
