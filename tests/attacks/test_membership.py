from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.black_box import BlackBox
from attacks.common.candidates import value_prior
from attacks.membership import Membership
from tests.attacks.tables import exposed, right, table, table_card, told, uniform


@pytest.mark.parametrize("reference", ["logistic", "forest", "mlp"])
def test_calibration_discounts_what_everybody_knows(reference: Any) -> None:
    """The label follows from the value in the population: confidence alone always says so."""
    card = table_card()
    public, victims = table(card, 200, 0), table(card, 200, 1)
    assert public.s is not None and victims.s is not None
    flip = torch.rand(400, generator=torch.Generator().manual_seed(0)) < 0.2
    public = replace(public, y=public.s ^ flip[:200])
    victims = replace(victims, y=victims.s ^ flip[200:])

    def scores(x: Tensor) -> Tensor:
        """What the population shows, and a little more of what it remembers."""
        p1 = 0.2 + 0.6 * x[:, 1]
        known = torch.cdist(x, victims.x, compute_mode="donot_use_mm_for_euclid_dist") < 1e-4
        y = victims.y[known.int().argmax(1)]
        bonus = torch.where(y == 1, 1 - p1, -p1) * 0.7
        p1 = torch.where(known.any(1), p1 + bonus, p1)
        return torch.stack([1 - p1, p1], 1)

    knowledge = told(card, public, victims, prior={"probabilities": uniform(200, 2)})
    plain = right(BlackBox().run(exposed(scores), knowledge, 0, "cpu").values, victims)
    calibrated = Membership(reference=reference).run(exposed(scores), knowledge, 0, "cpu")
    assert plain < 0.85
    # A forest learns the reference less well: .91 here, where the others are never wrong.
    least = plain + 0.05 if reference == "forest" else 0.9
    assert right(calibrated.values, victims) > least
    with_prior = Membership(impute=True, reference=reference)
    same = with_prior.run(exposed(scores), knowledge, 0, "cpu").values
    assert torch.allclose(same, calibrated.values, atol=1e-6)


def test_the_threshold_takes_the_likeliest_of_the_accepted() -> None:
    card = table_card(3)
    victims = table(card, 3, 1)
    knowledge = told(card, table(card, 50, 0), victims)
    y = victims.y
    # Accepted: only value 0; all; none. Public loss is ln 2.
    sure = torch.tensor([[0.9, 0.1, 0.1], [0.9, 0.9, 0.9], [0.1, 0.1, 0.1]])

    def scores(x: Tensor) -> Tensor:
        if len(x) != 9:
            return torch.full((len(x), 2), 0.5)
        p = sure.flatten()
        own = y.repeat_interleave(3)
        return torch.stack([torch.where(own == 0, p, 1 - p), torch.where(own == 1, p, 1 - p)], 1)

    out = Membership(signal="threshold").run(exposed(scores), knowledge, 0, "cpu").values
    best = int(value_prior(knowledge).argmax())
    assert out.argmax(1).tolist() == [0, best, best]
