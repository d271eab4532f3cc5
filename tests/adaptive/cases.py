"""Cases in which a defense stops one attack and not another: each gives a success in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from attacks.common.priors import PcaPrior
from bench.contract import (
    Attack,
    Card,
    Exposure,
    Knowledge,
    Split,
    Stream,
    TrainingDefense,
    generator,
)
from defenses.top_n import TopN
from defenses.weight_decay import WeightDecay
from tests.adaptive.owners import Answer, exposed, gate, shared
from tests.attacks import clients, deletions, images, shops, tables
from tests.attacks import test_basket_decoder as baskets
from tests.attacks import test_recommenders as recommenders


@cache
def _held() -> Knowledge:
    return images.knowledge(prior=PcaPrior(8).fit(images.knowledge(), 0, "cpu"))


PRIVATE = images.photographs(images.PEOPLE, 4, seed=1)
ONE_ACCOUNT = Stream()


def _scores(gain: float) -> Answer:
    network = images.target(PRIVATE, gain)
    return lambda x: network(x).softmax(1).detach()


def _recognised(pictures: Tensor) -> float:
    """Share of the people whom their picture resembles more than anybody else of the target's."""

    def unit(x: Tensor) -> Tensor:
        flat = x.flatten(1) - _held().public.x.mean(0).flatten()
        return torch.nn.functional.normalize(flat)

    people = torch.arange(images.PEOPLE)
    means = torch.stack([PRIVATE.x[PRIVATE.y == c].mean(0) for c in people])
    nearest = (unit(pictures) @ unit(means).T).argmax(1)
    return float((nearest == people).double().mean())


@dataclass(frozen=True)
class Faces:
    """Six people of a linear target, reconstructed from its answers; chance is a sixth.

    Attributes:
        gain: how steep the target's logits are.
        stream: how the queries are sent.
    """

    gain: float = 40.0
    stream: Stream = ONE_ACCOUNT

    def success(self, attack: Attack, defense: object, seed: int) -> float:
        owned = _scores(self.gain), images.card(), PRIVATE, _held().public
        door = gate(defense, self.stream, *owned)
        exposure = exposed(attack.access, defense, *owned, gate=door)
        return _recognised(attack.run(exposure, _held(), seed, "cpu").values)


@dataclass(frozen=True)
class Updates:
    """Records of four clients from the updates that they share.

    Attributes:
        coarse: whether success is how much of the public mean's squared error an attack takes away,
            on a convolution; else it is the share of records above 22 dB, on a perceptron.
    """

    coarse: bool = False

    def success(self, attack: Attack, defense: object, seed: int) -> float:
        network = clients.conv() if self.coarse else clients.mlp()
        exposure, knowledge, x, _ = clients.world(network, attack.federation, shared(defense))
        found = attack.run(exposure, knowledge, seed, "cpu").values
        if not self.coarse:
            return float((clients.psnr(found, x) > 22).double().mean())
        mean = (knowledge.public.x.mean(0) - x).square().mean()
        return max(0.0, 1 - float((found - x).square().mean() / mean))


@dataclass(frozen=True)
class Tampered:
    """Records of clients to whom a malicious server sends weights of its own.

    Success is the share of the records of which some returned one is within 25 dB.

    Attributes:
        hidden: neurons of the perceptron's first layer.
    """

    hidden: int = 32

    def success(self, attack: Attack, defense: object, seed: int) -> float:
        network = clients.mlp(nn.ReLU, self.hidden)
        layers = [defense] if isinstance(defense, TrainingDefense) else []
        exposure, knowledge, x, _ = clients.corrupt(network, attack.federation, *layers)
        found = attack.run(exposure, knowledge, seed, "cpu").values
        quality = torch.stack([clients.psnr(found, record).max() for record in x])
        return float((quality > 25).double().mean())


@dataclass(frozen=True)
class Deleted:
    """Records that an owner of a linear model deletes, one at a time.

    Success is the share of their values that come back within .05.

    Attributes:
        told: whether the attacker knows the defense (K4).
    """

    told: bool = True

    def success(self, attack: Attack, defense: object, seed: int) -> float:
        decay = defense.strength if isinstance(defense, WeightDecay) else 0.0
        members = deletions.split("classification", 300, seed)
        exposure, knowledge = deletions.world("classification", members, members, decay)
        knowledge = knowledge if self.told else replace(knowledge, defense=())
        values = attack.run(exposure, knowledge, seed, "cpu").values
        wanted = members.x[: deletions.VICTIMS]
        return float(((values - wanted).abs() < 0.05).double().mean())


