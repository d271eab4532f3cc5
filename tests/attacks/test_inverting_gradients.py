"""Cosine matching, total variation, the prior's latent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from attacks.inverting_gradients import InvertingGradients
from bench.contract import generator
from tests.attacks.clients import SHAPE, conv, mlp, prune, psnr, share, world

QUICK = InvertingGradients(steps=200, tv=1e-6, records=4)


def test_it_recovers_the_records_and_the_scale_does_not_matter() -> None:
    exposure, knowledge, x, y = world(mlp(), QUICK.federation)
    found = QUICK.run(exposure, knowledge, 0, "cpu")
    assert bool((psnr(found.values, x) > 35).all()) and torch.equal(found.labels, y)
    clipped, _, _, _ = world(mlp(), QUICK.federation, lambda u: {k: v / 100 for k, v in u.items()})
    assert bool((psnr(QUICK.run(clipped, knowledge, 0, "cpu").values, x) > 35).all())


def test_more_steps_match_better_and_the_seed_decides() -> None:
    exposure, knowledge, _, _ = world(conv(nn.ReLU), QUICK.federation)
    short = dataclasses.replace(QUICK, steps=40)
    one, two = (a.run(exposure, knowledge, 0, "cpu") for a in (short, short.doubled()))
    assert sum(two.info["distance"]) < sum(one.info["distance"])
    assert torch.equal(one.values, short.run(exposure, knowledge, 0, "cpu").values)


def test_restarts_are_chosen_by_the_distance() -> None:
    exposure, knowledge, _, _ = world(conv(), QUICK.federation)
    one = dataclasses.replace(QUICK, steps=20)
    three = dataclasses.replace(one, restarts=3)
    first = torch.tensor(one.run(exposure, knowledge, 0, "cpu").info["distance"])
    best = torch.tensor(three.run(exposure, knowledge, 0, "cpu").info["distance"])
    assert float(best.mean()) < float(first.mean())


def test_no_sign_is_contradicted() -> None:
    def signs(update: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {k: v.sign() for k, v in update.items()}

    exposure, knowledge, x, _ = world(conv(), QUICK.federation, signs)
    attack = dataclasses.replace(QUICK, distance="sign", steps=100, tv=1e-3)
    found = attack.run(exposure, knowledge, 0, "cpu")
    mean = knowledge.public.x.mean(0).expand_as(x)
    assert max(found.info["distance"]) < 0.02
    assert float(psnr(found.values, x).mean()) > float(psnr(mean, x).mean()) + 2
    assert attack.adaptive_to == ("gradient_quantisation",)


def test_a_prior_takes_the_place_of_pixels() -> None:
    basis = torch.randn(6, *SHAPE, generator=generator(5)) / 20
    prior = {"mean": torch.full(SHAPE, 0.5), "basis": basis}
    inside = prior["mean"] + torch.einsum(
        "nk,kchw->nchw", torch.randn(4, 6, generator=generator(6)), basis
    )
    rng = generator(7)

    def noisy(update: Mapping[str, Tensor]) -> dict[str, Tensor]:
        exact = share(mlp(), inside.clamp(0, 1), torch.arange(4), QUICK.federation)
        return {k: v + 0.05 * torch.randn(v.shape, generator=rng) for k, v in exact.items()}

    exposure, knowledge, _, _ = world(mlp(), QUICK.federation, noisy, prior=prior)
    attack = dataclasses.replace(QUICK, signed=False, tv=0.0, penalty=1e-4, steps=100)
    found = attack.run(exposure, knowledge, 0, "cpu").values
    pixels = dataclasses.replace(knowledge, prior={})
    without = attack.run(exposure, pixels, 0, "cpu").values
    assert float(psnr(found, inside).median()) > float(psnr(without, inside).median()) + 6


def test_pruning_is_undone_by_matching_the_survivors() -> None:
    exposure, knowledge, x, _ = world(mlp(), QUICK.federation, prune(0.7))
    plain = psnr(QUICK.run(exposure, knowledge, 0, "cpu").values, x)
    masked = psnr(
        dataclasses.replace(QUICK, mask=True).run(exposure, knowledge, 0, "cpu").values, x
    )
    assert float(masked.median()) > float(plain.median()) + 6
