from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from attacks.common.latent import Latent, last_fifth, objective
from attacks.common.latent_descent import shifted
from attacks.common.latent_search import directions, repeated
from attacks.common.priors import PcaPrior
from attacks.prior_inversion import STEPS, PriorInversion
from bench.contract import BudgetError, DivergedError, Exposure, Knowledge, UserError, generator
from tests.attacks.images import PEOPLE, SHAPE, exposed, knowledge, photographs, target

PRIVATE = photographs(PEOPLE, 4, seed=1)
WEIGHTS: list[dict[str, Any]] = [
    {"loss": "cross_entropy", "jitter": 0},
    {"loss": "logit", "jitter": 0},
    {"loss": "margin", "jitter": 0},
    {"loss": "margin", "restarts": 3},
    {"loss": "margin", "restarts": 3, "average": True, "avoid": 1.0},
]


def held() -> Knowledge:
    return knowledge(prior=PcaPrior(8).fit(knowledge(), 0, "cpu"))


def top_1(scores: Tensor) -> Tensor:
    return torch.where(scores == scores.amax(1, keepdim=True), scores, 0.0)


def one_decimal(scores: Tensor) -> Tensor:
    return torch.round(scores, decimals=1)


def label(scores: Tensor) -> Tensor:
    return one_hot(scores.argmax(1), scores.shape[1]).float()


def nearest(x: Tensor) -> Tensor:
    """Which person's mean image each reconstruction is most like, by correlation."""

    def unit(images: Tensor) -> Tensor:
        flat = images.flatten(1) - held().public.x.mean(0).flatten()
        return torch.nn.functional.normalize(flat)

    means = torch.stack([PRIVATE.x[PRIVATE.y == c].mean(0) for c in range(PEOPLE)])
    return (unit(x) @ unit(means).T).argmax(1)


@pytest.mark.parametrize("options", WEIGHTS)
def test_weights_name_the_person(options: dict[str, Any]) -> None:
    exposure = exposed(target(PRIVATE), "weights")
    attack = PriorInversion(**options)
    out = attack.run(exposure, held(), 0, "cpu")
    assert out.values.shape == (PEOPLE, *SHAPE)
    # A large logit alone does not tell this target's people apart; the other losses compare.
    spared = int(attack.loss == "logit")
    assert (nearest(out.values) == torch.arange(PEOPLE)).sum() >= PEOPLE - spared
    assert exposure.meter.queries == 0
    assert exposure.meter.backward_passes == 150 * PEOPLE * attack.restarts
    if attack.jitter == 0:
        assert abs(out.info["improvement_last_fifth"]) < 0.01
    assert out.info["steps"] == 150
    assert max(out.info["norm"]) <= math.sqrt(8) + 1e-4


@pytest.mark.parametrize("release", [lambda s: s, top_1, one_decimal, label])
def test_scores_name_the_person_whatever_is_released(release: Any) -> None:
    exposure = exposed(target(PRIVATE), "scores", release)
    out = PriorInversion(access="scores").run(exposure, held(), 0, "cpu")
    assert (nearest(out.values) == torch.arange(PEOPLE)).sum() >= PEOPLE - 1
    starts = 1 + 500 + len(held().public)
    assert exposure.meter.queries == starts + STEPS["scores"] * 32 * PEOPLE
    assert out.info["stop_reasons"] == ["steps"] * PEOPLE
    assert max(out.info["norm"]) <= math.sqrt(8) + 1e-4


@pytest.mark.parametrize("normalise", [True, False])
def test_labels_name_the_person(normalise: bool) -> None:
    exposure = exposed(target(PRIVATE), "labels")
    attack = PriorInversion(access="labels", normalise=normalise, steps=60 if normalise else 200)
    out = attack.run(exposure, held(), 0, "cpu")
    assert (nearest(out.values) == torch.arange(PEOPLE)).sum() >= PEOPLE - 1
    starts = 1 + 500 + len(held().public)
    assert exposure.meter.queries == starts + attack.steps * 33 * PEOPLE
    assert min(out.info["signal"]) >= 2.0
    assert exposed(target(PRIVATE), "weights").network()(out.values).argmax(1).tolist() == list(
        range(PEOPLE)
    )


