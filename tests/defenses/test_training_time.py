"""Dropout, weight decay and freezing."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from bench.contract import Network, UserError, seed
from bench.models.mlp import Mlp
from bench.models.softmax import Softmax
from bench.models.training import train
from defenses.dropout import Dropout
from defenses.freezing import Freezing
from defenses.weight_decay import WeightDecay
from tests.models.records import images, table

MODEL = Mlp(hidden=(16, 8), epochs=3)


def dropouts(network: Network) -> list[nn.Dropout]:
    return [m for m in network.modules() if isinstance(m, nn.Dropout)]


def test_dropout_follows_each_block_and_keeps_the_names() -> None:
    plain, _ = train(MODEL, [], table(), 0, "cpu")
    dropped, _ = train(MODEL, [Dropout(rate=0.4)], table(), 0, "cpu")
    assert list(plain.state_dict()) == list(dropped.state_dict())
    assert len(dropped.blocks) == 2 and [m.p for m in dropouts(dropped)] == [0.4, 0.4]
    assert all(isinstance(list(block.children())[-1], nn.Dropout) for block in dropped.blocks)
    x = table().test.x
    assert torch.equal(dropped(x), dropped(x)), "the released network must not drop"


def test_dropout_acts_on_the_input_where_there_is_no_block() -> None:
    network, _ = train(Softmax(epochs=1), [Dropout(rate=0.4)], table(), 0, "cpu")
    assert len(dropouts(network)) == 1
    network.train()
    features = network.features(torch.ones(400, 6))
    assert float((features == 0).float().mean()) == pytest.approx(0.4, abs=0.05)


def test_weight_decay_is_the_l2_penalty() -> None:
    # One full-batch SGD step from the same start: the difference is lr * strength * w.
    splits = table(n=16)
    model = Softmax(epochs=1, batch_size=16, optimizer="sgd", lr=0.1)
    plain, _ = train(model, [], splits, 0, "cpu")
    decayed, _ = train(model, [WeightDecay(strength=0.5)], splits, 0, "cpu")
    start = model.build((6,), 2, seed(0, part="init"))
    torch.testing.assert_close(
        (plain.head.weight - decayed.head.weight).detach(),
        (0.1 * 0.5 * start.head.weight).detach(),
    )


def test_more_weight_decay_means_smaller_weights() -> None:
    norms = [
        train(MODEL, [WeightDecay(strength=s)], table(), 0, "cpu")[0].head.weight.norm().item()
        for s in (0.0, 0.1, 1.0)
    ]
    assert norms[0] > norms[1] > norms[2]


def test_weight_decays_of_a_stack_add_up() -> None:
    recipe = WeightDecay(strength=0.2).recipe(WeightDecay(strength=0.1).recipe(MODEL.recipe))
    assert recipe.weight_decay == pytest.approx(0.3)


def test_frozen_blocks_never_see_a_private_record() -> None:
    splits = images()
    other = dataclasses.replace(splits, train=images(seed=1).train)
    defense = [Freezing(layers=1, epochs=1)]
    a, report = train(MODEL, defense, splits, 0, "cpu")
    b, _ = train(MODEL, defense, other, 0, "cpu")
    assert report.public_records == len(splits.public)
    assert torch.equal(a.blocks[0][1].weight, b.blocks[0][1].weight)  # type: ignore[index,union-attr]
    assert not torch.equal(a.blocks[1][0].weight, b.blocks[1][0].weight)  # type: ignore[index,union-attr]
    assert not torch.equal(a.head.weight, b.head.weight)


def test_all_blocks_frozen_is_a_linear_probe_and_none_frozen_is_fine_tuning() -> None:
    splits = images()
    start, _ = train(
        dataclasses.replace(MODEL, lr=1e-30), [Freezing(layers=0, epochs=1)], splits, 0, "cpu"
    )
    probe, _ = train(MODEL, [Freezing(layers=2, epochs=1)], splits, 0, "cpu")
    tuned, _ = train(MODEL, [Freezing(layers=0, epochs=1)], splits, 0, "cpu")
    for a, b, c in zip(
        start.blocks.parameters(), probe.blocks.parameters(), tuned.blocks.parameters(), strict=True
    ):
        torch.testing.assert_close(a, b)
        assert not torch.equal(b, c)


def test_freezing_and_dropout_stack_in_either_order() -> None:
    splits = images()
    layers = [Freezing(layers=1, epochs=1), Dropout(rate=0.2)]
    one, _ = train(MODEL, layers, splits, 0, "cpu")
    two, _ = train(MODEL, layers[::-1], splits, 0, "cpu")
    assert torch.equal(one.head.weight, two.head.weight)


def test_freezing_refuses_what_it_cannot_do() -> None:
    splits = images()
    with pytest.raises(UserError, match="has 2 blocks; give at most 2"):
        train(MODEL, [Freezing(layers=3)], splits, 0, "cpu")
    with pytest.raises(UserError, match="needs blocks"):
        train(Softmax(), [Freezing()], splits, 0, "cpu")
    alike = dataclasses.replace(splits.public, y=torch.zeros_like(splits.public.y))
    with pytest.raises(UserError, match="two classes or more"):
        train(MODEL, [Freezing()], dataclasses.replace(splits, public=alike), 0, "cpu")
