from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.score_classifier import ScoreClassifier
from bench.contract import UserError
from tests.attacks.tables import exposed, remembering, right, table, table_card, told, world


@pytest.mark.parametrize("access", ["scores", "labels"])
def test_answers_that_tell_the_value_are_learned(access: Any) -> None:
    card = table_card()
    public, victims = table(card, 200, 0, signal=0.0), table(card, 100, 1, signal=0.0)

    def scores(x: Tensor) -> Tensor:
        return 0.1 + 0.8 * x[:, :2]

    seen = scores(victims.x)
    observed = seen if access == "scores" else seen.argmax(1)
    exposure = exposed(scores, access)
    knowledge = told(card, public, victims, observed=observed)
    out = ScoreClassifier(access, trees=20).run(exposure, knowledge, 0, "cpu")
    assert right(out.values, victims) > 0.99
    assert exposure.meter.queries == 200
    deaf = told(card, public, victims, observed=torch.full_like(seen, 0.5))
    mute = exposed(lambda x: torch.full((len(x), 2), 0.5))
    assert right(ScoreClassifier(trees=20).run(mute, deaf, 0, "cpu").values, victims) < 0.7


def test_the_learned_attack_needs_the_answers() -> None:
    _, knowledge = world()
    assert "K6" in ScoreClassifier().knowledge
    with pytest.raises(UserError, match="K6"):
        ScoreClassifier().run(exposed(torch.softmax), knowledge, 0, "cpu")


def test_at_most_so_many_public_records_are_asked_about() -> None:
    victims, knowledge = world()
    scores = remembering(victims, 2)
    exposure = exposed(scores)
    knowledge = replace(knowledge, observed=scores(victims.x))
    ScoreClassifier(most=20, trees=5).run(exposure, knowledge, 0, "cpu")
    assert exposure.meter.queries == 20
