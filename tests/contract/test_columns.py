"""The layout of tables and baskets."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from bench.contract import Card, Column, UserError, generator
from bench.contract.columns import Layout

FIELDS = (
    Column("n", "number", (0, 1)),
    Column("c", "category", (1, 4), ("x", "y", "z")),
    Column("e", "category", (4, 6), ("p", "q")),
    Column("f", "category", (6, 7), ("yes",)),
    Column("m", "number", (7, 8)),
)
CARD = Card("t", "credit", "table", (8,), ("a", "b"), "record", "", "", True, fields=FIELDS)
PUBLIC = torch.tensor(
    [
        [-1.0, 1, 0, 0, 1, 0, 1, 0.0],
        [1.0, 0, 0, 1, 0, 1, 0, 10.0],
        [0.5, 0, 1, 0, 0, 1, 0, 5.0],
    ]
)


def test_columns_are_read_off_the_card() -> None:
    layout = Layout.of(CARD, PUBLIC)
    assert layout.index.tolist() == [[1, 2, 3], [4, 5, 8]]
    assert (layout.flags.tolist(), layout.numbers.tolist()) == ([6], [0, 7])
    assert (layout.discrete, layout.size) == (3, 5)
    assert (layout.low.tolist(), layout.high.tolist()) == ([-1.0, 0.0], [1.0, 10.0])


def test_columns_without_a_field_are_flags_or_numbers() -> None:
    layout = Layout.of(dataclasses.replace(CARD, fields=()), PUBLIC)
    assert layout.flags.tolist() == [1, 2, 3, 4, 5, 6] and layout.numbers.tolist() == [0, 7]
    baskets = dataclasses.replace(CARD, modality="basket", fields=(), shape=(4,))
    assert Layout.of(baskets, PUBLIC[:, 1:5]).flags.tolist() == [0, 1, 2, 3]
    with pytest.raises(UserError, match="holds pictures"):
        Layout.of(dataclasses.replace(CARD, modality="image"), PUBLIC)


def test_valid_records_stay_and_others_become_valid() -> None:
    layout = Layout.of(CARD, PUBLIC)
    assert torch.equal(layout.project(PUBLIC), PUBLIC)
    x = torch.randn(4, 3, 8, generator=generator(0))
    valid = layout.project(x)
    assert torch.equal(valid[..., 1:4].sum(-1), torch.ones(4, 3))
    assert torch.equal(valid[..., [0, 7]], x[..., [0, 7]])
    assert set(valid[..., 6].unique().tolist()) <= {0.0, 1.0}


def test_join_undoes_the_split() -> None:
    layout = Layout.of(CARD, PUBLIC)
    x = torch.randn(5, 8, generator=generator(1))
    again = layout.join(layout.grouped(x), x[:, layout.flags], x[:, layout.numbers])
    assert torch.equal(again, x)


def test_a_number_is_right_within_the_tolerance() -> None:
    layout = Layout.of(CARD, PUBLIC)
    guess = PUBLIC.clone()
    guess[:, 0] += 0.3 * layout.scale[0]
    guess[:, 7] += 0.4 * layout.scale[1]
    guess[0, 6] = 0.0
    assert layout.right(guess, PUBLIC, 0.35).tolist() == [
        [True, True, False, True, False],
        [True, True, True, True, False],
        [True, True, True, True, False],
    ]


def test_gower_is_the_mean_over_columns() -> None:
    layout = Layout.of(CARD, PUBLIC)
    distance = layout.gower(PUBLIC, PUBLIC)
    assert distance.diagonal().tolist() == [0.0, 0.0, 0.0]
    # two categories, the flag and both numbers are as far apart as can be
    assert distance[0, 1] == pytest.approx(1.0)
    # c differs, e and f agree, the numbers by .5 / 2 and 5 / 10
    assert distance[1, 2] == pytest.approx((1 + 0.25 + 0.5) / 5)
    far = PUBLIC[:1].clone()
    far[0, 0] = 1e6
    assert layout.gower(far, PUBLIC)[0, 0] == pytest.approx(1 / 5)
