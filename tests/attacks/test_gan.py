from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attacks.common.gan import (
    Average,
    Critic,
    Generator,
    augment,
    batches,
    eigenfaces,
    load,
    load_critic,
    tensors,
)
from attacks.common.gan_wasserstein import penalty, train_wgan
from attacks.common.latent import GanLatent, Latent, LinearLatent
from attacks.common.priors import GanPrior, PcaPrior
from attacks.prior_inversion import PriorInversion
from bench.contract import DivergedError, Knowledge, Split, UserError, generator, seeded
from tests.attacks.images import PEOPLE, SHAPE, exposed, knowledge, photographs, target

TINY = GanPrior(latent=8, width=4, steps=12, batch_size=16)
SHAPES = [(1, 12, 12), (3, 16, 16), (1, 28, 28), (1, 17, 33), (3, 64, 64), (1, 112, 92)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("skip", [False, True])
def test_players_fit_any_image(shape: tuple[int, ...], classes: int | None, skip: bool) -> None:
    maker = Generator(shape, latent=5, width=4, conditional=classes, skip=skip)
    critic = Critic(shape, width=4, classes=2, conditional=classes)
    labels = torch.tensor([0, 2]) if classes else None
    x = maker(torch.randn(2, 5), labels)
    assert x.shape == (2, *shape)
    assert x.min() > 0 and x.max() < 1
    assert critic(x, labels).shape == (2,)
    assert critic.logits(x).shape == (2, 2)
    for module, prefix in ((maker, "generator."), (critic, "critic.")):
        again = load(tensors(module, prefix), prefix)
        assert type(again) is type(module) and not again.training
        assert not any(p.requires_grad for p in again.parameters())
        kept = again.state_dict()
        assert all(torch.equal(value, kept[key]) for key, value in module.state_dict().items())


def test_a_label_changes_a_conditional_image_and_score() -> None:
    with seeded(0):
        maker, critic = Generator(SHAPE, 4, 4, 2).eval(), Critic(SHAPE, 4, conditional=2)
    assert maker.norms[0].scale is not None
    with torch.no_grad():
        maker.norms[0].scale.weight[1] *= -1
    z = torch.randn(1, 4).expand(2, -1)
    x = maker(z, torch.tensor([0, 1]))
    assert not torch.allclose(x[0], x[1])
    score = critic(x[:1].expand(2, -1, -1, -1), torch.tensor([0, 1]))
    assert not torch.allclose(score[0], score[1])


def test_eigenfaces_are_the_same_whichever_signs_a_library_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = knowledge().public.x.flatten(1).double()
    decompose = torch.linalg.svd

    def mirrored(*args: Any, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
        u, s, v = decompose(*args, **options)
        return -u, s, -v

    here = eigenfaces(x)
    monkeypatch.setattr(torch.linalg, "svd", mirrored)
    assert all(torch.equal(a, b) for a, b in zip(here, eigenfaces(x), strict=True))


def test_loading_is_strict() -> None:
    stored = tensors(Critic(SHAPE, 4), "critic.")
    with pytest.raises(RuntimeError, match="Missing key"):
        load({k: v for k, v in stored.items() if k != "critic.score.bias"}, "critic.")
    with pytest.raises(RuntimeError, match="Unexpected key"):
        load({**stored, "critic.more": torch.zeros(1)}, "critic.")
    with pytest.raises(RuntimeError, match="size mismatch"):
        load({**stored, "critic.score.bias": torch.zeros(2)}, "critic.")
    with pytest.raises(UserError, match="got none"):
        load_critic({})


def test_the_generator_begins_as_principal_components() -> None:
    public = knowledge().public.x
    with seeded(0):
        maker = Generator(SHAPE, 8, 4, skip=True).eval()
    maker.begin(public)
    z = torch.randn(4000, 8, generator=generator(0))
    with torch.no_grad():
        x = maker(z)
    assert (x.mean(0) - public.mean(0)).abs().mean() < 0.03
    assert x.std(0).mean() == pytest.approx(float(public.std(0).mean()), rel=0.25)


def test_augmenting_moves_and_mirrors_and_no_more() -> None:
    x = torch.arange(16 * 144.0).view(16, 1, 12, 12) / (16 * 144)
    assert torch.equal(augment(x, generator(0), flip=False, shift=0.0), x)
    assert torch.equal(augment(x, generator(1)), augment(x, generator(1)))
    mirrored = augment(x, generator(0), shift=0.0)
    same, other = (mirrored == x).flatten(1).all(1), (mirrored == x.flip(3)).flatten(1).all(1)
    assert bool((same ^ other).all()) and bool(same.any()) and bool(other.any())
    moved = augment(x, generator(0), flip=False, shift=0.1)
    inner = [x[:, :, 1 + v : 11 + v, 1 + u : 11 + u] for v in (-1, 0, 1) for u in (-1, 0, 1)]
    hits = torch.stack([(moved[:, :, 1:11, 1:11] == i).flatten(1).all(1) for i in inner])
    assert bool(hits.any(0).all()) and bool(hits.any(1).sum() > 2)
    assert not torch.equal(augment(x, generator(0), False, 0.0, colour=0.3), x)


def test_the_penalty_by_hand() -> None:
    class Slope(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 3 * x.flatten(1)[:, 0]

    x = torch.rand(5, *SHAPE)
    assert float(penalty(Slope(), x, x.flip(0), generator(0))) == pytest.approx(4.0)


def test_every_image_comes_once_a_round() -> None:
    rows = batches(10, 4, generator(0))
    seen = torch.cat([next(rows) for _ in range(5)])
    assert seen.bincount().tolist() == [2] * 10
    assert len(next(batches(3, 8, generator(0)))) == 8


def test_training_makes_likely_images() -> None:
    public = knowledge().public.x

    def distance(maker: Generator) -> float:
        with torch.no_grad():
            x = maker(torch.randn(200, 8, generator=generator(5)))
        return float((x.mean(0) - public.mean(0)).square().mean())

    with seeded(0):
        maker, critic = Generator(SHAPE, 8, 8), Critic(SHAPE, 8)
    before = distance(Average(maker, 0.9).finish(generator(0)))
    options = {"steps": 25, "batch_size": 16, "critic_steps": 2, "lr": 3e-3, "shift": 0.0}
    after = train_wgan(maker, critic, public, generator(0), **options, flip=False, decay=0.9)
    assert distance(after) < before / 2
    z = torch.randn(3, 8)
    assert torch.allclose(after(z)[:1], after(z[:1]), atol=1e-6)


def test_a_prior_follows_its_seed_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, again, other = (TINY.fit(knowledge(), seed, "cpu") for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["generator.stem.weight"], other["generator.stem.weight"])
    assert {key.partition(".")[0] for key in first} == {"generator", "critic"}


def test_the_latent_follows_the_prior() -> None:
    held = knowledge(prior=TINY.fit(knowledge(), 0, "cpu"))
    latent = Latent.of(held, "cpu")
    assert isinstance(latent, GanLatent) and latent.size == 8
    bank = latent.bank(held.public.x, 20, generator(0))
    assert bank.shape == (41, 8) and not bank[0].any()
    assert torch.equal(bank, latent.bank(held.public.x, 20, generator(0)))
    assert len(latent.bank(held.public.x, 0, generator(0))) == 1
    linear = knowledge(prior=PcaPrior(8).fit(knowledge(), 0, "cpu"))
    assert isinstance(Latent.of(linear, "cpu"), LinearLatent)
    wrong = replace(held, card=replace(held.card, shape=(1, 16, 16)))
    with pytest.raises(UserError, match="have shape"):
        Latent.of(wrong, "cpu")


@pytest.mark.parametrize("access", ["weights", "scores", "labels"])
def test_prior_inversion_searches_it_too(access: str) -> None:
    held = knowledge(prior=TINY.fit(knowledge(), 0, "cpu"))
    exposure = exposed(target(photographs(PEOPLE, 4, seed=1)), access)
    attack = PriorInversion(access=access, steps=8, samples=50)
    out = attack.run(exposure, held, 0, "cpu")
    assert out.values.shape == (PEOPLE, *SHAPE)
    assert max(out.info["norm"]) <= math.sqrt(8) * 1.5 + 1e-4


def test_refusals() -> None:
    with pytest.raises(UserError, match="without classes"):
        Critic(SHAPE, 4).logits(torch.rand(1, *SHAPE))
    one = Knowledge(knowledge().card, knowledge().public.take(torch.arange(1)))
    with pytest.raises(UserError, match="at least 2 public records"):
        TINY.fit(one, 0, "cpu")
    table = Split(torch.rand(9, 4), torch.zeros(9).long(), torch.arange(9))
    with pytest.raises(UserError, match="8 x 8 pixels"):
        TINY.fit(Knowledge(replace(knowledge().card, shape=(4,)), table), 0, "cpu")
    broken = replace(knowledge().public, x=torch.full((20, *SHAPE), torch.nan))
    with pytest.raises(DivergedError, match="diverged"):
        replace(TINY, skip=False).fit(Knowledge(knowledge().card, broken), 0, "cpu")
