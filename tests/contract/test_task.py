from __future__ import annotations

import math

import pytest
import torch

from bench.contract import Card, Outcome, common_task
from bench.contract.task import agreement, answers, loss, top_list


def test_the_task_that_both_do() -> None:
    assert common_task(("classification", "recommendation"), ("recommendation",)) == (
        "recommendation"
    )
    assert common_task(("regression",), ("classification",)) is None
    both = ("recommendation", "classification")
    assert common_task(both, both) == "classification"


def test_losses() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    assert float(loss("classification", logits, torch.tensor([0, 1]))) == pytest.approx(math.log(2))
    assert float(loss("regression", torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 1.0]))) == 2.0
    # The multinomial likelihood does not weigh a basket by its size.
    baskets = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    each = loss("recommendation", logits, baskets, "none")
    torch.testing.assert_close(each, torch.full((2,), math.log(2)))


def test_answers_are_probabilities_of_classes_only() -> None:
    raw = torch.tensor([[1.0, 2.0]])
    assert float(answers("classification", raw).sum()) == pytest.approx(1.0)
    assert torch.equal(answers("recommendation", raw), raw)


def test_lists_hide_what_was_bought() -> None:
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    x = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    assert top_list(scores, x, 3).tolist() == [[1, 3, -1]]
    assert top_list(scores, x, 2, hide=False).tolist() == [[0, 1]]
    assert top_list(scores, x, 20).shape == (1, 4)


def test_agreement_in_every_task() -> None:
    assert agreement("classification", torch.eye(2), torch.tensor([0, 0])) == 0.5
    y = torch.tensor([1.0, -1.0])
    assert agreement("regression", y.unsqueeze(1), y) == 1.0
    assert agreement("regression", torch.zeros(2, 1), y) == pytest.approx(0.0)
    x = torch.tensor([[1.0, 1.0, 0.0]])
    assert agreement("recommendation", torch.tensor([[3.0, 1.0, 2.0]]), x) == 0.5


def test_a_card_knows_widths_and_labels() -> None:
    outcome = Outcome("dose", "mg/week", mean=5.0, scale=2.0, power=2.0)
    card = Card("a", "medical", "table", (3,), (), "record", "", "", False, outcome=outcome)
    assert (card.n_classes, card.width("regression"), card.width("recommendation")) == (0, 1, 3)
    assert card.known_label(torch.tensor([0.5])).tolist() == [[0.5]]
    assert outcome.natural(torch.tensor([0.0, -9.0])).tolist() == [25.0, 0.0]
