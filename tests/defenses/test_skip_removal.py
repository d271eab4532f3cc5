"""Residual networks without skip connections."""

from __future__ import annotations

import pytest
import torch

from bench.contract import UserError
from bench.models.cnn import Cnn
from bench.models.resnet import BasicBlock, ResNet
from bench.models.training import restore, train
from defenses.skip_removal import SkipRemoval
from tests.models.records import images

MODEL = ResNet(stages=(1, 2), width=4, groups=2, epochs=1)
SPLITS = images()


def blocks(network: torch.nn.Module) -> list[BasicBlock]:
    return [m for m in network.modules() if isinstance(m, BasicBlock)]


def test_no_stage_is_no_defense_bit_for_bit() -> None:
    plain, _ = train(MODEL, [], SPLITS, 0, "cpu")
    same, _ = train(MODEL, [SkipRemoval(stages=0)], SPLITS, 0, "cpu")
    for a, b in zip(plain.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_last_stage_is_its_body_alone() -> None:
    network, _ = train(MODEL, [SkipRemoval()], SPLITS, 0, "cpu")
    first, *last = blocks(network)
    assert len(last) == 2
    x = torch.rand(2, 4, 8, 8)
    torch.testing.assert_close(first(x), torch.relu(first.body(x) + first.shortcut(x)))
    torch.testing.assert_close(last[0](x), torch.relu(last[0].body(x)))
    assert not list(last[0].shortcut.parameters()), "the projection goes with it"


def test_a_scale_weakens_the_connection() -> None:
    network, _ = train(MODEL, [SkipRemoval(scale=0.25)], SPLITS, 0, "cpu")
    block = blocks(network)[-1]
    x = torch.rand(2, 8, 4, 4)
    torch.testing.assert_close(block(x), torch.relu(block.body(x) + 0.25 * x))


@pytest.mark.parametrize("layer", [SkipRemoval(stages=2), SkipRemoval(stages=2, scale=0.5)])
def test_it_is_restored_by_its_names(layer: SkipRemoval) -> None:
    network, _ = train(MODEL, [layer], SPLITS, 0, "cpu")
    again = restore(MODEL, [layer], SPLITS, 0, network.state_dict(), "cpu")
    assert torch.equal(again(SPLITS.test.x), network(SPLITS.test.x))


def test_it_refuses_what_has_no_such_stage() -> None:
    with pytest.raises(UserError, match="has 2 stages"):
        train(MODEL, [SkipRemoval(stages=3)], SPLITS, 0, "cpu")
    with pytest.raises(UserError, match="needs skips"):
        train(Cnn(channels=(8,), epochs=1), [SkipRemoval()], SPLITS, 0, "cpu")
