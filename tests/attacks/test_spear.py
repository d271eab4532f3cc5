"""Whole batches from the gradient of a ReLU layer."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from attacks.analytic_gradient import AnalyticGradient
from attacks.spear import Spear
from bench.contract import Network, generator
from defenses.clip_noise import ClipNoise
from tests.attacks import rows
from tests.attacks.clients import conv, mlp, prune, softmax, world


def exact(found: Tensor, x: Tensor, batch: int) -> int:
    """Records of which some guess for their client has every pixel right."""
    count = 0
    for guesses, records in zip(found.split(batch), x.split(batch), strict=True):
        apart = (records.flatten(1).unsqueeze(1) - guesses.flatten(1)).abs().amax(2)
        count += int((apart.amin(1) < 1e-2).sum())
    return count


@pytest.mark.parametrize(("batch", "steps"), [(2, 1), (4, 1), (8, 1), (4, 3)])
def test_every_record_of_a_batch_is_exact(batch: int, steps: int) -> None:
    attack = Spear(batch_size=batch, local_steps=steps, records=16)
    exposure, knowledge, x, _ = world(mlp(nn.ReLU, 256), attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")
    clients = 16 // batch
    assert exact(found.values, x, batch) == 16
    assert found.info["stop_reason"] == "solved" and found.info["failed"] == 0
    assert found.info["recovered"] == [batch] * clients
    assert min(found.info["score"]) > 0.98 and max(found.info["sampled"]) <= attack.samples
    assert found.labels is not None and found.labels.shape == (16,)
    if steps == 1:  # the difference of weights after several steps carries their rounding
        assert found.info["rank"] == [batch] * clients
        neurons = AnalyticGradient(batch_size=batch, records=16)
        assert exact(neurons.run(exposure, knowledge, 0, "cpu").values, x, batch) < 16


def test_one_record_is_its_own_direction() -> None:
    attack = Spear(records=6)
    exposure, knowledge, x, y = world(mlp(nn.ReLU), attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")
    torch.testing.assert_close(found.values, x, atol=1e-4, rtol=0.0)
    assert found.labels is not None and torch.equal(found.labels, y)
    assert found.info["sampled"] == [1] * 6


def test_the_seed_says_which_rows_are_sampled() -> None:
    attack = Spear(batch_size=8, records=16, samples=6000)
    exposure, knowledge, _, _ = world(mlp(nn.ReLU, 256), attack.federation)
    first, again, other = (attack.run(exposure, knowledge, seed, "cpu") for seed in (0, 0, 1))
    assert torch.equal(first.values, again.values) and first.info == again.info
    assert first.info != other.info


def test_too_few_samples_are_said() -> None:
    attack = Spear(batch_size=8, records=16, samples=20)
    exposure, knowledge, x, _ = world(mlp(nn.ReLU, 256), attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")
    assert found.info["stop_reason"] == "samples ran out" and found.info["sampled"] == [20, 20]
    torch.testing.assert_close(found.values, knowledge.public.x.mean(0).expand_as(x))


@pytest.mark.parametrize("change", ["noise", "pruning"])
def test_an_update_that_is_not_exact_gives_nothing(change: str) -> None:
    def noise(update: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return ClipNoise(noise_multiplier=0.001).share(update, generator(0))

    attack = Spear(batch_size=4, records=8, samples=5000)
    share = noise if change == "noise" else prune(0.5)
    exposure, knowledge, x, _ = world(mlp(nn.ReLU, 256), attack.federation, share)
    found = attack.run(exposure, knowledge, 0, "cpu")
    assert exact(found.values, x, 4) == 0
    assert "rank of an update exceeds the batch" in found.info["stop_reason"]
    assert found.info["recovered"] == [0, 0] and min(found.info["rank"]) > 4


def test_clipping_without_noise_hides_nothing() -> None:
    def clip(update: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return ClipNoise(clip_norm=0.01, noise_multiplier=0.0).share(update, generator(0))

    attack = Spear(batch_size=4, records=8)
    exposure, knowledge, x, _ = world(mlp(nn.ReLU, 256), attack.federation, clip)
    assert exact(attack.run(exposure, knowledge, 0, "cpu").values, x, 4) == 8


def test_a_record_that_is_there_twice_is_found_once() -> None:
    attack = Spear(batch_size=2, records=4)
    network = mlp(nn.ReLU, 64)
    exposure, knowledge, x, _ = world(network, attack.federation)
    twice = x[:1].repeat(2, 1, 1, 1).flatten(1)
    loss = nn.functional.cross_entropy(network(twice.view(2, 1, 8, 8)), torch.zeros(2).long())
    loss.backward()
    update = {k: torch.stack([p.grad, p.grad]) for k, p in network.named_parameters()}  # type: ignore[list-item]
    object.__setattr__(exposure, "_updates", lambda: update)
    found = attack.run(exposure, knowledge, 0, "cpu")
    assert found.info["rank"] == [1, 1] == found.info["recovered"]
    assert found.info["stop_reason"] == "the rank of an update is below the batch"
    assert exact(found.values[:1], x[:1], 1) == 1


@pytest.mark.parametrize("network", [conv(nn.ReLU), mlp(nn.Tanh), softmax()])
def test_it_says_where_there_is_no_relu_layer(network: Network) -> None:
    attack = Spear(batch_size=2, records=4)
    exposure, knowledge, x, _ = world(network, attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")
    assert "first layer" in found.info["stop_reason"] and found.info["failed"] == 4
    torch.testing.assert_close(found.values, knowledge.public.x.mean(0).expand_as(x))


def test_an_update_that_is_not_finite_costs_its_own_records_only() -> None:
    def broken(update: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {k: torch.cat([v[:1] * torch.nan, v[1:]]) for k, v in update.items()}

    attack = Spear(batch_size=2, records=4)
    exposure, knowledge, x, _ = world(mlp(nn.ReLU, 256), attack.federation, broken)
    found = attack.run(exposure, knowledge, 0, "cpu")
    assert found.info["recovered"] == [0, 2] and exact(found.values[2:], x[2:], 2) == 2
    assert "not finite" in found.info["stop_reason"]


def test_rows_of_a_table() -> None:
    attack = Spear(batch_size=4, records=16)
    exposure, knowledge, truth = rows.world(rows.mlp(nn.ReLU, hidden=256), attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")
    assert truth.victims is not None
    assert exact(found.values, truth.victims.records.x, 4) == 16
