from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.common.priors import PcaPrior
from attacks.latent_evolution import LatentEvolution, _Constants
from bench.contract import DivergedError, Knowledge, generator
from tests.attacks.images import PEOPLE, SHAPE, exposed, knowledge, photographs, target
from tests.attacks.test_prior_inversion import nearest, one_decimal, top_1

PRIVATE = photographs(PEOPLE, 4, seed=1)


def held(people: int = PEOPLE) -> Knowledge:
    return knowledge(people, prior=PcaPrior(8).fit(knowledge(), 0, "cpu"))


@pytest.mark.parametrize("release", [lambda s: s, lambda s: s**3, top_1, one_decimal])
def test_scores_name_the_person_whatever_is_released(release: Any) -> None:
    exposure = exposed(target(PRIVATE), "scores", release)
    out = LatentEvolution().run(exposure, held(), 0, "cpu")
    assert (nearest(out.values) == torch.arange(PEOPLE)).sum() >= PEOPLE - 1
    starts = 1 + 500 + len(held().public)
    assert exposure.meter.queries == starts + 60 * 32 * PEOPLE
    assert out.info["stop_reasons"] == ["steps"] * PEOPLE
    assert max(out.info["norm"]) <= math.sqrt(8) + 1e-4


def test_evolution_improves_on_its_starts() -> None:
    few, many = (
        LatentEvolution(steps=steps).run(exposed(target(PRIVATE), "scores"), held(), 0, "cpu")
        for steps in (1, 40)
    )
    assert all(b > a for a, b in zip(few.info["signal"], many.info["signal"], strict=True))
    assert max(many.info["sigma"]) <= 1.0


def noisy(scores: Tensor, rng: torch.Generator) -> Tensor:
    return (scores.log() + 3 * torch.randn(scores.shape, generator=rng)).softmax(1)


def test_repeats_see_through_noise() -> None:
    def signal(repeats: int) -> float:
        rng, network = generator(5), target(PRIVATE)
        exposure = exposed(network, "scores", lambda s: noisy(s, rng))
        attack = LatentEvolution(steps=15, population=16, samples=100, repeats=repeats)
        out = attack.run(exposure, held(), 0, "cpu")
        assert exposure.meter.queries == repeats * (191 + 15 * 16 * PEOPLE)
        logits = network(out.values)
        return float((logits.diagonal() - logits.mean(1)).mean().detach())

    assert signal(8) > signal(1)


def test_the_same_seed_gives_the_same_images() -> None:
    attack = LatentEvolution(steps=5, restarts=2, samples=50)
    first, again, other = (
        attack.run(exposed(target(PRIVATE), "scores"), held(), seed, "cpu").values
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("budget", [0, 10, 700, 3000])
def test_a_budget_is_kept(budget: int) -> None:
    exposure = exposed(target(PRIVATE), "scores", budget=budget)
    out = LatentEvolution(repeats=2).run(exposure, held(), 0, "cpu")
    assert exposure.meter.queries <= budget
    assert set(out.info["stop_reasons"]) == {"budget"}
    assert out.values.shape == (PEOPLE, *SHAPE) and bool(torch.isfinite(out.values).all())


def test_constant_scores_are_said_to_be_flat() -> None:
    exposure = exposed(target(PRIVATE), "scores", lambda s: torch.full_like(s, 1 / PEOPLE))
    out = LatentEvolution(steps=4).run(exposure, held(), 0, "cpu")
    assert out.info["stop_reasons"] == ["flat"] * PEOPLE


def test_two_classes() -> None:
    network = target(photographs(2, 4, seed=1))
    out = LatentEvolution(steps=3).run(exposed(network, "scores"), held(2), 0, "cpu")
    assert out.values.shape == (2, *SHAPE)


def test_a_broken_target_diverges() -> None:
    exposure = exposed(target(PRIVATE), "scores", lambda s: s * torch.nan)
    with pytest.raises(DivergedError, match="NaN"):
        LatentEvolution(steps=2).run(exposure, held(), 0, "cpu")


def test_constants_of_the_paper() -> None:
    law = _Constants.of(20, 12)
    assert sum(law.weights) == pytest.approx(1) and list(law.weights) == sorted(law.weights)[::-1]
    mass = 1 / sum(w * w for w in law.weights)
    assert mass == pytest.approx(3.729, abs=2e-3)
    assert law.c_1 == pytest.approx((22 / 3) * 2 / (21.3**2 + mass))
    assert law.expected == pytest.approx(4.4167, abs=1e-3)


def test_doubled() -> None:
    assert LatentEvolution(steps=7).doubled() == replace(LatentEvolution(), steps=14)