@pytest.mark.parametrize("access", ["weights", "scores", "labels"])
def test_the_same_seed_gives_the_same_images(access: Any) -> None:
    attack = PriorInversion(access=access, steps=5, restarts=2, samples=50)
    first, again, other = (
        attack.run(exposed(target(PRIVATE), access), held(), seed, "cpu").values
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_shrunk_logit_changes_nothing() -> None:
    """A defense that only scales logits must not look like one."""
    sharp, dull = (
        PriorInversion(loss="margin")
        .run(exposed(target(PRIVATE, gain), "weights"), held(), 0, "cpu")
        .values
        for gain in (40.0, 0.4)
    )
    assert torch.allclose(sharp, dull, atol=1e-2)


@pytest.mark.parametrize("access", ["scores", "labels"])
@pytest.mark.parametrize("budget", [0, 10, 700, 3000])
def test_a_budget_is_kept(access: Any, budget: int) -> None:
    exposure = exposed(target(PRIVATE), access, budget=budget)
    try:
        out = PriorInversion(access=access).run(exposure, held(), 0, "cpu")
    except BudgetError:
        pytest.fail("the attack asked for more than its budget")
    assert exposure.meter.queries <= budget
    assert set(out.info["stop_reasons"]) <= {"budget", "no_start"}
    assert torch.isfinite(out.values).all()


# Scores tell so much more that only the larger noise hides it: there a gap of a tenth of the size.
@pytest.mark.parametrize(("access", "noise"), [("scores", 12), ("labels", 4)])
def test_repeats_see_through_noise(access: Any, noise: int) -> None:
    """EOT: the mean of noisy scores, the vote of noisy labels."""

    def separation(repeats: int) -> float:
        rng, network = generator(5), target(PRIVATE)

        def release(x: Tensor) -> Tensor:
            logits = network(x)
            return logits + noise * torch.randn(logits.shape, generator=rng)

        exposure = Exposure(access, lambda x: release(x).softmax(1), lambda x: release(x).argmax(1))
        attack = PriorInversion(
            access=access, steps=20, samples=100, repeats=repeats, expand_at=0.6
        )
        out = attack.run(exposure, held(), 0, "cpu")
        probes = 32 if access == "scores" else 33
        assert exposure.meter.queries == repeats * (191 + 20 * probes * PEOPLE)
        with torch.no_grad():
            logits = network(out.values)
        return float((logits.diagonal() - logits.mean(1)).mean())

    assert separation(9) > separation(1) + 0.2


def test_answers_are_averaged_or_put_to_the_vote() -> None:
    answers = iter([[1, 2], [3, 2], [1, 0]])
    vote = repeated(lambda x: torch.tensor(next(answers)), 3)(torch.zeros(2))
    assert vote.tolist() == [1, 2]
    scores = iter([[0.0, 1.0], [1.0, 0.0]])
    assert repeated(lambda x: torch.tensor(next(scores)), 2)(torch.zeros(2)).tolist() == [0.5, 0.5]


def test_doubled() -> None:
    assert PriorInversion(access="scores").doubled().steps == 2 * STEPS["scores"]
    assert PriorInversion(steps=7).doubled().steps == 14


def test_a_label_never_seen_is_said() -> None:
    network = target(PRIVATE)
    with torch.no_grad():
        network.head.bias[2] = -1e6
    out = PriorInversion(access="labels", steps=3).run(exposed(network, "labels"), held(), 0, "cpu")
    assert out.info["stop_reasons"][2] == "no_start"
    assert torch.equal(out.values[2], held().prior["mean"].clamp(0, 1))


def test_constant_scores_are_said_to_be_flat() -> None:
    exposure = exposed(target(PRIVATE), "scores", lambda s: torch.full_like(s, 1 / PEOPLE))
    out = PriorInversion(access="scores", steps=4).run(exposure, held(), 0, "cpu")
    assert out.info["stop_reasons"] == ["flat"] * PEOPLE


def test_patience_ends_a_run() -> None:
    attack = PriorInversion(access="labels", patience=2, steps=50, expand_at=0.999)
    out = attack.run(exposed(target(PRIVATE), "labels"), held(), 0, "cpu")
    assert "patience" in out.info["stop_reasons"]


def test_a_broken_target_diverges() -> None:
    network = target(PRIVATE)
    with torch.no_grad():
        network.head.weight[0, 0] = torch.nan
    with pytest.raises(DivergedError, match="NaN or Inf"):
        PriorInversion(steps=2).run(exposed(network, "weights"), held(), 0, "cpu")


def test_objectives_by_hand() -> None:
    logits = torch.tensor([[2.0, 1.0, -1.0]])
    assert objective(logits, "logit").tolist() == [[-2.0, -1.0, 1.0]]
    assert objective(logits, "margin").tolist() == [[-1.0, 1.0, 3.0]]
    entropy = nn.functional.cross_entropy(logits.expand(3, -1), torch.arange(3), reduction="none")
    assert torch.allclose(objective(logits, "cross_entropy")[0], entropy)


def test_helpers() -> None:
    for count, size in ((5, 8), (16, 80), (40, 80), (8, 8)):
        u = directions(3, count, size, generator(0))
        assert u.shape == (3, count, size)
        assert torch.allclose(u @ u.transpose(1, 2), torch.eye(count).expand(3, -1, -1), atol=1e-4)
    assert torch.allclose(directions(2, 9, 4, generator(0)).norm(dim=2), torch.ones(2, 9))
    assert last_fifth(torch.tensor([0.0, 0.5, 1.0, 1.0, 1.0, 1.0])) == 0.0
    assert last_fifth(torch.linspace(0, 1, 11)) == pytest.approx(0.2)
    x = torch.rand(2, *SHAPE)
    assert shifted(x, 0, generator(0)) is x
    moved = [shifted(x, 1, generator(seed)) for seed in range(20)]
    assert all(m.shape == x.shape for m in moved)
    assert any(torch.equal(m[:, :, 1:-1, 1:-1], x[:, :, 1:-1, 2:]) for m in moved)


def test_what_it_adapts_to() -> None:
    assert PriorInversion().adaptive_to == PriorInversion("weights", "logit").adaptive_to == ()
    assert "dp_sgd" in PriorInversion(restarts=4, average=True).adaptive_to
    assert "label_only" in PriorInversion(access="labels").adaptive_to
    once, often = (PriorInversion(access="scores", repeats=n).adaptive_to for n in (1, 8))
    assert "rounding" in once and set(often) - set(once) == {"score_noise"}


def test_latents_come_from_the_prior() -> None:
    with pytest.raises(UserError, match="got none"):
        PriorInversion().run(exposed(target(PRIVATE), "weights"), knowledge(), 0, "cpu")
    with pytest.raises(UserError, match="given none"):
        bare = Knowledge(held().card, held().public, prior=held().prior)
        PriorInversion().run(exposed(target(PRIVATE), "weights"), bare, 0, "cpu")
    assert Latent.of(held(), "cpu").size == 8
