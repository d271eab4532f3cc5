"""PPDG-MI on toy faces: the generator learns to make what a first search found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.common.gan import Generator, load_critic, load_generator
from attacks.common.gan_wasserstein import train_wgan
from attacks.common.priors import PcaPrior
from attacks.ppdg_mi import PpdgMi
from bench.contract import DivergedError, UserError, generator
from tests.attacks.gans import PRIVATE, held, named
from tests.attacks.images import PEOPLE, SHAPE, exposed, knowledge, target

SMALL = PpdgMi(candidates=3, selected=2, steps=30, draws=5, epochs=2, batch_size=16)


def run(attack: Any = SMALL, network: Any = None, seed: int = 0) -> tuple[Any, Any]:
    exposure = exposed(network or target(PRIVATE), "weights")
    return attack.run(exposure, held(), seed, "cpu"), exposure


@pytest.mark.parametrize(("shared", "rounds"), [(False, 2), (True, 1), (True, 3)])
def test_every_person_is_found(shared: bool, rounds: int) -> None:
    out, exposure = run(replace(SMALL, shared=shared, rounds=rounds))
    assert out.values.shape == (PEOPLE, *SHAPE)
    assert out.values.min() >= 0 and out.values.max() <= 1
    assert (named(out.values) == torch.arange(PEOPLE)).sum() >= PEOPLE - 1
    assert exposure.meter.queries == 0
    assert exposure.meter.backward_passes == rounds * 30 * 3 * PEOPLE
    assert len(out.info["surest"]) == rounds and out.info["steps"] == rounds * 30


@pytest.mark.parametrize(("shared", "tunings"), [(False, PEOPLE), (True, 1)])
def test_what_is_tuned_on(shared: bool, tunings: int, monkeypatch: Any) -> None:
    """Public images and the selected, most confident candidates; every class from one start."""
    network, public = target(PRIVATE), held().public.x
    calls, before = [], []

    def watched(maker: Any, critic: Any, images: Tensor, *args: Any, **more: Any) -> Any:
        before.append(maker.stem.weight.clone())
        calls.append(images)
        return train_wgan(maker, critic, images, *args, **more)

    monkeypatch.setattr("attacks.ppdg_mi.train_wgan", watched)
    run(replace(SMALL, shared=shared), network)
    assert len(calls) == tunings
    assert all(torch.equal(weights, before[0]) for weights in before)
    for number, images in enumerate(calls):
        assert torch.equal(images[: len(public)], public)
        found = images[len(public) :]
        assert len(found) == 2 * (PEOPLE if shared else 1)
        who = torch.arange(PEOPLE).repeat(2) if shared else torch.full((2,), number)
        assert (network(found).argmax(1) == who).float().mean() >= 0.5


def test_tuning_makes_the_found_images_likelier() -> None:
    """Tuned on one image and few others, the generator's mean image moves towards it."""
    maker, critic = load_generator(held().prior), load_critic(held().prior)
    z = torch.randn(200, 8, generator=generator(0))
    public = held().public.x[:16]
    found = PRIVATE.x[:1].expand(48, *SHAPE)

    def distance(of: Generator) -> float:
        with torch.no_grad():
            return float((of(z).mean(0) - found[0]).square().mean())

    first = distance(maker)
    attack = replace(SMALL, epochs=100, critic_steps=2)
    assert distance(attack._tune(maker, critic, public, found, generator(0))) < 0.6 * first


def test_the_same_seed_gives_the_same_images() -> None:
    quick = replace(SMALL, steps=2, epochs=1, shared=True)
    first, again, other = (run(quick, seed=seed)[0].values for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_twice_the_effort() -> None:
    assert SMALL.doubled() == replace(SMALL, steps=60)


def test_refusals() -> None:
    pca = knowledge(prior=PcaPrior(8).fit(knowledge(), 0, "cpu"))
    with pytest.raises(UserError, match="GanPrior"):
        SMALL.run(exposed(target(PRIVATE), "weights"), pca, 0, "cpu")
    network = target(PRIVATE)
    with torch.no_grad():
        network.head.weight[0, 0] = torch.nan
    with pytest.raises(DivergedError):
        run(replace(SMALL, steps=2), network)
