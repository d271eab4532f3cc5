"""A malicious server that imprints the first layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attacks.analytic_gradient import AnalyticGradient
from attacks.imprint import Imprint
from bench.contract import Network
from defenses.clip_noise import ClipNoise
from tests.attacks.clients import CLASSES, SIDE, conv, corrupt, exact, mlp, psnr


def deep() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 300), nn.ReLU())
        second = nn.Sequential(nn.Linear(300, 20), nn.ReLU())
        return Network(nn.Sequential(first, second), nn.Linear(20, CLASSES))


@pytest.mark.parametrize(
    ("network", "options"),
    [
        (mlp(nn.ReLU, 300), {"batch_size": 1, "records": 8}),
        (mlp(nn.ReLU, 300), {"batch_size": 16}),
        (mlp(nn.ReLU, 300), {"batch_size": 16, "local_steps": 4}),
        (mlp(nn.ReLU, 300), {"batch_size": 16, "measurement": "mean"}),
        (deep(), {"batch_size": 16}),
    ],
)
def test_records_that_are_alone_in_their_bin_are_exact(network: Network, options: dict) -> None:
    attack = Imprint(**{"records": 64, **options})
    exposure, knowledge, x, _ = corrupt(network, attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")
    # (1 - 1 / 300) ** 15 = .95 of the records are alone, give or take .03 for 64 of them.
    assert exact(found.values, x) > 0.85
    # Further local steps start from weights that the first one moved: bins of rounding errors.
    assert attack.local_steps > 1 or max(found.info["occupied"]) <= attack.batch_size


def test_more_rounds_part_what_shared_a_bin() -> None:
    one, more = (Imprint(batch_size=32, records=64, rounds=r) for r in (1, 5))
    network = mlp(nn.ReLU, 64)
    shares = []
    for attack in (one, more):
        exposure, knowledge, x, _ = corrupt(network, attack.federation)
        shares.append(exact(attack.run(exposure, knowledge, 0, "cpu").values, x))
        assert exposure.meter.updates == (1 + attack.rounds) * 2
    # .61 of them are alone in one round by chance; 1 - .39 ** 5 = .99 in one of five.
    assert shares[0] < 0.75 and shares[1] > 0.9


def test_the_honest_attack_fails_where_this_one_works() -> None:
    network = mlp(nn.ReLU, 256)
    honest = AnalyticGradient(batch_size=32, records=64)
    malicious = Imprint(batch_size=32, records=64)
    exposure, knowledge, x, _ = corrupt(network, honest.federation)
    assert exact(honest.run(exposure, knowledge, 0, "cpu").values, x) < 0.3
    exposure, knowledge, x, _ = corrupt(network, malicious.federation)
    assert exact(malicious.run(exposure, knowledge, 0, "cpu").values, x) > 0.75


def test_clipping_with_noise_stops_it() -> None:
    attack = Imprint(batch_size=16, records=64)
    noise = ClipNoise(clip_norm=1.0, noise_multiplier=0.01)
    exposure, knowledge, x, _ = corrupt(mlp(nn.ReLU, 300), attack.federation, noise)
    found = attack.run(exposure, knowledge, 0, "cpu")
    assert exact(found.values, x) == 0.0 and float(psnr(found.values, x).median()) < 20


def test_dropout_hides_what_differences_need() -> None:
    attack = Imprint(batch_size=16, records=32)
    network = mlp(nn.ReLU, 300)
    network.blocks[0].append(nn.Dropout(0.5))
    exposure, knowledge, x, _ = corrupt(network, attack.federation)
    assert exact(attack.run(exposure, knowledge, 0, "cpu").values, x) < 0.4


@pytest.mark.parametrize(
    ("network", "reason"), [(conv(), "not fully connected"), (mlp(nn.Tanh), "not a ReLU")]
)
def test_it_says_where_it_cannot_work(network: Network, reason: str) -> None:
    attack = Imprint(batch_size=2, records=4)
    exposure, knowledge, x, _ = corrupt(network, attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")
    assert reason in found.info["stop_reason"] and found.info["failed"] == 4
    torch.testing.assert_close(found.values, knowledge.public.x.mean(0).expand_as(x))
