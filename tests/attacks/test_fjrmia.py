from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.attribute_map import AttributeMap
from attacks.common.candidates import value_prior
from attacks.fjrmia import COUNT, Fjrmia
from attacks.lomia import LOMIA
from attacks.score_classifier import ScoreClassifier
from attacks.yeom import Yeom
from bench.contract import Knowledge, Split
from tests.attacks.tables import exposed, grid_card, measured, right, told, uniform, world


def test_fjrmia_is_the_formula() -> None:
    """``argmax prior(v) * C[y, f(x_v)]`` with rows of C that sum to 1, Mehnaz et al. 3.1."""
    victims, knowledge = world(3, 3)
    weight = torch.randn(6, 3, generator=torch.Generator().manual_seed(3))

    def scores(x: Tensor) -> Tensor:
        return torch.softmax(x @ weight, 1)

    exposure = exposed(scores, "labels")
    out = Fjrmia().run(exposure, knowledge, 0, "cpu").values
    assert exposure.meter.queries == 60 * 3 + 80
    c = [[COUNT] * 3 for _ in range(3)]
    said = scores(knowledge.public.x).argmax(1).tolist()
    for y, y_hat in zip(knowledge.public.y.tolist(), said, strict=True):
        c[y][y_hat] += 1
    prior = value_prior(knowledge).tolist()
    for i in range(60):
        x = victims.x[i].repeat(3, 1)
        x[:, :3] = torch.eye(3)
        y = int(victims.y[i])
        told_ = [c[y][k] / sum(c[y]) for k in scores(x).argmax(1).tolist()]
        expected = torch.tensor([p * t for p, t in zip(prior, told_, strict=True)])
        assert torch.allclose(out[i].float(), expected / expected.sum(), atol=1e-5)


def regression(n: int = 300) -> tuple[Split, Knowledge, Any]:
    """An outcome that is the secret plus what is known plus noise, and a model that knows it."""
    card = grid_card(2, outcome=True)
    victims, public = measured(card, n, 1, noise=0.3), measured(card, 200, 0, noise=0.3)
    prior = {"probabilities": uniform(n, 2), "winner": torch.tensor(3)}
    knowledge = told(card, public, victims, prior=prior, task="regression")
    return victims, knowledge, lambda x: x[:, :2].sum(1, keepdim=True)


@pytest.mark.parametrize("attack", [Fjrmia("scores"), Yeom(), AttributeMap()], ids=str)
def test_a_predicted_number_gives_the_value_away(attack: Any) -> None:
    victims, knowledge, model = regression()
    assert "regression" in attack.tasks
    out = attack.run(exposed(model), knowledge, 0, "cpu")
    assert right(out.values, victims) > 0.9
    assert torch.allclose(out.values.sum(1), torch.ones(300, dtype=out.values.dtype))
    if isinstance(attack, Fjrmia):
        assert out.info["sigma"] == pytest.approx(0.3, abs=0.05)
    deaf = attack.run(exposed(lambda x: x[:, 1:2]), knowledge, 0, "cpu").values
    assert bool(((deaf - deaf[0]).abs() < 1e-6).all())


def test_attacks_by_labels_leave_predicted_numbers_alone() -> None:
    for attack in (AttributeMap("labels"), Fjrmia("labels"), LOMIA(), ScoreClassifier("labels")):
        assert attack.tasks == ("classification",)
    assert Fjrmia("scores").tasks == ("regression",)
