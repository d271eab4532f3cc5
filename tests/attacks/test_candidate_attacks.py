"""PPA, LOMMA and PLG-MI on toy faces."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from attacks.common.gan import load_generator
from attacks.common.latent import Latent
from attacks.common.priors import PcaPrior
from attacks.common.pseudo_gan import players, top_images
from attacks.lomma import Lomma
from attacks.plg_mi import PlgMi
from attacks.ppa import Ppa
from bench.contract import Attack, Card, DivergedError, Knowledge, Network, Split, UserError
from tests.attacks.gans import PRIVATE
from tests.attacks.gans import held as gan
from tests.attacks.images import PEOPLE, SHAPE, exposed, knowledge, target

PPA = Ppa(samples=100, candidates=2, steps=30, draws=10)
LOMMA = Lomma(restarts=2, steps=30, students=1, epochs=15, samples=20)
PLG = PlgMi(
    latent=8, width=4, gan_steps=3, batch_size=16, restarts=2, steps=30, flip=0.0, crop=(0.9, 1.0)
)
ALL: list[Any] = [PPA, LOMMA, PLG]


@cache
def pca() -> Knowledge:
    return knowledge(prior=PcaPrior(8).fit(knowledge(), 0, "cpu"))


def run(attack: Attack, of: Knowledge | None = None, network: nn.Module | None = None, seed=0):
    exposure = exposed(network or target(PRIVATE), "weights")
    return attack.run(exposure, of or pca(), seed, "cpu"), exposure


def nearest(x: Tensor) -> Tensor:
    """Which person's mean image each reconstruction is most like, by correlation."""
    middle = pca().public.x.mean(0).flatten()
    means = torch.stack([PRIVATE.x[PRIVATE.y == c].mean(0) for c in range(PEOPLE)])
    return (normalize(x.flatten(1) - middle) @ normalize(means.flatten(1) - middle).T).argmax(1)


@pytest.mark.parametrize("held", [pca, gan])
@pytest.mark.parametrize("attack", [*ALL, replace(PPA, loss="margin"), replace(LOMMA, base="ked")])
def test_every_person_is_found_the_first_too(attack: Any, held: Any) -> None:
    out, exposure = run(attack, held())
    assert out.values.shape == (PEOPLE, *SHAPE)
    assert out.values.min() >= 0 and out.values.max() <= 1
    found = nearest(out.values) == torch.arange(PEOPLE)
    # A person numbered 0 is no absent person: `if cls:` would skip them.
    assert bool(found[0])
    # A large logit alone does not tell this target's people apart.
    assert int(found.sum()) >= PEOPLE - (2 if isinstance(attack, Lomma) else 1)
    assert exposure.meter.queries == 0
    assert out.info["stop_reasons"] == ["steps"] * PEOPLE
    assert out.info["steps"] == 30
    assert len(out.info["signal"]) == PEOPLE
    assert isinstance(out.info["improvement_last_fifth"], float)


