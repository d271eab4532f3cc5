"""Bilateral dependency optimisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.contract import Step, generator
from bench.models.mlp import Mlp
from bench.models.training import train
from defenses.bido import Bido, coco, gaussian, hsic
from tests.models.records import table


def kernels(n: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return tuple(  # type: ignore[return-value]
        np.exp(-((a[:, None] - a[None]) ** 2).sum(-1) / (2 * 0.7**2 * a.shape[1]))
        for a in (rng.normal(size=(n, 3)), rng.normal(size=(n, 5)))
    )


def test_the_gaussian_kernel_is_scaled_by_the_dimension() -> None:
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    got = gaussian(x, 5.0)
    assert float(got[0, 1]) == pytest.approx(np.exp(-25 / (2 * 25 * 2)))
    assert float(got[0, 0]) == 1.0


def test_hsic_is_the_one_sided_form_of_the_authors() -> None:
    a, b = kernels()
    n = len(a)
    h = np.eye(n) - 1 / n
    one, two = (k @ h @ np.linalg.inv(k @ h + 1e-5 * n * np.eye(n)) for k in (a, b))
    got = hsic(torch.from_numpy(a).float(), torch.from_numpy(b).float())
    assert float(got) == pytest.approx(np.trace(one @ two), rel=1e-3)


def test_coco_is_bounded_below_by_the_largest_singular_value() -> None:
    a, b = kernels()
    n = len(a)
    h = np.eye(n) - 1 / n
    product = h @ a @ h @ h @ b @ h
    got = float(coco(torch.from_numpy(a).float(), torch.from_numpy(b).float()))
    assert got == pytest.approx(np.sqrt(np.sqrt((product**2).sum())) / n, rel=1e-4)
    assert got >= np.sqrt(np.linalg.norm(product, 2)) / n


@pytest.mark.parametrize("dependence", ["hsic", "coco"])
def test_dependence_is_more_on_itself_than_on_noise_and_none_on_a_constant(dependence: str) -> None:
    depend = hsic if dependence == "hsic" else coco
    x, noise = torch.randn(2, 40, 1, generator=generator(0))
    k, other = gaussian(x, 0.5), gaussian(noise, 0.5)
    assert depend(k, k) > depend(k, other) > depend(k, torch.ones(40, 40)) - 1e-6
    assert float(depend(k, torch.ones(40, 40))) == pytest.approx(0.0, abs=1e-3)


def test_the_penalty_sums_over_blocks_and_takes_distributions() -> None:
    rng = generator(0)
    x, h = torch.randn(8, 4, generator=rng), torch.randn(8, 6, generator=rng)
    y = torch.arange(8) % 2
    step = Step(0.0, 2, rng)
    network = Mlp(hidden=(6,)).build((4,), 2, 0)
    defense = Bido(input_weight=0.3, label_weight=2.0)
    one_hot = torch.nn.functional.one_hot(y, 2).float()
    k = gaussian(h, 5.0)
    wanted = 0.3 * hsic(k, gaussian(x, 5.0)) - 2.0 * hsic(k, one_hot @ one_hot.T)
    outputs = torch.zeros(8, 2)
    got = defense.penalty(network, x, y, [h, h], outputs, step)
    torch.testing.assert_close(got, 2 * wanted)
    torch.testing.assert_close(got, defense.penalty(network, x, one_hot, [h, h], outputs, step))
    assert float(defense.penalty(network, x[:1], y[:1], [h[:1]], outputs, step)) == 0.0


def test_coco_trains_where_a_block_has_died() -> None:
    h = torch.zeros(4, 3, requires_grad=True)
    step = Step(0.0, 2, generator(0))
    network = Mlp(hidden=(3,)).build((3,), 2, 0)
    y = torch.tensor([0, 1, 0, 1])
    lost = Bido(dependence="coco").penalty(network, torch.eye(4, 3), y, [h], h[:, :2], step)
    lost.backward()
    assert h.grad is not None and bool(h.grad.isfinite().all())


def test_training_pulls_the_representation_away_from_the_record() -> None:
    splits = table(n=64)
    model = Mlp(hidden=(16,), epochs=15)

    def on_x(weight: float) -> float:
        layers = [Bido(input_weight=weight, label_weight=0.0)] if weight else []
        network, _ = train(model, layers, splits, 0, "cpu")  # type: ignore[arg-type]
        h = network.features(splits.train.x).detach()
        return float(hsic(gaussian(h, 5.0), gaussian(splits.train.x, 5.0)))

    assert on_x(1.0) < on_x(0.0)
