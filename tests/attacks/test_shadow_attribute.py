from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from attacks.attribute_map import AttributeMap
from attacks.common.imputers import Imputer
from attacks.common.completed import draw
from attacks.common.shadows import imitated
from attacks.shadow_attribute import ShadowAttribute
from bench.contract import Knowledge, Split
from tests.attacks.tables import exposed, remembering, table, table_card, told

QUICK: dict[str, Any] = {"shadows": 8}


def world(n_public: int = 200, **more: Any) -> tuple[Split, Knowledge]:
    """Labels at random, so that only what a target remembers of a record says anything."""
    card = table_card()
    victims, public = table(card, 150, 1), table(card, n_public, 0)
    knowledge = told(card, public, victims, **more)
    return victims, replace(knowledge, prior=Imputer(trees=20).fit(knowledge, 0, "cpu"))


def auc(values: Tensor, victims: Split) -> float:
    assert victims.s is not None
    return float(roc_auc_score(victims.s, values[:, 1]))


def misleading(victims: Split) -> Any:
    """A target that is surer of a member's label with the value that is not his own."""
    swapped = replace(victims, x=torch.cat([victims.x[:, :2].flip(1), victims.x[:, 2:]], 1))
    return remembering(swapped, 2)


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


def test_what_misleads_who_takes_answers_at_their_word_does_not_mislead_who_tried_it() -> None:
    """The label follows from a known column: shadows show that answers about it say nothing."""
    victims, knowledge = world()
    public = knowledge.public
    knowledge = replace(knowledge, public=replace(public, y=(public.x[:, 3] > 0).long()))
    blind = auc(knowledge.prior["probabilities"], victims)
    scores = misleading(victims)
    trusting = AttributeMap().run(exposed(scores), knowledge, 0, "cpu").values
    out = ShadowAttribute(**QUICK).run(exposed(scores), knowledge, 0, "cpu").values
    assert auc(trusting, victims) < blind - 0.1
    assert auc(out, victims) >= blind - 1e-9


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
    open_, aware = (
        ShadowAttribute(**QUICK).run(exposure, replace(knowledge, defense=d), 0, "cpu").info
        for d in ((), (layer,))
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
