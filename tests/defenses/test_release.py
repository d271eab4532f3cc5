"""Answers that are sanitized: label, rows and batches stay what they were."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import Query, ReleaseDefense, UserError, generator
from defenses.label_only import LabelOnly
from defenses.rounding import Rounding
from defenses.top_k import TopK

ASKED = Query(torch.zeros(1, 1), generator(0))

DEFENSES: list[ReleaseDefense] = [
    TopK(),
    TopK(k=2),
    TopK(k=2, renormalise=True),
    *(Rounding(decimals=d) for d in (0, 1, 2, 5)),
    *(Rounding(decimals=None, step=s) for s in (0.5, 1 / 3, 0.05, 0.005)),
    LabelOnly(),
]


@st.composite
def rows(draw: st.DrawFn) -> torch.Tensor:
    """Score rows with ties, near ties, and many classes of small probability."""
    n_classes = draw(st.integers(2, 40))
    rng = generator(draw(st.integers(0, 10_000)))
    scale = draw(st.sampled_from([0.0, 0.01, 1.0, 5.0, 100.0]))
    logits = torch.randn(9, n_classes, generator=rng) * scale
    if draw(st.booleans()):
        logits = logits.round()
    return logits.softmax(1)


@pytest.mark.parametrize("defense", DEFENSES)
@settings(max_examples=60, deadline=None)
@given(scores=rows())
def test_the_label_of_every_row_is_kept(defense: ReleaseDefense, scores: torch.Tensor) -> None:
    released = defense.release(scores, ASKED)
    assert released.shape == scores.shape and released.dtype == scores.dtype
    assert torch.equal(released.argmax(1), scores.argmax(1))
    assert bool(torch.isfinite(released).all())
    assert float(released.min()) >= 0.0 and float(released.max()) <= 1.0 + 1e-6


@pytest.mark.parametrize("defense", DEFENSES)
def test_a_row_is_answered_alike_in_any_batch(defense: ReleaseDefense) -> None:
    scores = torch.randn(17, 5, generator=generator(0)).softmax(1)
    kept = scores.clone()
    together = defense.release(scores, ASKED)
    assert torch.equal(scores, kept), "the model's own scores must not be changed in place"
    alone = torch.cat([defense.release(row[None], ASKED) for row in scores])
    # A processor may round the last row of a batch otherwise than one that comes alone.
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0.0)


def test_label_only_is_one_hot_per_row() -> None:
    released = LabelOnly().release(
        torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]]), ASKED
    )
    assert released.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_label_only_leaves_labels_to_whoever_had_scores() -> None:
    defense = LabelOnly()
    assert defense.offered("scores") == "labels"
    assert defense.offered("labels") == "labels"
    assert defense.offered("none") == "none"
    assert defense.offered("weights") == "weights"  # it cannot take back the weights
    assert defense.covers == {"scores"}


def test_top_k_keeps_the_k_largest_as_they_were() -> None:
    scores = torch.tensor([[0.1, 0.4, 0.3, 0.2]])
    assert torch.equal(TopK(k=2).release(scores, ASKED), torch.tensor([[0.0, 0.4, 0.3, 0.0]]))
    renormalised = TopK(k=2, renormalise=True).release(scores, ASKED)
    torch.testing.assert_close(renormalised, torch.tensor([[0.0, 4 / 7, 3 / 7, 0.0]]))
    assert TopK(k=1, renormalise=True).release(scores, ASKED).tolist() == [[0, 1, 0, 0]]


def test_top_k_keeps_exactly_k_of_tied_scores() -> None:
    assert TopK(k=2).release(torch.full((1, 4), 0.25), ASKED).tolist() == [[0.25, 0.25, 0, 0]]


def test_top_k_refuses_more_than_the_classes() -> None:
    with pytest.raises(UserError, match="has 2 classes; give at most 2"):
        TopK(k=3).check_classes(2)
    with pytest.raises(UserError, match="has 2 classes"):
        TopK(k=3).release(torch.full((1, 2), 0.5), ASKED)
    TopK(k=2).check_classes(2)
    TopK(k=None).check_classes(2)


def test_rounding_rounds() -> None:
    scores = torch.tensor([[0.123, 0.456, 0.421]])
    torch.testing.assert_close(
        Rounding(decimals=2).release(scores, ASKED), torch.tensor([[0.12, 0.46, 0.42]])
    )
    torch.testing.assert_close(
        Rounding(decimals=1).release(scores, ASKED), torch.tensor([[0.1, 0.5, 0.4]])
    )


def test_rounding_to_a_step_answers_multiples_of_it() -> None:
    scores = torch.softmax(3 * torch.randn(200, 5, generator=torch.Generator().manual_seed(0)), 1)
    released = Rounding(decimals=None, step=0.05).release(scores, ASKED)
    assert torch.equal(released, (released / 0.05).round().double().div(20).float())
    label = scores.argmax(1, keepdim=True)
    moved = (released - scores).scatter(1, label, 0.0)
    assert moved.abs().max() <= 0.025 + 1e-6, "only the label may be lifted"
    assert released.max() <= 1 and torch.equal(released.argmax(1), label[:, 0])
    tenths = Rounding(decimals=None, step=0.1).release(scores, ASKED)
    torch.testing.assert_close(tenths, Rounding(decimals=1).release(scores, ASKED))
    tied = torch.tensor([[0.26, 0.24, 0.25, 0.25]])
    named = Rounding(decimals=None, step=0.25).release(tied, ASKED)
    assert named.tolist() == [[0.5, 0.25, 0.25, 0.25]]


def test_a_step_is_given_alone_and_divides_one() -> None:
    with pytest.raises(UserError, match="both decimals and step are given"):
        Rounding(step=0.05)
    with pytest.raises(UserError, match=r"step is 0\.3, of which no whole number makes 1"):
        Rounding(decimals=None, step=0.3)


def test_rounding_names_the_label_where_the_digits_do_not() -> None:
    tied = torch.tensor([[0.34, 0.31, 0.35]])  # 0.3, 0.3, 0.3 or 0.4 by the last bit
    assert Rounding(decimals=0).release(tied, ASKED).tolist() == [[0, 0, 1]]
    many = torch.full((1, 30), 0.033)
    many[0, 17] = 0.043
    released = Rounding(decimals=1).release(many, ASKED)
    assert released[0, 17] == pytest.approx(0.1) and released.sum() == released[0, 17]
