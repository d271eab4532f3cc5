"""A table's owner, who trains behind a defense, and an attacker who can do the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import one_hot

from attacks.common.imputers import Imputer
from bench.contract import (
    Attack,
    Card,
    Exposure,
    Knowledge,
    Model,
    ReleaseDefense,
    Split,
    Splits,
    TrainingDefense,
    generator,
)
from bench.engine.deployment import Deployment
from bench.models.mlp import Mlp
from bench.models.training import train
from tests.attacks import tables

MEMBERS, PUBLIC, CLASSES, SIZE = 100, 160, 8, 3.0


@dataclass(frozen=True)
class Owned:
    """A secret of two values that shows in one known number, and in the class by a law.

    The class of seven tenths of the records follows from the secret and the signs of two other
    numbers, that of the others is chance. The imputer knows the class, so what a target has learned
    of the law tells it nothing new; what the target remembers of a member does. An undefended
    target remembers all of its members.

    Success is the share of what the imputer's AUC among the members lacks to 1 that the attack
    adds; 0 where the attack is worse than the imputer.

    Attributes:
        model: the target's architecture and recipe.
        told: whether the attacker's own models are trained behind the defense (K7); else they are
            made as the target without it.
    """

    model: Model = Mlp(hidden=(128,), epochs=120, lr=1e-2, batch_size=100)  # noqa: RUF009
    told: bool = True

    def success(self, attack: Attack, defense: object, seed: int) -> float:
        victims, knowledge, owner = _world(self.model, defense, seed)
        if not self.told:
            knowledge = replace(knowledge, train_like=_world(self.model, None, seed)[2].like)
        scores, labels = owner.interface(0)
        exposure = Exposure(attack.access, scores, labels)
        values = attack.run(exposure, knowledge, seed, "cpu").values
        found, blind = (
            float(roc_auc_score(victims.s[:MEMBERS], guess[:MEMBERS, 1]))
            for guess in (values, knowledge.prior["probabilities"])
        )
        return max(0.0, (found - blind) / (1 - blind))


@cache
def _world(model: Model, defense: object, seed: int) -> tuple[Split, Knowledge, Deployment]:
    """The victims, of whom the first are members; what their attacker holds; the deployment."""
    layers = defense if isinstance(defense, tuple) else (defense,)
    card = _card()
    victims = _records(card, 2 * MEMBERS, 100)
    public = _records(card, PUBLIC, 200)
    inside = torch.arange(2 * MEMBERS) < MEMBERS
    splits = Splits(card, victims.take(inside), victims.take(~inside), public)
    trained = [layer for layer in layers if isinstance(layer, TrainingDefense)]
    served = [layer for layer in layers if isinstance(layer, ReleaseDefense)]
    network, _ = train(model, trained, splits, seed, "cpu")
    owner = Deployment(splits, model, trained, served, seed, network, "cpu")
    owner = replace(owner, fitted=owner.prepare(seed))
    knowledge = tables.told(card, public, victims, train_like=owner.like, train_size=MEMBERS)
    prior = Imputer(trees=20).fit(knowledge, 0, "cpu")
    return victims, replace(knowledge, prior=prior), owner


def _card() -> Card:
    card = tables.table_card(2, CLASSES, 5)
    assert card.sensitive is not None
    far = replace(card.sensitive, codes=((SIZE, 0.0), (0.0, SIZE)))
    return replace(card, sensitive=far)


def _records(card: Card, n: int, seed: int) -> Split:
    rng = generator(seed)
    s = torch.randint(2, (n,), generator=rng)
    known = torch.randn(n, card.shape[0] - 2, generator=rng)
    known[:, 0] += 1.5 * s
    lawful = torch.rand(n, generator=rng) < 0.7
    law = s + 2 * (known[:, 1] > 0) + 4 * (known[:, 2] > 0)
    y = torch.where(lawful, law, torch.randint(CLASSES, (n,), generator=rng))
    return Split(torch.cat([SIZE * one_hot(s, 2), known], 1).float(), y, torch.arange(n), s)
