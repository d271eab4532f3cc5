"""A malicious server that lays trap weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attacks.analytic_gradient import AnalyticGradient
from attacks.trap_weights import TrapWeights
from bench.contract import Network
from defenses.clip_noise import ClipNoise
from tests.attacks.clients import conv, corrupt, exact, mlp, psnr


@pytest.mark.parametrize(("batch", "least"), [(1, 1.0), (8, 0.9), (32, 0.5)])
def test_records_that_are_alone_in_a_trap_are_exact(batch: int, least: float) -> None:
    trap = TrapWeights(batch_size=batch, records=64)
    honest = AnalyticGradient(batch_size=batch, records=64)
    shares = []
    for attack in (trap, honest):
        exposure, knowledge, x, _ = corrupt(mlp(nn.ReLU, 256), attack.federation)
        shares.append(exact(attack.run(exposure, knowledge, 0, "cpu").values, x))
    assert shares[0] >= least
    assert batch == 1 or shares[1] < 0.8 * shares[0]


def test_clipping_with_noise_stops_it_and_dropout_does_not() -> None:
    attack = TrapWeights(batch_size=8, records=64)
    network = mlp(nn.ReLU, 256)
    noise = ClipNoise(clip_norm=1.0, noise_multiplier=0.01)
    exposure, knowledge, x, _ = corrupt(network, attack.federation, noise)
    found = attack.run(exposure, knowledge, 0, "cpu").values
    assert exact(found, x) == 0.0 and float(psnr(found, x).median()) < 20
    network.blocks[0].append(nn.Dropout(0.5))
    exposure, knowledge, x, _ = corrupt(network, attack.federation)
    assert exact(attack.run(exposure, knowledge, 0, "cpu").values, x) > 0.7


@pytest.mark.parametrize(
    ("network", "reason"), [(conv(), "not fully connected"), (mlp(nn.Tanh), "not a ReLU")]
)
def test_it_says_where_it_cannot_work(network: Network, reason: str) -> None:
    attack = TrapWeights(batch_size=2, records=4)
    exposure, knowledge, x, _ = corrupt(network, attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")
    assert reason in found.info["stop_reason"] and found.info["failed"] == 4
    torch.testing.assert_close(found.values, knowledge.public.x.mean(0).expand_as(x))
