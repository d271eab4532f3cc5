"""A malicious server that parts a batch with the head alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from attacks.fishing import Fishing
from attacks.imprint import Imprint
from attacks.inverting_gradients import InvertingGradients
from bench.contract import Network, TrainingDefense
from defenses.clip_noise import ClipNoise
from defenses.gradient_pruning import GradientPruning
from defenses.gradient_quantisation import GradientQuantisation
from defenses.secure_aggregation import SecureAggregation
from tests.attacks.clients import CLASSES, conv, corrupt, exact, mlp, psnr, softmax

BATCH = Fishing(batch_size=32, records=64, steps=100, tv=1e-6)


@pytest.mark.parametrize(
    ("network", "options"),
    [
        (mlp(nn.ReLU, 64), {}),
        (mlp(nn.Tanh, 64), {"batch_size": 8}),
        (mlp(nn.Sigmoid, 64), {"measurement": "feature"}),
        (mlp(nn.Tanh, 64), {"batch_size": 1, "records": 8}),
        (softmax(), {}),
    ],
)
def test_every_record_of_a_large_batch_is_exact(network: Network, options: dict) -> None:
    attack = replace(BATCH, **options)
    exposure, knowledge, x, y = corrupt(network, attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")
    assert exact(found.values, x) == 1.0 and found.info["failed"] == 0
    clients = (-1, attack.batch_size)
    assert found.labels is not None
    assert torch.equal(found.labels.view(clients).sort(1).values, y.view(clients).sort(1).values)
    # An honest round, one for each class, two ends, and a cut for each further record at most.
    most = 1 + CLASSES + 2 + attack.records
    assert exposure.meter.updates <= most * attack.federation.clients


def test_a_convolution_gives_single_gradients_where_others_read_nothing() -> None:
    network = conv()
    quality = {}
    for attack in (
        BATCH,
        Imprint(batch_size=32, records=64),
        InvertingGradients(batch_size=32, records=64, steps=100, tv=1e-6),
    ):
        exposure, knowledge, x, _ = corrupt(network, attack.federation)
        found = attack.run(exposure, knowledge, 0, "cpu").values
        quality[type(attack)] = torch.stack([psnr(found, one).max() for one in x])
    assert float(quality[Fishing].median()) > 35
    assert float(quality[Imprint].max()) < 20 and float(quality[InvertingGradients].median()) < 20


def test_classes_with_one_record_need_no_feature_and_others_do() -> None:
    attack = replace(BATCH, batch_size=5, records=20, cuts=0)
    exposure, knowledge, x, _ = corrupt(mlp(nn.Tanh), attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")  # five clients have each class once
    assert exact(found.values, x) == 1.0 and found.info["rounds"] == CLASSES
    attack = replace(attack, batch_size=10)
    exposure, knowledge, x, _ = corrupt(mlp(nn.Tanh), attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")
    assert found.info["fished"] == [0, 0] and found.info["failed"] == 20


def test_records_that_are_equal_are_no_single_record() -> None:
    attack = replace(BATCH, batch_size=4, records=8)
    exposure, knowledge, x, _ = corrupt(mlp(nn.Tanh), attack.federation)
    x[1] = x[0]
    found = attack.run(exposure, knowledge, 0, "cpu")
    # Their classes have one record each: class fishing still gives both.
    assert exact(found.values, x) == 1.0
    attack = replace(attack, batch_size=10, records=20)
    exposure, knowledge, x, y = corrupt(mlp(nn.Tanh), attack.federation)
    x[5] = x[0]
    found = attack.run(exposure, knowledge, 0, "cpu")
    assert y[5] == y[0] and found.info["fished"] == [8, 10]
    assert exact(found.values, x[1:5]) == 1.0


def test_a_group_of_clients_is_a_larger_batch() -> None:
    attack = replace(BATCH, batch_size=4, records=32)
    exposure, knowledge, x, _ = corrupt(conv(), attack.federation, SecureAggregation(clients=4))
    found = attack.run(exposure, knowledge, 0, "cpu").values
    assert float(torch.stack([psnr(found, one).max() for one in x]).median()) > 35


@pytest.mark.parametrize(
    "defense",
    [
        ClipNoise(clip_norm=1.0, noise_multiplier=0.01),
        ClipNoise(clip_norm=None, noise_multiplier=1.0),
        GradientQuantisation(),
        GradientPruning(removed=0.9),
    ],
)
def test_updates_that_are_not_exact_hide_the_counts(defense: TrainingDefense) -> None:
    attack = replace(BATCH, batch_size=16, records=32)
    exposure, knowledge, x, _ = corrupt(mlp(nn.Tanh, 64), attack.federation, defense)
    found = attack.run(exposure, knowledge, 0, "cpu")
    assert exact(found.values, x) == 0.0 and bool(torch.isfinite(found.values).all())
    assert float(psnr(found.values, x).median()) < 20


def test_averaged_rounds_count_through_noise_that_is_not_clipped() -> None:
    # The gain lifts what the other layers share above the noise; the head's counts stay below it.
    noise = ClipNoise(clip_norm=None, noise_multiplier=0.01)
    shares = []
    for repeats in (1, 16):
        attack = replace(BATCH, batch_size=8, records=16, repeats=repeats)
        exposure, knowledge, x, _ = corrupt(mlp(nn.Tanh), attack.federation, noise)
        shares.append(exact(attack.run(exposure, knowledge, 0, "cpu").values, x))
    assert shares[0] < 0.8 and shares[1] > 0.9


def test_it_says_where_it_cannot_work() -> None:
    attack = replace(BATCH, batch_size=2, records=4, local_steps=2)
    exposure, knowledge, x, _ = corrupt(mlp(nn.Tanh), attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")
    assert "local steps" in found.info["stop_reason"] and found.info["failed"] == 4
    torch.testing.assert_close(found.values, knowledge.public.x.mean(0).expand_as(x))
    fixed = mlp(nn.Tanh)
    fixed.head.bias.requires_grad_(False)
    attack = replace(attack, local_steps=1)
    exposure, knowledge, _, _ = corrupt(fixed, attack.federation)
    assert "no bias" in attack.run(exposure, knowledge, 0, "cpu").info["stop_reason"]
