"""Pruning, quantisation, clipping and noise of what clients share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bench.contract import TrainingDefense, generator
from bench.models.mlp import Mlp
from bench.models.training import train
from defenses.clip_noise import ClipNoise
from defenses.gradient_pruning import GradientPruning
from defenses.gradient_quantisation import GradientQuantisation
from tests.models.records import table

MODEL = Mlp(hidden=(16,), epochs=3)
ACTIVE = [
    GradientPruning(removed=0.9),
    GradientQuantisation(bits=1),
    GradientQuantisation(bits=2, stochastic=True),
    ClipNoise(clip_norm=0.5, noise_multiplier=0.1),
]
NONE = [
    GradientPruning(**GradientPruning.zero),
    GradientQuantisation(**GradientQuantisation.zero),
    ClipNoise(**ClipNoise.zero),
]


def update(scale: float = 1.0) -> dict[str, Tensor]:
    rng = generator(0)
    return {
        "a": scale * torch.randn(20, 30, generator=rng),
        "b": 0.01 * scale * torch.randn(100, generator=rng),
    }


def flat(shared: Any) -> Tensor:
    return torch.cat([v.flatten() for v in shared.values()])


@pytest.mark.parametrize("defense", ACTIVE)
def test_the_target_is_trained_with_it_and_follows_its_seed(defense: TrainingDefense) -> None:
    plain, _ = train(MODEL, [], table(), 0, "cpu")
    one, report = train(MODEL, [defense], table(), 0, "cpu")
    two, _ = train(MODEL, [defense], table(), 0, "cpu")
    assert torch.equal(one.head.weight, two.head.weight)
    assert not torch.equal(one.head.weight, plain.head.weight)
    assert report.privacy is None


@pytest.mark.parametrize("defense", NONE)
def test_no_strength_is_no_defense_bit_for_bit(defense: TrainingDefense) -> None:
    plain, _ = train(MODEL, [], table(), 0, "cpu")
    zero, _ = train(MODEL, [defense], table(), 0, "cpu")
    assert torch.equal(plain.head.weight, zero.head.weight)
    assert torch.equal(flat(defense.share(update(), generator(0))), flat(update()))


def test_pruning_keeps_the_largest_of_the_whole_update() -> None:
    before, after = flat(update()), flat(GradientPruning(0.9).share(update(), generator(0)))
    assert int((after != 0).sum()) == 70
    assert torch.equal(after[after != 0], before[after != 0])
    assert float(before[after == 0].abs().max()) < float(after[after != 0].abs().min())
    assert int((after[600:] != 0).sum()) == 0, "small parameters lose everything"


def test_one_bit_is_the_sign_and_a_scale() -> None:
    shared = GradientQuantisation(1).share(update(), generator(0))
    for name, value in update().items():
        assert torch.equal(shared[name].sign(), value.sign())
        assert len(torch.unique(shared[name])) == 2
        torch.testing.assert_close(shared[name].abs().mean(), value.abs().mean())
    nothing = GradientQuantisation(1).share({"a": torch.zeros(3)}, generator(0))
    assert torch.equal(nothing["a"], torch.zeros(3))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_more_bits_are_a_finer_grid_with_a_zero(bits: int) -> None:
    value = update()["a"]
    shared = GradientQuantisation(bits).share({"a": value}, generator(0))["a"]
    step = 2 * float(value.abs().max()) / (2**bits - 2)
    assert float((shared - value).abs().max()) <= step / 2 + 1e-6
    assert len(torch.unique(shared)) <= 2**bits - 1
    zeros = GradientQuantisation(bits).share({"a": torch.zeros(3)}, generator(0))["a"]
    assert torch.equal(zeros, torch.zeros(3))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_stochastic_rounding_is_unbiased(bits: int) -> None:
    value = torch.linspace(-1, 1, 9)
    rng = generator(0)
    defense = GradientQuantisation(bits, stochastic=True)
    mean = torch.stack([defense.share({"a": value}, rng)["a"] for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, value, atol=0.06, rtol=0)


def test_clipping_bounds_the_whole_update_and_keeps_its_direction() -> None:
    before = flat(update())
    shared = flat(ClipNoise(0.5, 0.0).share(update(), generator(0)))
    assert float(shared.norm()) == pytest.approx(0.5)
    torch.testing.assert_close(shared, before * 0.5 / before.norm())
    small = flat(ClipNoise(1e4, 0.0).share(update(), generator(0)))
    torch.testing.assert_close(small, before)


def test_noise_is_in_units_of_the_clipping_norm() -> None:
    for clip, noise, std in ((2.0, 0.1, 0.2), (None, 0.1, 0.1)):
        zeros = {"a": torch.zeros(200, 200)}
        shared = ClipNoise(clip, noise).share(zeros, generator(0))["a"]
        assert float(shared.std()) == pytest.approx(std, rel=0.02)
