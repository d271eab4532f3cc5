from __future__ import annotations

import random

import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from attacks.csmia import CSMIA
from attacks.lomia import LOMIA, forest
from bench.contract import Knowledge, Split, generator
from tests.attacks.tables import exposed, remembering, table, table_card, told


def by_the_book(scores: list[list[float]], y: int) -> set[int]:
    """The three cases of Mehnaz et al., section 4.1, as printed: the values it may answer."""
    predicted = [row.index(max(row)) for row in scores]
    confidence = [max(row) for row in scores]
    right = [v for v, label in enumerate(predicted) if label == y]
    if len(right) == 1:
        return set(right)
    if len(right) > 1:
        best = max(confidence[v] for v in right)
        return {v for v in right if confidence[v] == best}
    least = min(confidence)
    return {v for v, c in enumerate(confidence) if c == least}


@pytest.mark.parametrize(("n_values", "n_classes", "decimals"), [(2, 2, 1), (3, 4, 1), (5, 3, 4)])
def test_the_signed_confidence_is_the_three_cases(
    n_values: int, n_classes: int, decimals: int
) -> None:
    card = table_card(n_values, n_classes)
    victims = table(card, 300, 1)
    knowledge = told(card, table(card, 10, 0), victims)
    draw = torch.rand(300 * n_values, n_classes, generator=torch.Generator().manual_seed(2))
    answers = torch.round(draw / draw.sum(1, keepdim=True), decimals=decimals)
    out = CSMIA().run(exposed(lambda x: answers), knowledge, 0, "cpu")
    rows = answers.view(300, n_values, n_classes).tolist()
    for guess, row, y in zip(out.values.argmax(1).tolist(), rows, victims.y.tolist(), strict=True):
        assert guess in by_the_book(row, y)
    assert sum(out.info.values()) == pytest.approx(1.0)


def test_case_1_ranks_above_the_others() -> None:
    card = table_card()
    victims = Split(torch.zeros(3, 5), torch.zeros(3, dtype=torch.long), torch.arange(3))
    knowledge = told(card, table(card, 10, 0), victims)
    answers = torch.tensor(
        [[0.6, 0.4], [0.4, 0.6], [0.9, 0.1], [0.55, 0.45], [0.1, 0.9], [0.45, 0.55]]
    )
    values = CSMIA().run(exposed(lambda x: answers), knowledge, 0, "cpu").values
    margin = (values[:, 0] - values[:, 1]).abs()
    assert float(margin[0]) > float(margin[1:].max())


def test_ties_are_broken_at_random_from_the_seed() -> None:
    card = table_card()
    knowledge = told(card, table(card, 10, 0), table(card, 400, 1))
    exposure = exposed(lambda x: torch.full((len(x), 2), 0.5))
    a, b, c = (CSMIA().run(exposure, knowledge, seed, "cpu").values for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert float(a.argmax(1).double().mean()) == pytest.approx(0.5, abs=0.1)


def test_it_asks_once_per_candidate() -> None:
    card = table_card(3)
    knowledge = told(card, table(card, 10, 0), table(card, 20, 1))
    exposure = exposed(lambda x: torch.full((len(x), 2), 0.5))
    CSMIA().run(exposure, knowledge, 0, "cpu")
    assert exposure.meter.queries == 60


def lomia_world(n_values: int, leaks: bool) -> tuple[Split, Knowledge, Tensor]:
    """Victims whose label equals whether the candidate is true, for half of them (case 1)."""
    card = table_card(n_values)
    victims = table(card, 200, 1, signal=3.0)
    knowledge = told(card, table(card, 10, 0), victims)
    assert victims.s is not None
    order = list(range(200))
    random.Random(0).shuffle(order)
    candidate = torch.arange(n_values).expand(200, -1)
    given = torch.zeros(200, dtype=torch.bool)
    given[torch.tensor(order[:100])] = leaks
    right = (candidate == victims.s.unsqueeze(1)) | ~given.unsqueeze(1)
    labels = torch.where(right, victims.y.unsqueeze(1), 1 - victims.y.unsqueeze(1))
    return victims, knowledge, torch.eye(2)[labels.flatten()]


@pytest.mark.parametrize("n_values", [2, 3])
def test_lomia_carries_case_1_over_to_the_other_victims(n_values: int) -> None:
    victims, knowledge, answers = lomia_world(n_values, leaks=True)
    out = LOMIA(trees=30).run(exposed(lambda x: answers, "labels"), knowledge, 0, "cpu")
    assert out.info["case_1"] == 0.5
    assert torch.allclose(out.values.sum(1), torch.ones(200, dtype=torch.float64))
    assert float((out.values.argmax(1) == victims.s).double().mean()) > 0.85


def test_lomia_without_case_1_knows_nothing() -> None:
    _, knowledge, answers = lomia_world(3, leaks=False)
    out = LOMIA(trees=5).run(exposed(lambda x: answers, "labels"), knowledge, 0, "cpu")
    assert torch.allclose(out.values, torch.full_like(out.values, 1 / 3))
    assert len(out.values.argmax(1).unique()) == 3
    assert out.info["case_2"] == 1.0


def test_lomia_is_seeded_and_counts() -> None:
    card = table_card()
    victims = table(card, 50, 1)
    knowledge = told(card, table(card, 10, 0), victims)
    exposure = exposed(remembering(victims, 2), "labels")
    a, b = (LOMIA(trees=5).run(exposure, knowledge, 3, "cpu").values for _ in range(2))
    assert torch.equal(a, b)
    assert exposure.meter.queries == 200


@pytest.mark.parametrize(("n", "n_classes"), [(1, 1), (60, 2), (300, 5)])
def test_the_forest_of_lomia_is_the_one_of_scikit_learn(n: int, n_classes: int) -> None:
    g = generator(n)
    x = torch.randn(400, 7, generator=g).round(decimals=1)
    y = torch.randint(n_classes, (n,), generator=g)
    model = RandomForestClassifier(20, random_state=3).fit(x[:n].numpy(), y.numpy())
    wanted = torch.from_numpy(model.predict_proba(x.numpy()))
    assert torch.equal(forest(x[:n], y, x, 20, 3), wanted)
