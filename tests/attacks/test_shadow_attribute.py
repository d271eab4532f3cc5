from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, starmap
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from attacks.attribute_map import AttributeMap
from attacks.common.completed import draw
from attacks.common.imputers import Imputer
from attacks.common.shadows import imitated
from attacks.shadow_attribute import ShadowAttribute
from bench.contract import (
    Answers,
    Attack,
    DivergedError,
    Knowledge,
    Split,
    Splits,
    TrainingContext,
    TrainingDefense,
    UserError,
    metered,
)
from bench.engine.deployment import Deployment
from bench.models.training import train
from bench.models.trees import RandomForest
from tests.attacks.tables import exposed, remembering, table, table_card, told

QUICK: dict[str, Any] = {"shadows": 6}


def world(n_public: int = 200, **more: Any) -> tuple[Split, Knowledge]:
    """Labels at random, so that only what a target remembers of a record says anything.

    The owner's way of making a target is to remember its records.
    """

    def made(train: Split, rest: Split, seed: int) -> tuple[Answers, Answers]:
        scores = remembering(train, 2)
        return scores, lambda x: scores(x).argmax(1)

    def like(wanted: Iterable[tuple[Split, Split, int]]) -> Iterator[tuple[Answers, Answers]]:
        return starmap(made, wanted)

    card = table_card()
    victims, public = table(card, 150, 1), table(card, n_public, 0)
    knowledge = told(card, public, victims, train_like=like, **more)
    return victims, replace(knowledge, prior=Imputer(trees=20).fit(knowledge, 0, "cpu"))


def auc(values: Tensor, victims: Split) -> float:
    assert victims.s is not None
    return float(roc_auc_score(victims.s, values[:, 1]))


def test_a_target_that_remembers_is_believed() -> None:
    victims, knowledge = world()
    exposure = exposed(remembering(victims, 2))
    out = ShadowAttribute(**QUICK).run(exposure, knowledge, 0, "cpu")
    assert out.info["weight_confidence"] + out.info["weight_membership"] > 0
    assert auc(out.values, victims) > auc(knowledge.prior["probabilities"], victims) + 0.1
    assert exposure.meter.queries == 150 * 2, "only victims are asked about"


@pytest.mark.parametrize("access", ["scores", "labels"])
@pytest.mark.parametrize("value", [0.5, torch.nan])
def test_a_target_that_says_nothing_leaves_the_imputer(access: Any, value: float) -> None:
    _, knowledge = world()
    exposure = exposed(lambda x: torch.full((len(x), 2), value), access)
    out = ShadowAttribute(access, **QUICK).run(exposure, knowledge, 0, "cpu").values
    assert torch.equal(out.argsort(0), knowledge.prior["probabilities"].argsort(0))


def test_one_mute_answer_leaves_its_record_to_the_imputer() -> None:
    victims, knowledge = world()
    scores = remembering(Split(victims.x[:140], victims.y[:140], victims.person[:140]), 2)
    out = ShadowAttribute(**QUICK).run(exposed(scores), knowledge, 0, "cpu")
    assert out.info["weight_confidence"] + out.info["weight_membership"] > 0
    assert torch.allclose(out.values[140:], knowledge.prior["probabilities"][140:])


@dataclass(frozen=True)
class Swapped(TrainingDefense):
    """Every record is trained on with the other value of a secret that has two."""

    paper = "made up for this test"

    def sanitize(self, train: Split, context: TrainingContext) -> Split:
        return replace(train, x=torch.cat([train.x[:, :2].flip(1), train.x[:, 2:]], 1))


def test_adaptive_pair_swapped_training_misleads_attribute_map_and_not_shadow_attribute() -> None:
    """Defense: ``Swapped``; naive: ``attribute_map``; adaptive: ``shadow_attribute``."""
    card, layers, model = table_card(n_known=6), [Swapped()], RandomForest(trees=20)
    victims, public = table(card, 160, 1, 0.5), table(card, 160, 2, 0.5)
    inside = torch.arange(160) < 80
    splits = Splits(card, victims.take(inside), victims.take(~inside), public)
    network, _ = train(model, layers, splits, 0, "cpu")
    owner = Deployment(splits, model, layers, (), 0, network, "cpu")
    knowledge = told(card, public, victims, train_like=owner.like, train_size=80)
    knowledge = replace(knowledge, prior=Imputer(trees=20).fit(knowledge, 0, "cpu"))
    scores, _ = owner.interface(0)

    def found(attack: Attack) -> float:
        values = attack.run(exposed(scores), knowledge, 0, "cpu").values
        return auc(values[inside], splits.train)

    blind = auc(knowledge.prior["probabilities"][inside], splits.train)
    assert found(AttributeMap()) < blind - 0.05
    assert found(ShadowAttribute(shadows=12)) > blind + 0.05


