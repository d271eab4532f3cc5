"""What a model answers is read as it was meant, whatever its form."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from bench.contract import Card, Outcome, UserError
from bench.models.external.opened import Answered
from bench.models.external.outputs import NEVER, Reading, read_as
from tests.attacks.tables import table_card

SHARES = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]])


def card(*classes: str) -> Card:
    return dataclasses.replace(table_card(n_classes=len(classes)), class_names=classes)


ABC = card("a", "b", "c")
AB = card("a", "b")


def read(answered: Answered, data: Card = ABC, meant: Any = "auto", *classes: str) -> Reading:
    return read_as(answered, data, "classification", meant, classes)


def outputs(answered: Answered, data: Card = ABC, meant: Any = "auto", *classes: str) -> Any:
    return read(answered, data, meant, *classes).outputs(answered)


def probabilities(scores: Any, *more: Any) -> Any:
    return torch.softmax(outputs(Answered(scores=np.asarray(scores)), *more), 1).double().numpy()


def labels(*values: Any, dtype: Any = None) -> Answered:
    return Answered(labels=np.array(values, dtype=dtype))


def chosen(answered: Answered, *more: Any) -> list[int]:
    made = outputs(answered, *more)
    shares = torch.softmax(made, 1)
    assert ((shares == 0) | (shares == 1)).all(), "a label says nothing of any other class"
    return list(made.argmax(1).tolist())


def test_probabilities_come_back_and_zeros_stay_zero() -> None:
    back = probabilities(SHARES)
    np.testing.assert_allclose(back, SHARES, atol=1e-6)
    assert (back[SHARES == 0] == 0).all()
    assert read(Answered(scores=SHARES)).meaning == "probabilities"


def test_tiny_probabilities_are_finite_and_in_order() -> None:
    scores = np.array([[1.0, 1e-30, 1e-50]])
    made = outputs(Answered(scores=scores))
    assert torch.isfinite(made).all()
    assert made[0, 0] > made[0, 1] > made[0, 2] > NEVER


def test_probabilities_summed_in_single_precision_are_no_logits() -> None:
    """A forest of float32 may say 1.0000001, and -1e-8 where a difference was taken."""
    scores = np.array([[1.0000001, -1e-8, 0.0], [0.3, 0.3, 0.4]], dtype=np.float32)
    assert read(Answered(scores=scores)).meaning == "probabilities"
    np.testing.assert_allclose(probabilities(scores), scores, atol=1e-6)


def test_logits_are_left_as_they_are() -> None:
    scores = np.array([[3.0, -1.0, 0.5]])
    assert read(Answered(scores=scores)).meaning == "logits"
    assert outputs(Answered(scores=scores)).tolist() == scores.tolist()


def test_logits_within_one_are_what_the_owner_says() -> None:
    scores = np.array([[0.1, 0.9, 0.5]])
    assert outputs(Answered(scores=scores), ABC, "logits").tolist() == pytest.approx(
        np.float32(scores)
    )


@pytest.mark.parametrize(
    ("scores", "data"),
    [
        (100 * SHARES, ABC),
        (np.round(100 * SHARES), ABC),
        (np.array([[7.0, 2.0, 1.0], [0.0, 10.0, 0.0]]), ABC),
        (np.array([[620.0], [710.0]]), AB),
        (np.array([[62.5], [0.0]]), AB),
    ],
)
def test_percentages_and_points_are_not_taken_for_logits(scores: Any, data: Card) -> None:
    answered = Answered(scores=scores)
    with pytest.raises(UserError):
        read(answered, data)
    assert read(answered, data, "logits").meaning == "logits"


def test_logits_that_are_never_negative_are_logits() -> None:
    assert read(Answered(scores=np.array([[3.0, 0.0, 0.5], [0.0, 1.0, 9.0]]))).meaning == "logits"


def test_one_column_is_the_second_of_two_classes() -> None:
    np.testing.assert_allclose(
        probabilities([[0.2], [1.0], [0.0]], AB), [[0.8, 0.2], [0, 1], [1, 0]], atol=1e-6
    )
    odds = np.array([[-2.0], [3.0]])
    made = torch.softmax(outputs(Answered(scores=odds), AB), 1)[:, 1].numpy()
    np.testing.assert_allclose(made, 1 / (1 + np.exp(-odds[:, 0])), atol=1e-6)


def test_one_column_follows_the_models_own_order() -> None:
    np.testing.assert_allclose(
        probabilities([[0.2]], AB, "auto", "b", "a"), [[0.2, 0.8]], atol=1e-6
    )


@pytest.mark.parametrize("order", [("c", "a", "b"), ("2", "0", "1")])
def test_columns_are_put_in_the_cards_order(order: tuple[str, ...]) -> None:
    back = probabilities(SHARES, ABC, "auto", *order)
    np.testing.assert_allclose(back, SHARES[:, [1, 2, 0]], atol=1e-6)


@pytest.mark.parametrize(
    "answered",
    [
        labels("b", "a", "c", "a"),
        labels(b"b", b"a", b"c", b"a").labels.astype(str),  # type: ignore[union-attr]
        labels(1, 0, 2, 0),
        labels(1, 0, 2, 0, dtype=np.uint8),
        labels(1.0, 0.0, 2.0, 0.0),
        labels("1", "0", "2", "0"),
    ],
)
def test_labels_of_any_type_mean_a_class(answered: Any) -> None:
    answered = answered if isinstance(answered, Answered) else Answered(labels=answered)
    assert chosen(answered) == [1, 0, 2, 0]


def test_truth_values_mean_classes() -> None:
    assert chosen(labels(True, False), card("False", "True")) == [1, 0]
    assert chosen(labels(True, False), card("no", "yes")) == [1, 0]
    assert chosen(labels(True, False), card("true", "false")) == [0, 1]


def test_numbered_labels_follow_the_order_that_the_owner_names() -> None:
    """The label 0 of a model whose classes are [c, a, b] is c, as its first score is."""
    assert chosen(labels(0, 1, 2), ABC, "auto", "c", "a", "b") == [2, 0, 1]
    assert chosen(labels("c", "a"), ABC, "auto", "c", "a", "b") == [2, 0]


def test_labels_under_other_names_are_those_that_the_owner_names() -> None:
    data = card("no", "yes")
    with pytest.raises(UserError):
        read(labels("N", "Y"), data)
    assert chosen(labels("N", "Y", "N"), data, "auto", "N", "Y") == [0, 1, 0]
    assert chosen(labels("N", "Y", "N"), data, "auto", "Y", "N") == [1, 0, 1]
    assert chosen(labels(1, 0), data, "auto", "1", "0") == [0, 1]
    assert chosen(labels("a", "b", "d"), ABC, "auto", "a", "b", "d") == [0, 1, 2]
    for wrong in (("N", "N"), ("yes", "N"), ("N", "no")):
        with pytest.raises(UserError):
            read(labels("no"), data, "auto", *wrong)
    with pytest.raises(UserError):  # The model's own names say nothing of the card's.
        read_as(labels("N"), data, "classification", "auto", (), ("N", "Y"))


def test_how_labels_are_called_is_settled_once() -> None:
    """Of classes "1" and "2" that a model calls 0 and 1, the label 1 means the second."""
    data = card("1", "2")
    reading = read(labels(0, 1, 1), data)
    assert reading.outputs(labels(1)).argmax(1).tolist() == [1]
    named = read(labels(1, 2, 1), data)
    assert named.outputs(labels(1)).argmax(1).tolist() == [0]
    with pytest.raises(UserError):
        named.outputs(labels(0))


def test_labels_beside_scores_are_read_where_labels_are_meant() -> None:
    both = Answered(scores=SHARES, labels=np.array(["a", "b", "c"]))
    assert chosen(both, ABC, "labels") == [0, 1, 2]
    assert read(both).meaning == "probabilities"
    assert read(Answered(scores=SHARES), ABC, "labels").meaning == "probabilities"


@pytest.mark.parametrize(
    ("answered", "meant", "classes"),
    [
        (Answered(scores=SHARES[:, :2]), "auto", ()),
        (Answered(scores=SHARES[:, :1]), "auto", ()),
        (Answered(scores=SHARES), "auto", ("a", "b")),
        (Answered(scores=SHARES), "auto", ("a", "b", "d")),
        (Answered(scores=SHARES), "auto", ("a", "b", "b")),
        (Answered(scores=SHARES * np.nan), "auto", ()),
        (Answered(scores=np.full((1, 3), np.inf)), "auto", ()),
        (labels("a", "z"), "auto", ()),
        (labels(0, 3), "auto", ()),
        (labels("a", "b"), "probabilities", ()),
    ],
)
def test_what_does_not_fit_is_refused(answered: Answered, meant: Any, classes: Any) -> None:
    with pytest.raises(UserError):
        read(answered, ABC, meant, *classes)


def test_nan_among_later_answers_is_refused() -> None:
    reading = read(Answered(scores=SHARES))
    with pytest.raises(UserError):
        reading.outputs(Answered(scores=np.array([[np.nan, 0.5, 0.5]])))
    with pytest.raises(UserError):
        reading.outputs(labels("a"))


def test_classes_that_are_left_out_have_no_share_and_an_unknown_logit() -> None:
    shares = Answered(scores=np.array([[1.0, np.nan], [0.2, 0.8]]), classes=("a", "b"))
    made = torch.softmax(outputs(shares, AB), 1)
    torch.testing.assert_close(made, torch.tensor([[1.0, 0.0], [0.2, 0.8]]))
    logits = dataclasses.replace(shares, scores=np.array([[5.0, np.nan], [2.0, -1.0]]))
    with pytest.raises(UserError):
        read(logits, AB)
    with pytest.raises(UserError):
        read(shares, AB, "logits")
    with pytest.raises(UserError):
        read(dataclasses.replace(shares, classes=()), AB)


def test_gradients_of_probabilities_are_finite() -> None:
    reading = read(Answered(scores=SHARES))
    scores = torch.tensor(SHARES, dtype=torch.float32, requires_grad=True)
    reading.differentiable(scores).logsumexp(1).sum().backward()
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()


def regression(power: float = 1.0) -> Card:
    return dataclasses.replace(
        table_card(),
        class_names=(),
        tasks=("regression",),
        outcome=Outcome("price", "CHF", 30.0, 4.0, power),
    )


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_numbers_are_standardised_as_the_outcome_is(power: float) -> None:
    data = regression(power)
    assert data.outcome is not None
    known = torch.tensor([-1.0, 0.0, 2.5])
    natural = data.outcome.natural(known).numpy()
    for answered in (Answered(scores=natural[:, None]), Answered(labels=natural)):
        reading = read_as(answered, data, "regression", "auto", ())
        assert reading.outputs(answered)[:, 0].tolist() == pytest.approx(known.tolist())
    whole = Answered(labels=np.array([30, 34]))
    made = read_as(whole, regression(), "regression", "auto", ()).outputs(whole)
    assert made[:, 0].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    "answered", [Answered(scores=SHARES), labels("much"), Answered(scores=np.full((2, 1), np.nan))]
)
def test_what_is_no_number_of_each_record_is_refused_at_once(answered: Answered) -> None:
    with pytest.raises(UserError):
        read_as(answered, regression(), "regression", "auto", ())
