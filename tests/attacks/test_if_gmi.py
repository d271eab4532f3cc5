"""IF-GMI on toy faces: the latent first, then what the blocks of a generator hand on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from attacks.common.gan import load_generator
from attacks.common.priors import PcaPrior
from attacks.if_gmi import IfGmi, l1_ball
from bench.contract import DivergedError, UserError, generator
from tests.attacks.gans import PRIVATE, held, named
from tests.attacks.images import PEOPLE, SHAPE, exposed, knowledge, target

SMALL = IfGmi(samples=100, candidates=2, steps=30, block_steps=10, draws=10)


def run(attack: Any = SMALL, network: Any = None, seed: int = 0) -> tuple[Any, Any]:
    exposure = exposed(network or target(PRIVATE), "weights")
    return attack.run(exposure, held(), seed, "cpu"), exposure


@pytest.mark.parametrize("loss", ["poincare", "cross_entropy", "margin"])
def test_every_person_is_found(loss: Any) -> None:
    out, exposure = run(replace(SMALL, loss=loss))
    assert out.values.shape == (PEOPLE, *SHAPE)
    assert out.values.min() >= 0 and out.values.max() <= 1
    assert (named(out.values) == torch.arange(PEOPLE)).sum() >= PEOPLE - 1
    assert exposure.meter.queries == 0
    depth = len(load_generator(held().prior).ups)
    assert out.info["steps"] == 30 + 10 * depth
    assert exposure.meter.backward_passes == (30 + 10 * depth) * 2 * PEOPLE
    assert len(out.info["surest"]) == 1 + depth
    assert max(out.info["block"]) <= depth


def test_the_blocks_reach_images_that_the_latent_does_not() -> None:
    """The target is surer of an image whose features were searched, and a wider ball adds to it."""
    latent, narrow, wide = (
        run(replace(SMALL, loss="cross_entropy", steps=5, **more))[0]
        for more in ({"blocks": 0}, {"radius": 0.01}, {"radius": 1.0})
    )
    assert latent.info["block"] == [0] * PEOPLE
    sure = [sum(out.info["signal"]) / PEOPLE for out in (latent, narrow, wide)]
    assert sure[0] < sure[1] < sure[2]
    assert latent.info["surest"][0] == pytest.approx(wide.info["surest"][0], abs=0.02)


def test_a_radius_of_nearly_nothing_leaves_the_images_of_the_latent() -> None:
    latent, held_back = (
        run(replace(SMALL, candidates=1, crop=(1.0, 1.0), **more))[0].values
        for more in ({"blocks": 0}, {"radius": 1e-7})
    )
    assert torch.allclose(latent, held_back, atol=1e-3)


def test_the_l1_ball_by_hand() -> None:
    x = torch.tensor([[3.0, -1.0, 0.0], [0.2, -0.1, 0.3], [2.0, 2.0, -2.0], [0.0, 0.0, 0.0]])
    expected = torch.tensor(
        [[1.0, 0.0, 0.0], [0.2, -0.1, 0.3], [1 / 3, 1 / 3, -1 / 3], [0.0, 0.0, 0.0]]
    )
    assert torch.allclose(l1_ball(x, 1.0), expected)
    # The nearest point: no other point of the ball is nearer.
    x = 3 * torch.randn(20, 7, generator=generator(0))
    inside = l1_ball(x, 2.0)
    assert (inside.abs().sum(1) <= 2.0 + 1e-5).all()
    for seed in range(50):
        other = torch.randn(20, 7, generator=generator(seed))
        other = 2 * other / other.abs().sum(1, keepdim=True)
        assert ((x - inside).norm(dim=1) <= (x - other).norm(dim=1) + 1e-5).all()


def test_the_same_seed_gives_the_same_images() -> None:
    quick = replace(SMALL, steps=2, block_steps=2)
    first, again, other = (run(quick, seed=seed)[0].values for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_twice_the_effort() -> None:
    twice = SMALL.doubled()
    assert (twice.steps, twice.block_steps) == (60, 20)


def test_refusals() -> None:
    with pytest.raises(UserError, match=r"final_crop is .* smaller share first"):
        replace(SMALL, final_crop=(0.9, 0.5))
    pca = knowledge(prior=PcaPrior(8).fit(knowledge(), 0, "cpu"))
    with pytest.raises(UserError, match="GanPrior"):
        SMALL.run(exposed(target(PRIVATE), "weights"), pca, 0, "cpu")
    network = target(PRIVATE)
    with torch.no_grad():
        network.head.weight[0, 0] = torch.nan
    with pytest.raises(DivergedError):
        run(replace(SMALL, steps=2), network)