def test_what_misleads_who_takes_answers_at_their_word_does_not_mislead_who_tried_it() -> None:
    """A target that says nothing of its members, and the opposite of what an imputer knows."""
    victims, knowledge = world()
    blind = auc(knowledge.prior["probabilities"], victims)

    def scores(x: Tensor) -> Tensor:
        p = torch.where((x[:, 2] > 0.5) == (x[:, 0] > 0.5), 0.7, 0.3)
        return torch.stack([p, p], 1)

    like = replace(
        knowledge, train_like=lambda wanted: ((scores, lambda x: x[:, 0]) for _ in wanted)
    )
    trusting = AttributeMap(weight=4.0).run(exposed(scores), like, 0, "cpu").values
    out = ShadowAttribute(**QUICK).run(exposed(scores), like, 0, "cpu").values
    assert auc(trusting, victims) < blind - 0.1
    assert torch.equal(out.argsort(0), knowledge.prior["probabilities"].argsort(0))


@pytest.mark.parametrize("budget", [0, 1, 99])
def test_a_budget_is_kept_and_whom_it_leaves_out_is_imputed(budget: int) -> None:
    victims, knowledge = world()
    exposure = exposed(remembering(victims, 2))
    exposure.budget = budget
    out = ShadowAttribute(**QUICK).run(exposure, knowledge, 0, "cpu").values
    assert exposure.meter.queries == budget // 2 * 2
    moved = (out - knowledge.prior["probabilities"]).abs().amax(1) > 1e-6
    assert int(moved.sum()) <= budget // 2
    assert bool(moved.any()) == (budget > 1)


def test_all_shadows_are_asked_for_in_one_call() -> None:
    victims, knowledge = world()
    asked: list[int] = []

    def like(wanted: Iterable[tuple[Split, Split, int]]) -> Iterator[tuple[Answers, Answers]]:
        listed = list(wanted)
        asked.append(len(listed))
        assert knowledge.train_like is not None
        return knowledge.train_like(listed)

    watched, read = metered(replace(knowledge, train_like=like), ShadowAttribute.knowledge)
    exposure = exposed(remembering(victims, 2))
    out = ShadowAttribute(**QUICK).run(exposure, watched, 0, "cpu")
    assert asked == [6] and "K7" in read
    expected = ShadowAttribute(**QUICK).run(exposure, knowledge, 0, "cpu")
    assert torch.equal(out.values, expected.values) and out.info == expected.info


@pytest.mark.parametrize("error", [UserError("too few records"), DivergedError("NaN")])
def test_a_defense_that_cannot_work_with_public_records_is_imitated_by_stand_ins(
    error: Exception,
) -> None:
    victims, knowledge = world()

    def refuse(wanted: Iterable[tuple[Split, Split, int]]) -> Iterator[tuple[Answers, Answers]]:
        assert knowledge.train_like is not None
        yield from islice(knowledge.train_like(wanted), 2)
        raise error

    exposure = exposed(remembering(victims, 2))
    told = replace(knowledge, train_like=refuse)
    out = ShadowAttribute(shadows=4).run(exposure, told, 0, "cpu")
    assert out.info["shadow"] == "mlp" and exposure.meter.queries == 150 * 2


def test_too_few_public_records_leave_the_imputer() -> None:
    victims, knowledge = world(10)
    out = ShadowAttribute(**QUICK).run(exposed(remembering(victims, 2)), knowledge, 0, "cpu")
    assert torch.allclose(out.values, knowledge.prior["probabilities"], atol=1e-8)


def test_shadows_answer_behind_the_release_layers_of_the_target() -> None:
    """Behind rounding to whole numbers a shadow says what a label says, as the target does."""
    victims, knowledge = world()
    layer = {"_target_": "defenses.rounding.Rounding", "decimals": 0}
    scores = remembering(victims, 2)
    exposure = exposed(lambda x: scores(x).round())
    attack = ShadowAttribute(shadow="mlp", shadows=4)
    open_, aware = (
        attack.run(exposure, replace(knowledge, defense=d), 0, "cpu").info for d in ((), (layer,))
    )
    assert aware["not_imitated"] == [] and aware != open_


def test_what_is_fitted_or_acts_elsewhere_is_named_and_not_imitated() -> None:
    known, unknown = imitated(
        [
            {"_target_": "defenses.top_k.TopK", "k": 1},
            {"_target_": "defenses.purifier.Purifier"},
            {"_target_": "defenses.dp_sgd.DpSgd"},
            {"_target_": "defenses.nowhere.Nothing"},
        ]
    )
    assert [type(layer).__name__ for layer in known] == ["TopK"]
    assert unknown == ["Purifier", "DpSgd", "Nothing"]


@pytest.mark.parametrize("n", [20, 21])
def test_every_victim_is_in_half_of_the_shadows_with_values_drawn_from_the_imputer(n: int) -> None:
    prior = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]).repeat(n, 1)[:n].double()
    drawn = draw(prior, 40, 6, 24, 0)
    assert (drawn.values >= 0).sum(0).tolist() == [3] * n
    assert set(drawn.values[:, 0].tolist()) == {-1, 1} and 1 not in drawn.values[:, 1]
    inside = (drawn.values >= 0).sum(1)
    assert (drawn.public.sum(1) == (24 - inside).clamp(max=20)).all()
