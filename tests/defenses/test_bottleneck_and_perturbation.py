"""The information bottleneck, and training on perturbed records."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from bench.contract import Network, Step, TrainingDefense, generator
from bench.models.cnn import Cnn
from bench.models.fitting import predict
from bench.models.mlp import Mlp
from bench.models.softmax import Softmax
from bench.models.training import restore, train
from defenses.adversarial_training import AdversarialTraining
from defenses.anti_adversarial import AntiAdversarial
from defenses.common.perturbation import perturbed
from defenses.dropout import Dropout
from defenses.mid import Bottleneck, Mid
from tests.models.records import images, numbers, table

MODEL = Mlp(hidden=(16,), epochs=30, lr=0.01)


def bottleneck(network: Network) -> Bottleneck:
    return next(m for m in network.modules() if isinstance(m, Bottleneck))


def linear(weight: Tensor) -> Network:
    network = Network(nn.Sequential(nn.Flatten()), nn.Linear(weight.shape[1], weight.shape[0]))
    with torch.no_grad():
        network.head.weight.copy_(weight)
        network.head.bias.zero_()
    return network


def step(n_classes: int = 2, seed: int = 0) -> Step:
    return Step(0.0, n_classes, generator(seed))


# ---------------------------------------------------------------- bottleneck
def test_the_penalty_is_the_divergence_of_two_normal_distributions() -> None:
    network, _ = train(MODEL, [Mid()], table(), 0, "cpu")
    x = table().train.x[:20]
    hidden, outputs = network.trace(x)
    mu, s = bottleneck(network).statistics(hidden[0]).chunk(2, dim=1)
    sigma = nn.functional.softplus(s - 5)
    normal = torch.distributions.Normal
    exact = torch.distributions.kl_divergence(normal(mu, sigma), normal(0.0, 1.0)).sum(1).mean()
    result = Mid(beta=0.5).penalty(network, x, torch.zeros(20), hidden, outputs, step())
    torch.testing.assert_close(result, 0.5 * exact)


@pytest.mark.parametrize("layers", [[Mid()], [Mid(), Dropout()], [Dropout(), Mid()]])
def test_the_code_is_one_more_block_under_a_linear_head(layers: list[TrainingDefense]) -> None:
    network, _ = train(MODEL, layers, table(), 0, "cpu")
    assert len(network.blocks) == 2 and type(network.head) is nn.Linear
    assert network.head.in_features == 8
    again = restore(MODEL, layers, table(), 0, network.state_dict(), "cpu")
    x = table().test.x
    assert torch.equal(predict(again, x), predict(network, x))
    right = predict(network, x).argmax(1) == table().test.y
    assert float(right.float().mean()) > 0.75


def test_more_beta_leaves_less_in_the_code() -> None:
    x = table().train.x
    spent = []
    for beta in (0.001, 0.03, 10.0):
        network, _ = train(MODEL, [Mid(beta)], table(), 0, "cpu")
        hidden, outputs = network.trace(x)
        bits = Mid(1.0).penalty(network, x, torch.zeros(96), hidden, outputs, step())
        spent.append(bits.item())
    assert spent[0] > spent[1] > 2 * spent[2]


def test_codes_are_drawn_in_training_and_on_demand_in_evaluation() -> None:
    x = table().test.x
    still, _ = train(MODEL, [Mid(0.1)], table(), 0, "cpu")
    lively, _ = train(MODEL, [Mid(0.1, sample=True)], table(), 0, "cpu")
    assert torch.equal(still.head.weight, lively.head.weight), "training is the same"
    assert torch.equal(predict(still, x), predict(still, x))
    twin = copy.deepcopy(lively)
    first, second = predict(lively, x), predict(lively, x)
    assert not torch.equal(first, second)
    assert torch.equal(predict(twin, x), first), "a copy answers what the original would have"
    mean = torch.stack([predict(lively, x) for _ in range(400)]).mean(0)
    torch.testing.assert_close(mean, predict(still, x), atol=0.3, rtol=0.1)


def test_it_stands_on_any_network() -> None:
    softmax, _ = train(Softmax(epochs=1), [Mid(width=3)], table(), 0, "cpu")
    assert softmax.head.in_features == 3
    cnn, _ = train(Cnn(channels=(8, 8), epochs=1), [Mid()], images(), 0, "cpu")
    assert cnn.head.in_features == 64 and cnn(images().test.x).shape == (32, 4)
    dose, _ = train(MODEL, [Mid()], numbers(), 0, "cpu")
    assert dose(numbers().test.x).shape == (96, 1)


# ---------------------------------------------------------------- perturbation
def test_of_a_linear_network_the_hardest_record_is_the_corner_of_the_box() -> None:
    weight = torch.tensor([[1.0, -2.0, 0.5], [-1.0, 1.0, 0.5]])
    x, y = torch.randn(8, 3, generator=generator(1)), torch.tensor([0, 1] * 4)
    network = linear(weight)
    result = perturbed(network, x, y, 0.1, 7, 0.1, generator(0))
    towards = (weight[1 - y] - weight[y]).sign()
    moved = result - x
    torch.testing.assert_close(moved[:, :2], 0.1 * towards[:, :2])
    assert float(moved.abs().max()) <= 0.1 + 1e-6
    assert network.head.weight.grad is None and not result.requires_grad
    easy = perturbed(network, x, y, 0.1, 7, -0.1, generator(0)) - x
    torch.testing.assert_close(easy[:, :2], -0.1 * towards[:, :2])


def test_pictures_stay_pictures() -> None:
    x = torch.rand(6, 1, 4, 4, generator=generator(0)).round()
    network = linear(torch.randn(3, 16, generator=generator(1)))
    result = perturbed(network, x, torch.arange(6) % 3, 0.2, 3, 0.1, generator(0))
    assert float(result.min()) >= 0 and float(result.max()) <= 1
    assert float((result - x).abs().max()) <= 0.2 + 1e-6


def test_a_robust_network_loses_less_and_a_brittle_one_more() -> None:
    splits = images(people=4)
    model = Mlp(hidden=(32,), epochs=60, lr=3e-3)
    layers: list[list[TrainingDefense]] = [
        [AdversarialTraining(0.3)],
        [],
        [AntiAdversarial(weight=0.5, epsilon=0.05)],
    ]
    x, y = splits.test.x, splits.test.y
    losses = []
    for stack in layers:
        network, _ = train(model, stack, splits, 1, "cpu")
        assert torch.equal(predict(network, x).argmax(1), y)
        hard = perturbed(network, x, y, 0.3, 10, 0.06, generator(0))
        losses.append(nn.functional.cross_entropy(predict(network, hard), y).item())
    assert losses[0] < 0.5 * losses[1] and losses[2] > 1.3 * losses[1]


def test_the_second_loss_is_of_another_class_the_perturbation_went_to() -> None:
    weight = torch.tensor([[1.0, -2.0], [-1.0, 1.0]])
    network, x, y = linear(weight), torch.tensor([[0.3, 0.2]]), torch.tensor([0])
    defense = AntiAdversarial(weight=0.25, epsilon=0.1, steps=4, step_size=0.1)
    result = defense.penalty(network, x, y, [], network(x), step())
    corner = x + 0.1 * (weight[1] - weight[0]).sign()
    wanted = 0.25 * nn.functional.cross_entropy(network(corner), torch.tensor([1]))
    torch.testing.assert_close(result, wanted)
    soft = torch.tensor([[0.9, 0.1]])
    torch.testing.assert_close(defense.penalty(network, x, soft, [], network(x), step()), wanted)
    result.backward()  # type: ignore[no-untyped-call]
    assert network.head.weight.grad is not None


def test_hard_records_keep_their_targets_and_nothing_is_done_at_zero() -> None:
    network, x = linear(torch.eye(3)), torch.randn(4, 3, generator=generator(0))
    y = torch.softmax(torch.randn(4, 3, generator=generator(1)), 1)
    moved, same = AdversarialTraining(0.1).augment(network, x, y, step(3))
    assert same is y and not torch.equal(moved, x)
    assert AdversarialTraining(0.0).augment(network, x, y, step(3))[0] is x


def test_every_layer_of_a_stack_acts() -> None:
    model = dataclasses.replace(MODEL, epochs=2)
    layers = [AdversarialTraining(), Mid(), AntiAdversarial(), Dropout()]
    whole, _ = train(model, layers, table(), 0, "cpu")
    for out in range(4):
        less, _ = train(model, layers[:out] + layers[out + 1 :], table(), 0, "cpu")
        first = [next(iter(n.parameters())) for n in (whole, less)]
        assert not torch.equal(*first)
