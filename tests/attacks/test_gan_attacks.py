from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.common.gan import Critic, Generator
from attacks.common.gan_inversion import entropy, train_inversion_gan, unreal
from attacks.common.gan_search import Identity, per_class, slope
from attacks.common.latent import GanLatent, Latent
from attacks.common.priors import GanPrior
from attacks.gmi import Gmi
from attacks.ked_mi import KedMi
from bench.contract import Attack, DivergedError, Knowledge, Split, UserError, generator, seeded
from tests.attacks.gans import PRIVATE, held
from tests.attacks.images import PEOPLE, SHAPE, card, exposed, knowledge, photographs, target

GMI = Gmi(steps=6, restarts=2)
KED = KedMi(steps=6, gan_steps=3, batch_size=8)
BOTH: list[Any] = [GMI, KED]


def run(attack: Attack, of: Knowledge | None = None, network: nn.Module | None = None, seed=0):
    exposure = exposed(network or target(PRIVATE), "weights")
    return attack.run(exposure, of or held(), seed, "cpu"), exposure


@pytest.mark.parametrize("attack", BOTH)
def test_an_image_for_every_class(attack: Any) -> None:
    out, exposure = run(attack)
    assert out.values.shape == (PEOPLE, *SHAPE)
    assert out.values.min() >= 0 and out.values.max() <= 1
    assert out.info["stop_reasons"] == ["steps"] * PEOPLE
    assert out.info["steps"] == 6
    assert isinstance(out.info["improvement_last_fifth"], float)
    assert exposure.meter.queries == 0
    assert exposure.meter.backward_passes == 6 * PEOPLE * attack.restarts
    # The signal is the target's own opinion of what is returned.
    logits = target(PRIVATE)(out.values)
    expected = -F.cross_entropy(logits, torch.arange(PEOPLE), reduction="none")
    assert torch.allclose(torch.tensor(out.info["signal"]), expected, atol=1e-2)


@pytest.mark.parametrize("attack", BOTH)
@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_permuted_targets_permute_the_images(attack: Any, loss: Any) -> None:
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    attack = replace(attack, loss=loss)
    straight, permuted = run(attack)[0], run(attack, replace(held(), classes=order))[0]
    assert torch.allclose(permuted.values, straight.values[order], atol=1e-4)
    assert not torch.allclose(permuted.values, straight.values, atol=1e-2)


@pytest.mark.parametrize("attack", BOTH)
def test_a_class_is_attacked_the_same_in_other_company(attack: Any) -> None:
    alone = run(attack, replace(held(), classes=torch.tensor([4])))[0]
    assert torch.allclose(alone.values, run(attack)[0].values[4:5], atol=1e-4)


@pytest.mark.parametrize("attack", BOTH)
def test_the_clip_holds_for_every_latent_decoded(attack: Any, monkeypatch: Any) -> None:
    seen: list[Tensor] = []
    decode = GanLatent.decode

    def spy(self: GanLatent, z: Tensor) -> Tensor:
        seen.append(z.detach().abs().max())
        return decode(self, z)

    monkeypatch.setattr(GanLatent, "decode", spy)
    out, _ = run(replace(attack, clip=0.3, learning_rate=0.5))
    # GMI's first latents are drawn, not clipped yet, as in the authors' code.
    assert max(seen[isinstance(attack, Gmi) :]) <= 0.3
    assert out.info["largest_coordinate"] == pytest.approx(0.3)


@pytest.mark.parametrize("attack", BOTH)
def test_the_same_seed_gives_the_same_images(attack: Any) -> None:
    first, again, other = (run(attack, seed=seed)[0].values for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("attack", BOTH)
@pytest.mark.parametrize("loss", ["cross_entropy", "logit", "margin"])
def test_strange_targets_are_attacked_too(attack: Any, loss: Any) -> None:
    attack = replace(attack, loss=loss)
    pair = replace(held(), card=card(2), classes=torch.arange(2))
    with seeded(0):
        untrained = nn.Sequential(nn.Flatten(), nn.Linear(144, 2))
    constant = nn.Sequential(nn.Flatten(), nn.Linear(144, 2))
    nn.init.zeros_(constant[1].weight)
    for network in (untrained, constant):
        assert torch.isfinite(run(attack, pair, network)[0].values).all()


@pytest.mark.parametrize("attack", BOTH)
def test_large_and_colour_images(attack: Any) -> None:
    for shape in ((1, 112, 92), (3, 32, 32)):
        x = torch.rand(8, *shape, generator=generator(0))
        public = Split(x, torch.zeros(8).long(), torch.arange(8))
        bare = Knowledge(replace(card(2), shape=shape), public, classes=torch.arange(2))
        prior = GanPrior(latent=4, width=2, steps=1, batch_size=2).fit(bare, 0, "cpu")
        network = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 2))
        small = replace(attack, steps=2)
        if isinstance(small, KedMi):
            small = replace(small, gan_steps=1, batch_size=2)
        out, _ = run(small, replace(bare, prior=prior), network)
        assert out.values.shape == (2, *shape)


@pytest.mark.parametrize("attack", BOTH)
def test_a_broken_target_diverges(attack: Any) -> None:
    network = target(PRIVATE)
    with torch.no_grad():
        network.head.weight[0, 0] = torch.nan
    with pytest.raises(DivergedError):
        run(attack, network=network)


@pytest.mark.parametrize("attack", BOTH)
def test_twice_the_effort(attack: Any) -> None:
    assert attack.doubled() == replace(
        attack, steps=12, **({"gan_steps": 6} if isinstance(attack, KedMi) else {})
    )


