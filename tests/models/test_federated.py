"""One round of federated clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.contract import Federation, Network, TrainingDefense, UserError, Weights, generator
from bench.models.cnn import Cnn
from bench.models.federated import updates
from bench.models.mlp import Mlp
from defenses.dropout import Dropout
from tests.models.records import images

SPLITS = images()
X, Y = SPLITS.train.x[::4], SPLITS.train.y[::4]  # eight records of four people


@dataclass(frozen=True)
class Noisy(TrainingDefense):
    scale: float = 1.0

    def share(self, update: Mapping[str, Tensor], rng: torch.Generator) -> Mapping[str, Tensor]:
        return {
            k: v + self.scale * torch.randn(v.shape, generator=rng, device=rng.device)
            for k, v in update.items()
        }


@dataclass(frozen=True)
class Doubling(TrainingDefense):
    def share(self, update: Mapping[str, Tensor], rng: torch.Generator) -> Mapping[str, Tensor]:
        return {k: 2 * v for k, v in update.items()}


def network() -> Network:
    return Cnn(channels=(8,), groups=4).build((1, 16, 16), 4, 0)


def run(net: Network, federation: Federation, *layers: TrainingDefense, seed: int = 0):
    return updates(net, layers, X, Y, federation, "classification", generator(seed), "cpu")


@pytest.mark.parametrize("batch", [1, 4])
def test_one_local_step_is_the_gradient(batch: int) -> None:
    net = network()
    found = run(net, Federation(batch_size=batch, records=8))
    for client in range(8 // batch):
        rows = slice(client * batch, (client + 1) * batch)
        grads = torch.autograd.grad(cross_entropy(net(X[rows]), Y[rows]), list(net.parameters()))
        for (name, _), grad in zip(net.named_parameters(), grads, strict=True):
            torch.testing.assert_close(found[name][client], grad)


def test_several_local_steps_are_the_distance_travelled() -> None:
    net = network()
    federation = Federation(batch_size=2, local_steps=3, local_lr=0.5, records=8)
    found = run(net, federation)
    for client in range(4):
        local = network()
        optimizer = torch.optim.SGD(local.parameters(), lr=0.5)
        rows = slice(2 * client, 2 * client + 2)
        for _ in range(3):
            optimizer.zero_grad()
            cross_entropy(local(X[rows]), Y[rows]).backward()
            optimizer.step()
        for (name, before), after in zip(net.named_parameters(), local.parameters(), strict=True):
            wanted = (before - after) / 0.5
            torch.testing.assert_close(found[name][client], wanted, atol=1e-5, rtol=1e-4)


def test_frozen_parameters_are_not_shared_and_the_network_is_left_alone() -> None:
    net = network().eval()
    net.blocks.requires_grad_(False)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = torch.get_rng_state()
    found = run(net, Federation(records=8))
    assert set(found) == {"head.weight", "head.bias"} and not net.training
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())
    assert torch.equal(state, torch.get_rng_state())


def test_defenses_act_in_order_and_draw_for_every_client_and_round() -> None:
    net, federation = network(), Federation(records=8)
    plain = run(net, federation)["head.bias"]
    one = run(net, federation, Noisy(), Doubling())["head.bias"]
    other = run(net, federation, Doubling(), Noisy())["head.bias"]
    torch.testing.assert_close(one - 2 * plain, 2 * (other - 2 * plain))
    noise = other - 2 * plain
    assert len(torch.unique(noise)) == noise.numel()
    again = run(net, federation, Doubling(), Noisy())["head.bias"]
    fresh = run(net, federation, Doubling(), Noisy(), seed=1)["head.bias"]
    assert torch.equal(other, again) and not torch.equal(other, fresh)


def test_dropout_acts_on_every_record_and_follows_the_seed() -> None:
    net = Mlp(hidden=(64,)).build((1, 16, 16), 4, 0)
    net = Dropout(rate=0.5).adapt(net, None)  # type: ignore[arg-type]
    same = X[:1].expand(8, -1, -1, -1)
    label = Y[:1].expand(8)

    def shared(seed: int) -> Tensor:
        found = updates(
            net, [], same, label, Federation(records=8), "classification", generator(seed), "cpu"
        )
        return found["blocks.0.1.bias"]

    dropped = shared(0) == 0
    assert len(torch.unique(dropped, dim=0)) == 8, "every client draws its own mask"
    assert torch.equal(shared(0), shared(0)) and not torch.equal(shared(0), shared(1))


# ---------------------------------------------------------------- a malicious server
def sent_to(net: Network, federation: Federation, *sent: Weights):
    return updates(net, [], X, Y, federation, "classification", generator(0), "cpu", sent)


@pytest.mark.parametrize("steps", [1, 3])
def test_clients_train_at_the_weights_that_they_are_sent(steps: int) -> None:
    federation = Federation(batch_size=2, local_steps=steps, records=8)
    net, other = network(), Cnn(channels=(8,), groups=4).build((1, 16, 16), 4, 1)
    weights = {k: p.detach() for k, p in other.named_parameters()}
    before = {k: v.clone() for k, v in net.state_dict().items()}
    found, wanted = sent_to(net, federation, weights), run(other, federation)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    # What is not sent keeps its global value.
    for name, value in sent_to(net, federation, {}).items():
        torch.testing.assert_close(value, run(net, federation)[name])


def test_places_of_a_group_may_be_sent_different_weights() -> None:
    net, single = network(), Federation(batch_size=2, records=8)
    group = single.aggregate(2)
    zero = {"head.weight": torch.zeros_like(net.head.weight)}
    found = sent_to(net, group, {}, zero)
    alone, silent = run(net, single), sent_to(net, single, zero)
    for name, value in alone.items():
        mixed = torch.stack([value[0::2], silent[name][1::2]]).mean(0)
        torch.testing.assert_close(found[name], mixed)
    assert not bool(silent["blocks.0.0.weight"].any()), "a head of zeros silences what is before it"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("head.wight", torch.zeros(4, 8), "no trained parameter"),
        ("blocks.0.0.weight", torch.zeros(8, 1, 3, 3), "no trained parameter"),
        ("head.bias", torch.zeros(5), "shape"),
        ("head.bias", torch.full((4,), torch.nan), "finite"),
    ],
)
def test_what_clients_cannot_load_is_refused(name: str, value: Tensor, message: str) -> None:
    net = network()
    net.blocks[0].requires_grad_(False)
    with pytest.raises(UserError, match=message):
        sent_to(net, Federation(records=8), {name: value})
    with pytest.raises(UserError, match="3 models"):
        sent_to(net, Federation(records=8), {}, {}, {})
