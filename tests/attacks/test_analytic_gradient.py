"""The input of a fully connected first layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attacks.analytic_gradient import AnalyticGradient
from attacks.mean_image import MeanImage
from tests.attacks.clients import conv, mlp, prune, psnr, softmax, world


@pytest.mark.parametrize("network", [mlp(), mlp(nn.ReLU), softmax()])
@pytest.mark.parametrize("steps", [1, 3])
def test_one_record_is_exact(network, steps: int) -> None:
    attack = AnalyticGradient(local_steps=steps, records=6)
    exposure, knowledge, x, y = world(network, attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")
    # A fortieth of a grey level; rounding leaves a hundredth of that, by the processor.
    torch.testing.assert_close(found.values, x, atol=1e-4, rtol=0.0)
    assert torch.equal(found.labels, y) and found.info["failed"] == 0


def test_a_pruned_update_still_gives_most_of_it() -> None:
    attack = AnalyticGradient(records=6)
    exposure, knowledge, x, _ = world(mlp(), attack.federation, prune(0.7))
    found = attack.run(exposure, knowledge, 0, "cpu").values
    exact = (found - x).abs() < 1e-5
    assert float(exact.float().mean()) > 0.7
    assert float(psnr(found, x).median()) > 25
    blind = x[~exact].clone()
    assert float(blind.max()) < 0.5, "only dark pixels are lost"


def test_relu_neurons_of_one_record_give_a_batch_away() -> None:
    attack = AnalyticGradient(batch_size=4, records=8)
    network = mlp(nn.ReLU, hidden=400)
    with torch.no_grad():  # most neurons answer to few records
        network.blocks[0][1].bias.fill_(-0.3)
    exposure, knowledge, x, _ = world(network, attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu").values
    apart = torch.cdist(x[:4].flatten(1), found[:4].flatten(1)) / 8
    assert int((apart.amin(1) < 1e-3).sum()) >= 3


@pytest.mark.parametrize("network", [conv(), mlp()])
def test_it_says_where_there_is_nothing_to_solve(network) -> None:
    network.blocks.requires_grad_(False)
    exposure, knowledge, x, _ = world(network, AnalyticGradient(records=4).federation)
    found = AnalyticGradient(records=4).run(exposure, knowledge, 0, "cpu")
    assert "first layer" in found.info["stop_reason"] and found.info["failed"] == 4
    torch.testing.assert_close(found.values, knowledge.public.x.mean(0).expand_as(x))


def test_the_baseline_sees_nothing() -> None:
    attack = MeanImage(records=4)
    exposure, knowledge, x, _ = world(mlp(), attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")
    torch.testing.assert_close(found.values, knowledge.public.x.mean(0).expand_as(x))
    assert found.labels is None and exposure.meter.updates == 0 and attack.doubled() is None
