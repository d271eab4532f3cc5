from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.attribute_map import AttributeMap
from attacks.common.candidates import likelihood
from attacks.common.error_models import confusion
from attacks.imputation import Imputation
from bench.contract import Exposure, Knowledge, Split
from tests.attacks.tables import (
    exposed,
    grid_card,
    measured,
    remembering,
    table,
    table_card,
    told,
    uniform,
)


def world(n_values: int = 2, n_classes: int = 2, n: int = 60) -> tuple[Split, Knowledge]:
    card = table_card(n_values, n_classes)
    victims = table(card, n, 1)
    p = torch.rand(n, n_values, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prior = {"probabilities": p / p.sum(1, keepdim=True), "winner": torch.tensor(1)}
    return victims, told(card, table(card, 80, 0), victims, prior=prior)


@pytest.mark.parametrize(("n_values", "n_classes"), [(2, 2), (4, 3), (3, 7)])
@pytest.mark.parametrize("access", ["scores", "labels"])
def test_a_target_that_remembers_gives_the_value_away(
    n_values: int, n_classes: int, access: Any
) -> None:
    victims, knowledge = world(n_values, n_classes)
    everyone = Split(
        *(torch.cat([getattr(victims, k), getattr(knowledge.public, k)]) for k in "xy"),
        torch.arange(140),
    )
    exposure = exposed(remembering(everyone, n_classes, sure=0.99), access)
    out = AttributeMap(access, weight=4.0).run(exposure, knowledge, 0, "cpu").values
    assert out.shape == (60, n_values)
    assert torch.allclose(out.sum(1), torch.ones(60, dtype=out.dtype))
    guess = (out.argmax(1) == victims.s).double().mean()
    blind = (knowledge.prior["probabilities"].argmax(1) == victims.s).double().mean()
    if access == "scores":
        assert guess > 0.85
    assert guess > blind + 0.1


@pytest.mark.parametrize("access", ["scores", "labels"])
def test_a_target_that_ignores_the_attribute_leaves_the_imputer(access: Any) -> None:
    _, knowledge = world()
    exposure = exposed(lambda x: torch.softmax(x[:, 2:4], 1), access)
    out = AttributeMap(access, weight=4.0).run(exposure, knowledge, 0, "cpu")
    assert torch.allclose(out.values, knowledge.prior["probabilities"])
    assert out.info["answers_that_differ"] == 0


@pytest.mark.parametrize(
    "withheld",
    [
        torch.zeros_like,
        lambda p: torch.full_like(p, 0.5),
        lambda p: torch.full_like(p, torch.nan),
    ],
)
def test_an_answer_without_content_leaves_the_imputer(withheld: Any) -> None:
    victims, knowledge = world()
    scores = remembering(victims, 2)
    exposure = exposed(lambda x: withheld(scores(x)))
    out = AttributeMap().run(exposure, knowledge, 0, "cpu").values
    assert torch.allclose(out, knowledge.prior["probabilities"])


def test_weight_zero_is_imputation() -> None:
    victims, knowledge = world()
    out = AttributeMap(weight=0.0).run(exposed(remembering(victims, 2)), knowledge, 0, "cpu")
    base = Imputation().run(exposed(remembering(victims, 2), "none"), knowledge, 0, "cpu")
    assert torch.allclose(out.values, base.values)
    assert torch.equal(base.values, knowledge.prior["probabilities"])


def test_the_score_is_the_formula() -> None:
    victims, knowledge = world(3, 2)
    scores = remembering(victims, 2, sure=0.8)
    attack = AttributeMap(weight=2.0, smoothing=0.1)
    out = attack.run(exposed(scores), knowledge, 0, "cpu").values
    for i in range(5):
        posterior = []
        for v in range(3):
            x = victims.x[i].clone()
            x[:3] = torch.eye(3)[v]
            p = float(scores(x[None])[0, victims.y[i]])
            posterior.append(float(knowledge.prior["probabilities"][i, v]) * (p + 0.1) ** 2)
        expected = torch.tensor(posterior, dtype=torch.float64) / sum(posterior)
        assert torch.allclose(out[i], expected, atol=1e-6)


@pytest.mark.parametrize(("access", "queries"), [("scores", 60 * 4), ("labels", 60 * 4 + 80)])
def test_every_query_is_counted_and_candidates_go_in_one_batch(access: Any, queries: int) -> None:
    victims, knowledge = world(4)
    scores, sizes = remembering(victims, 2), []

    def watched(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return scores(x)

    exposure = exposed(watched, access)
    AttributeMap(access).run(exposure, knowledge, 0, "cpu")
    assert exposure.meter.queries == queries
    assert sorted(sizes) == sorted([240, 80] if access == "labels" else [240])


def test_hard_scores_are_read_as_labels() -> None:
    victims, knowledge = world(2, 3)
    scores = remembering(victims, 3)

    def hard(x: Tensor) -> Tensor:
        return torch.eye(3)[scores(x).argmax(1)]

    a = AttributeMap("scores").run(exposed(hard), knowledge, 0, "cpu").values
    b = AttributeMap("labels").run(exposed(scores, "labels"), knowledge, 0, "cpu").values
    assert torch.equal(a, b)


def test_confusion_matrix_is_estimated_on_public_records() -> None:
    _, knowledge = world(2, 2)
    y = knowledge.public.y

    def scores(x: Tensor) -> Tensor:
        said = y if len(x) == len(y) else torch.zeros(len(x), dtype=torch.long)
        return torch.eye(2)[said]

    exposure = Exposure("labels", scores, lambda x: scores(x).argmax(1))
    counts = confusion(exposure, knowledge.card, knowledge.public)
    matrix = AttributeMap("labels", smoothing=1e-9)._confusion(counts)
    assert torch.allclose(matrix, torch.eye(2, dtype=torch.float64), atol=1e-6)


def test_a_prediction_never_seen_on_public_records_says_nothing() -> None:
    _, knowledge = world(2, 2)
    exposure = exposed(lambda x: torch.tensor([1.0, 0.0]).expand(len(x), 2), "labels")
    counts = confusion(exposure, knowledge.card, knowledge.public)
    matrix = AttributeMap("labels")._confusion(counts)
    assert torch.allclose(matrix[:, 0], matrix[:, 1], atol=0.01)


def test_the_top_score_of_two_classes_gives_the_other() -> None:
    full = torch.tensor([[[0.7, 0.3], [0.2, 0.8]]])
    top1 = torch.tensor([[[0.7, 0.0], [0.0, 0.8]]])
    for y in (0, 1):
        label = torch.tensor([y])
        assert torch.allclose(likelihood(top1, label), likelihood(full, label))


def test_what_a_truncated_answer_leaves_is_shared() -> None:
    p = likelihood(torch.tensor([[[0.6, 0.0, 0.0]]]), torch.tensor([2]))
    assert float(p) == pytest.approx(0.2)


def test_a_predicted_number_is_the_gaussian_formula() -> None:
    card = grid_card(3, outcome=True)
    victims, public = measured(card, 20, 1, noise=0.3), measured(card, 100, 0, noise=0.3)
    knowledge = told(
        card, public, victims, prior={"probabilities": uniform(20, 3)}, task="regression"
    )

    def model(x: Tensor) -> Tensor:
        return x[:, :2].sum(1, keepdim=True)

    sigma = float((public.y - model(public.x).squeeze(1)).square().mean().sqrt())
    out = AttributeMap(weight=2.0, smoothing=0.1).run(exposed(model), knowledge, 0, "cpu").values
    assert card.sensitive is not None
    for x, y, row in zip(victims.x, victims.y, out, strict=True):
        likely = [
            (math.exp(-((float(y) - code[0] - float(x[1])) ** 2) / (2 * sigma**2)) + 0.1) ** 2
            for code in card.sensitive.codes
        ]
        expected = torch.tensor(likely, dtype=row.dtype) / sum(likely)
        assert torch.allclose(row, expected, atol=1e-4)
