"""A low-rank feature filter before the head."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.contract import Network, TrainingContext, TrainingDefense
from bench.models.cnn import Cnn
from bench.models.fitting import predict
from bench.models.mlp import Mlp
from bench.models.softmax import Softmax
from bench.models.training import Loop, restore, train
from defenses.dropout import Dropout
from defenses.loft import Loft
from tests.models.records import images, table

MODEL = Mlp(hidden=(16,), epochs=30, lr=0.01)


def context() -> TrainingContext:
    splits = images()
    loop = Loop(MODEL, splits.card, "classification", "cpu")
    return TrainingContext(splits.card, "classification", splits.public, loop, 0, "cpu")


def singular(network: Network, x: torch.Tensor) -> torch.Tensor:
    logits = network.eval()(x).detach()
    return torch.linalg.svdvals((logits - logits.mean(0)).double())


def test_without_a_rank_it_is_no_defense_bit_for_bit() -> None:
    plain, _ = train(MODEL, [], table(), 0, "cpu")
    same, _ = train(MODEL, [Loft(rank=None)], table(), 0, "cpu")
    for a, b in zip(plain.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("activation", ["tanh", "none"])
def test_answers_to_many_records_have_the_rank(activation: str) -> None:
    many = Mlp(hidden=(64,), epochs=1)
    pictures = images()
    network, _ = train(many, [], pictures, 0, "cpu")
    wide = Network(network.blocks, nn.Linear(64, 12))
    filtered = Loft(rank=3, activation=activation).adapt(wide, context())
    x = torch.rand(200, *pictures.train.x.shape[1:])
    found = singular(filtered, x)
    assert float(found[3]) < 1e-4 * float(found[2])
    squashed = float(filtered.features(100 * x).detach().abs().max())
    assert (squashed <= 1.0) == (activation == "tanh")


@pytest.mark.parametrize(
    "layers", [[Loft(rank=8)], [Loft(rank=8), Dropout()], [Dropout(), Loft(rank=8)]]
)
def test_it_is_one_more_block_under_a_linear_head(layers: list[TrainingDefense]) -> None:
    network, _ = train(MODEL, layers, table(), 0, "cpu")
    assert len(network.blocks) == 2 and type(network.head) is nn.Linear
    assert network.head.in_features == 8
    again = restore(MODEL, layers, table(), 0, network.state_dict(), "cpu")
    x = table().test.x
    assert torch.equal(predict(again, x), predict(network, x))
    right = predict(network, x).argmax(1) == table().test.y
    assert float(right.float().mean()) > 0.75


@pytest.mark.parametrize("model", [Cnn(channels=(8,), epochs=1), Softmax(epochs=1)])
def test_it_stands_before_any_linear_head(model: Cnn | Softmax) -> None:
    network, _ = train(model, [Loft(rank=2)], images(), 0, "cpu")
    assert network.head.in_features == 2


def test_a_saturated_filter_lets_little_gradient_through() -> None:
    pictures = images()
    x = pictures.train.x[:8].clone().requires_grad_()
    slopes = []
    for activation in ("tanh", "none"):
        wide = Network(nn.Sequential(nn.Flatten()), nn.Linear(x[0].numel(), 2))
        network = Loft(rank=2, activation=activation).adapt(wide, context())
        with torch.no_grad():
            for parameter in network.blocks[-1].parameters():
                parameter.mul_(100)
        (slope,) = torch.autograd.grad(network(x).sum(), x)
        slopes.append(float(slope.norm()))
    assert slopes[0] < 0.01 * slopes[1]
