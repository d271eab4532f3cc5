"""Distances to shared updates that are worked out from factors are those of the updates."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.common.factored import FactoredCosine
from attacks.common.federated import Observed, cosine, matching
from bench.contract import Federation, Network, generator
from tests.attacks.clients import CLASSES, SIDE, conv, mlp, softmax, world


def deep() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = [
            nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 24), nn.Sigmoid(), nn.Dropout(0.5)),
            nn.Sequential(nn.Linear(24, 16, bias=False), nn.ReLU()),
        ]
        return Network(nn.Sequential(*blocks), nn.Linear(16, CLASSES))


def frozen() -> Network:
    network = deep()
    network.blocks[0].requires_grad_(False)
    return network


@pytest.mark.parametrize("network", [mlp(), mlp(nn.ReLU), deep(), frozen(), softmax()])
@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (2, 1), (2, 3)])
def test_the_distance_and_its_gradient_are_those_of_the_updates(
    network: Network, batch: int, steps: int
) -> None:
    federation = Federation(batch, steps, 0.1, records=4 * batch)
    exposure, knowledge, _, y = world(network, federation)
    observed = Observed.of(exposure, knowledge, "cpu")
    part = torch.tensor([2, 0, 3])
    hot = F.one_hot(y, CLASSES).float().view(4, batch, -1)[part].repeat(2, 1, 1)
    start = torch.rand(6, batch, 1, SIDE, SIDE, generator=generator(1))

    def slow(x: Tensor) -> Tensor:
        match = matching(cosine, observed.target[part].repeat(2, 1), mask=False)
        return match(observed.gradients(x, hot))

    fast = observed.distance("cosine", False, part, hot)
    results, used = [], []
    for distance in (slow, fast):
        x = start.clone().requires_grad_()
        before = vars(exposure.meter).copy()
        value = distance(x)
        results.append((value, *torch.autograd.grad(value.sum(), x)))
        used.append([vars(exposure.meter)[k] - v for k, v in before.items()])
    for ours, theirs in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=1e-3)
    assert used[0] == used[1]


def test_other_networks_and_distances_are_matched_update_by_update() -> None:
    exposure, knowledge, _, _ = world(conv(), Federation(records=4))
    observed = Observed.of(exposure, knowledge, "cpu")
    assert FactoredCosine.of(observed.network, observed.update, 1, 0.1) is None


def test_an_update_that_is_not_finite_concerns_its_own_rows_only() -> None:
    def broken(update):
        return {k: torch.cat([v[:1] * torch.nan, v[1:]]) for k, v in update.items()}

    exposure, knowledge, x, y = world(mlp(), Federation(records=4), broken)
    observed = Observed.of(exposure, knowledge, "cpu")
    hot = F.one_hot(y, CLASSES).float().unsqueeze(1)
    apart = observed.distance("cosine", False, torch.arange(4), hot)(x.unsqueeze(1))
    assert not bool(apart[0].isfinite()) and bool((apart[1:] < 1e-5).all())