@dataclass(frozen=True)
class Secrets:
    """A secret of two values, whose class, the first of three, is seldom answered as the label.

    The target answers ``true`` to a record with the right value and ``false`` to one with the other
    one; to records of the last class, ``false`` to all. What is right follows from a known number,
    but no learner finds out how.

    Attributes:
        true: scores for the right value.
        false: scores for the wrong one.
        imputed: the imputer's probability of the right value.
        by_value: whether the first value is answered ``true`` and the second ``false`` instead, and
            the attacker saw the answers to the victims' complete records.
        aware: whether the attacker asks the defended deployment; else a copy without the defense.
        told: whether he knows the defense (K4).
    """

    true: tuple[float, float, float] = (0.3, 0.6, 0.1)
    false: tuple[float, float, float] = (0.1, 0.3, 0.6)
    imputed: float = 0.5
    by_value: bool = False
    aware: bool = True
    told: bool = True

    def success(self, attack: Attack, defense: object, seed: int) -> float:
        card = tables.table_card(2, 3)
        public, victims = _records(card, 300, 2), _records(card, 200, 1)
        victims = victims.take(victims.y == 0)

        def scores(x: Tensor) -> Tensor:
            true = x[:, 0] > 0.5
            if not self.by_value:
                true = (true == (x[:, 2] % 2 == 0)) & (x[:, 3] == 0)
            return torch.tensor([self.false, self.true])[true.long()]

        owned = scores, card, victims, public
        behind = exposed(attack.access, defense, *owned)
        asked = behind if self.aware else exposed(attack.access, None, *owned)
        guess = torch.full((len(victims), 2), 1 - self.imputed, dtype=torch.float64)
        assert victims.s is not None
        guess[torch.arange(len(victims)), victims.s] = self.imputed
        more: dict[str, Any] = {"prior": {"probabilities": guess, "winner": torch.tensor(3)}}
        if defense is not None and self.aware and self.told:
            more["defense"] = (layer_of(defense),)
        if self.by_value:
            more["observed"] = behind.scores(victims.x)
        knowledge = tables.told(card, public, victims, **more)
        named = tables.right(attack.run(asked, knowledge, seed, "cpu").values, victims)
        return max(0.0, 2 * named - 1)


def _records(card: Card, n: int, seed: int) -> Split:
    """Two thirds are of the first class, the others of the last, as the last column says."""
    drawn = tables.table(card, n, seed, signal=0.0)
    assert drawn.s is not None
    x, y = drawn.x.clone(), torch.where(torch.arange(n) % 3 == 0, 2, 0)
    halves = torch.randint(50_000, (n,), generator=generator(seed))
    x[:, 2], x[:, 3] = (2 * halves + drawn.s).float(), (y > 0).float()
    return replace(drawn, x=x, y=y)


@dataclass(frozen=True)
class Baskets:
    """Baskets from scores: how much of what undefended scores add to the label's popularity.

    Attributes:
        aware: whether the attacker's decoder learns from the defended answers; else from those of a
            copy without the defense.
    """

    aware: bool = True

    def success(self, attack: Attack, defense: object, seed: int) -> float:
        popular = baskets.base(given_label=True)
        return max(0.0, (self._f1(attack, defense, seed) - popular) / (_SCORES - popular))

    def _f1(self, attack: Attack, defense: object, seed: int) -> float:
        card, public, victims, weight = baskets.shop()
        owned = (lambda x: torch.softmax(x @ weight, 1)), card, victims, public
        behind = exposed(attack.access, defense, *owned)
        asked = behind if self.aware else exposed(attack.access, None, *owned)
        observed = (behind.labels if attack.access == "labels" else behind.scores)(victims.x)
        knowledge = Knowledge(card, public, observed=observed, victim_labels=victims.y)
        return baskets.f1(attack.run(asked, knowledge, seed, "cpu").values)


_SCORES = 0.61
"""What a decoder gets from the undefended scores of that shop."""


@dataclass(frozen=True)
class Lists:
    """Baskets from what a recommender shows: how much of what popularity does not say.

    Without the defense it shows the scores of all items.
    """

    def success(self, attack: Attack, defense: object, seed: int) -> float:
        def lists(x: Tensor) -> Tensor:
            assert isinstance(defense, TopN)
            return defense.recommend(recommenders.scores(x), x)

        met = recommenders.scores if defense is None else lists
        network = shops.linear(shops.ease())
        exposure = Exposure(attack.access, recommenders.scores, met, network)
        knowledge = shops.told(met(shops.victims()))
        values = attack.run(exposure, knowledge, seed, "cpu").values
        popular = recommenders.popular()
        return max(0.0, (recommenders.f1(values) - popular) / (recommenders.ceiling() - popular))


def layer_of(defense: object) -> dict[str, Any]:
    """What an attacker who knows a defense is told of it."""
    kind = type(defense)
    return {"_target_": f"{kind.__module__}.{kind.__name__}", **vars(defense)}
