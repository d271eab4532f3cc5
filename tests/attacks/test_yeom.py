from __future__ import annotations

import math

import pytest
import torch

from attacks.common.candidates import value_prior
from attacks.yeom import Yeom
from tests.attacks.tables import exposed, remembering, world


def test_yeom_is_the_formula() -> None:
    victims, knowledge = world(3, 2)
    scores = remembering(victims, 2, sure=0.8)
    out = Yeom(scale=0.5).run(exposed(scores), knowledge, 0, "cpu").values
    prior = value_prior(knowledge).tolist()
    for i in range(10):
        row = []
        for v in range(3):
            x = victims.x[i].clone()
            x[:3] = torch.eye(3)[v]
            loss = -math.log(float(scores(x[None])[0, victims.y[i]]))
            row.append(prior[v] * math.exp(-(loss**2) / (2 * 0.5**2)))
        assert torch.allclose(out[i], torch.tensor(row, dtype=out.dtype) / sum(row), atol=1e-5)


def test_yeom_takes_the_scale_of_public_losses() -> None:
    _, knowledge = world()
    exposure = exposed(lambda x: torch.full((len(x), 2), 0.5))
    out = Yeom().run(exposure, knowledge, 0, "cpu")
    assert exposure.meter.queries == 60 * 2 + 80
    assert out.info["scale"] == pytest.approx(math.log(2))