@pytest.mark.parametrize("attack", ALL)
def test_the_same_seed_gives_the_same_images(attack: Any) -> None:
    quick = replace(attack, steps=2)
    first, again, other = (run(quick, seed=seed)[0].values for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_backward_passes_are_candidates_times_steps() -> None:
    assert run(PPA)[1].meter.backward_passes == 30 * 2 * PEOPLE
    assert run(LOMMA)[1].meter.backward_passes == 30 * 2 * PEOPLE
    # Two views a step, and one per generated image while the GAN learns.
    assert run(PLG)[1].meter.backward_passes == 2 * 30 * 2 * PEOPLE + 3 * 16


@pytest.mark.parametrize("attack", ALL)
def test_doubled(attack: Any) -> None:
    twice = attack.doubled()
    assert twice.steps == 60 and replace(twice, steps=30) == attack


@pytest.mark.parametrize("loss", ["poincare", "margin", "cross_entropy", "logit"])
def test_candidates_improve_on_the_best_sample(loss: Any) -> None:
    out, _ = run(replace(PPA, loss=loss, crop=(1.0, 1.0)))
    network = target(PRIVATE)
    sure = network(out.values).softmax(1).diagonal()
    assert (sure >= torch.tensor(out.info["start"]) - 1e-3).all()


def test_the_final_choice_is_the_most_robust_candidate() -> None:
    """With a single candidate nothing is chosen; with more, the signal can only grow."""
    attack = replace(PPA, draws=50, candidates=1)
    one = torch.tensor(run(attack)[0].info["signal"])
    more = torch.tensor(run(replace(attack, candidates=4))[0].info["signal"])
    assert (more > one - 0.05).all() and more.mean() > one.mean()


def test_a_shrunk_logit_does_not_stop_them() -> None:
    for attack in ALL:
        out, _ = run(attack, network=target(PRIVATE, gain=0.4))
        assert (nearest(out.values) == torch.arange(PEOPLE)).sum() >= PEOPLE - 2


def test_lomma_without_students_is_the_logit_loss_alone() -> None:
    out, exposure = run(replace(LOMMA, students=0))
    assert out.info["agreement"] == []
    assert exposure.meter.backward_passes == 30 * 2 * PEOPLE
    assert len(run(LOMMA)[0].info["agreement"]) == 1


def test_the_feature_penalty_holds_features_near_public_ones() -> None:
    network, held = target(PRIVATE), pca()
    mean = held.public.x.mean(0)
    alike = replace(held, public=replace(held.public, x=mean + 0.1 * (held.public.x - mean)))

    def drift(weight: float) -> float:
        attack = replace(LOMMA, students=0, feature_weight=weight)
        out, _ = run(attack, alike, network)
        return float((network.features(out.values) - mean.flatten()).square().mean())

    assert drift(100.0) < 0.5 * drift(0.0)


def test_lomma_hears_the_critic() -> None:
    attack = replace(LOMMA, students=0, steps=5)
    heard = run(replace(attack, critic_weight=10.0), gan())[0].values
    assert not torch.allclose(heard, run(replace(attack, critic_weight=0.0), gan())[0].values)


def test_pseudo_labels_are_the_largest_scores() -> None:
    scores = torch.tensor([[0.1, 0.9], [0.7, 0.3], [0.6, 0.4]])
    index, labels = top_images(scores, torch.tensor([0, 1]), 2)
    assert index.tolist() == [1, 0, 2, 2]
    assert labels.tolist() == [0, 1, 0, 1]
    assert len(top_images(scores, torch.tensor([1]), 30)[0]) == 3


def test_the_conditional_gan_starts_where_the_prior_ended() -> None:
    z = torch.randn(5, 8)
    who = torch.arange(5)
    trained = load_generator(gan().prior)
    maker, critic, warm = players(gan().prior, gan().public.x, PEOPLE, 8, 4, 0)
    assert warm
    assert torch.allclose(maker.eval()(z, who), trained(z), atol=1e-5)
    assert critic.conditional == PEOPLE
    for prior, latent in ((gan().prior, 5), (pca().prior, 8)):
        maker, _, warm = players(prior, gan().public.x, PEOPLE, latent, 4, 0)
        assert not warm and maker.latent == latent
    assert run(replace(PLG, steps=1), gan())[0].info["warm_start"] is True
    assert run(replace(PLG, steps=1), pca())[0].info["warm_start"] is False


@pytest.mark.parametrize("attack", ALL)
def test_an_untrained_target_of_two_classes_of_colour(attack: Any) -> None:
    shape = (3, 14, 11)
    card = Card("c", "face", "image", shape, ("a", "b"), "person", "made", "none", True)
    public = Split(torch.rand(12, *shape), torch.zeros(12).long(), torch.arange(12))
    bare = Knowledge(card, public, classes=torch.arange(2))
    held = replace(bare, prior=PcaPrior(6).fit(bare, 0, "cpu"))
    torch.manual_seed(0)
    network = Network(nn.Sequential(nn.Flatten()), nn.Linear(math.prod(shape), 2)).eval()
    for net in (network, Network(nn.Sequential(nn.Flatten()), _zero(math.prod(shape)))):
        out, _ = run(replace(attack, steps=3), held, net)
        assert out.values.shape == (2, *shape) and torch.isfinite(out.values).all()


def _zero(size: int) -> nn.Linear:
    head = nn.Linear(size, 2)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


@pytest.mark.parametrize("attack", ALL)
def test_a_broken_target_diverges(attack: Any) -> None:
    network = target(PRIVATE)
    with torch.no_grad():
        network.head.weight[0, 0] = torch.nan
    with pytest.raises(DivergedError):
        run(replace(attack, steps=2), network=network)


def test_mirror_images_are_asked_about_too() -> None:
    straight, mirrored = (run(replace(PPA, flip=flip, steps=1))[0].values for flip in (0.0, 0.5))
    assert not torch.equal(straight, mirrored)


@pytest.mark.parametrize("attack", [PPA, LOMMA])
def test_latents_come_from_the_prior(attack: Any) -> None:
    with pytest.raises(UserError, match="got none"):
        run(attack, knowledge())
    assert Latent.of(gan(), "cpu").size == 8


@pytest.mark.parametrize("attack", [PPA, LOMMA, PLG])
def test_the_smaller_share_of_a_crop_comes_first(attack: Any) -> None:
    with pytest.raises(UserError, match=r"^crop is"):
        replace(attack, crop=(0.9, 0.5))