def test_gmi_by_hand() -> None:
    """Two steps of Nesterov's momentum on a quadratic, as the authors' code writes them."""

    start = torch.tensor([[0.8, -0.4]])
    z, velocity = start.clone(), torch.zeros(1, 2)
    for _ in range(2):
        before, velocity = velocity, 0.9 * velocity - 0.02 / 100 * (100 * 2 * z)
        z = z - 0.9 * before + 1.9 * velocity

    class Plain:
        def decode(self, z: Tensor) -> Tensor:
            return z

    def identity(x: Tensor, own: Tensor) -> Tensor:
        return x.square().sum(1)

    found, trace = Gmi(steps=2, restarts=1)._descend(
        identity, Plain(), lambda x: x[:, 0] * 0, torch.zeros(1).long(), start, generator(0)
    )
    assert torch.allclose(found, z)
    assert trace[0] == pytest.approx(-80.0)


def test_ked_mi_follows_the_reparametrised_gradient() -> None:
    """The mean goes to the minimum; where the objective has a slope, the noise shrinks."""

    class Plain:
        def decode(self, z: Tensor) -> Tensor:
            return z

    class Sure:
        def logits(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 2), 50.0)

    attack = KedMi(steps=300, learning_rate=0.05, weight=1.0)
    mean, log_variance, _ = attack._recover(
        lambda x, own: 4 * (x[:, 0] - 0.5).square(),
        Plain(),
        Sure(),
        torch.zeros(1).long(),
        lambda runs: torch.randn(runs, 2, generator=rng),
        rng := generator(0),
    )
    assert mean[0, 0] == pytest.approx(0.5, abs=0.1)
    assert log_variance[0, 0] < log_variance[0, 1] - 1


def test_the_helpers_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0]])
    assert float(unreal(logits)) == pytest.approx(-torch.tensor(3 / 4).log().item())
    assert float(entropy(logits)) == pytest.approx(torch.tensor(3.0).log().item())
    few = per_class(torch.tensor([2]), 4, 3, 5, generator(0))
    every = per_class(torch.arange(4), 4, 3, 5, generator(0))
    assert torch.equal(few, every[2::4])
    value, gradient = slope(lambda z, rows: z.square().sum(1), torch.tensor([[1.0, 2.0]]))
    assert value.tolist() == [5.0] and gradient.tolist() == [[2.0, 4.0]]


def test_an_adaptive_loss_does_not_see_the_scale_of_logits() -> None:
    latent, classes = Latent.of(held(), "cpu"), torch.arange(PEOPLE)
    x, own = photographs(PEOPLE, 1, seed=3).x, classes
    for loss, same in (("margin", True), ("logit", True), ("cross_entropy", False)):
        sharp, dull = (
            Identity.of(target(PRIVATE, gain), latent, classes, loss, generator(0))(x, own)
            for gain in (40.0, 4.0)
        )
        assert torch.allclose(sharp, dull, atol=1e-3) is same


def test_the_discriminator_learns_the_targets_labels() -> None:
    network, public = target(PRIVATE), knowledge().public.x
    with seeded(0):
        maker, critic = Generator(SHAPE, 8, 4, skip=True), Critic(SHAPE, 8, PEOPLE)
    maker.begin(public)
    named = network(public).argmax(1)
    before = (critic.logits(public).argmax(1) == named).float().mean()
    train_inversion_gan(
        maker,
        critic,
        public,
        network,
        generator(0),
        steps=60,
        batch_size=32,
        lr=2e-3,
        critic_steps=1,
        flip=False,
        shift=0.0,
    )
    after = (critic.logits(public).argmax(1) == named).float().mean()
    assert after > before + 0.3


def likeness(x: Tensor) -> float:
    """How many images are most like their own person, by correlation around the public mean."""

    def unit(images: Tensor) -> Tensor:
        return F.normalize(images.flatten(1) - held().public.x.mean(0).flatten())

    means = torch.stack([PRIVATE.x[PRIVATE.y == c].mean(0) for c in range(PEOPLE)])
    return float(((unit(x) @ unit(means).T).argmax(1) == torch.arange(PEOPLE)).float().mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [
        Gmi(steps=300),
        Gmi(steps=300, loss="margin"),
        KedMi(steps=300, gan_steps=50),
        KedMi(steps=300, gan_steps=50, loss="margin"),
    ],
)
def test_it_beats_a_random_sample(attack: Any) -> None:
    latent = Latent.of(held(), "cpu")
    drawn = latent.draw(40 * PEOPLE, generator(0)).split(PEOPLE)
    chance = sum(likeness(latent.decode(z)) for z in drawn) / len(drawn)
    out, _ = run(attack)
    assert chance < 0.4
    assert likeness(out.values) >= 5 / 6


def test_a_prior_is_needed_unless_ked_mi_starts_from_noise() -> None:
    for attack in (GMI, KED):
        with pytest.raises(UserError, match="got none"):
            run(attack, knowledge())
    cold = replace(KED, warm_start=False, latent=4, width=4)
    assert run(cold, knowledge())[0].values.shape == (PEOPLE, *SHAPE)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("attack", [*BOTH, replace(KED, warm_start=False, jitter=0.1)])
def test_they_run_where_the_target_is(attack: Any) -> None:
    prior = GanPrior(latent=8, width=4, steps=2, batch_size=16).fit(knowledge(), 0, "cuda")
    exposure = exposed(target(PRIVATE).to("cuda"), "weights")
    out = attack.run(exposure, knowledge(prior=prior), 0, "cuda")
    assert out.values.is_cuda and bool(torch.isfinite(out.values).all())
