from __future__ import annotations

import torch

from attacks.common.latent import Latent
from attacks.common.latent_descent import LatentDescent
from attacks.common.priors import PcaPrior
from attacks.common.strangers import Strangers
from bench.contract import Split, generator
from tests.attacks.images import PEOPLE, knowledge, photographs, target

PUBLIC = photographs(30, 4, seed=9)
KNOWN = PUBLIC.take(torch.arange(len(PUBLIC)) % 4 < 3)
UNSEEN = PUBLIC.take(torch.arange(len(PUBLIC)) % 4 == 3)


def test_new_pictures_of_public_people_resemble_them_more_than_other_people_do() -> None:
    strangers = Strangers.of(KNOWN)
    same = strangers.resemblance(UNSEEN.x)
    others = strangers.resemblance(photographs(30, 1, seed=1).x)
    assert (same.unsqueeze(1) > others).float().mean() > 0.9


def test_one_picture_a_person_is_enough() -> None:
    single = Split(KNOWN.x, torch.arange(len(KNOWN)), KNOWN.person)
    assert torch.isfinite(Strangers.of(single).resemblance(UNSEEN.x)).all()


def test_who_avoids_public_people_resembles_them_less_and_names_the_class_as_surely() -> None:
    network = target(photographs(PEOPLE, 4, seed=1))
    prior = PcaPrior(8).fit(knowledge(), 0, "cpu")
    latent = Latent.of(knowledge(prior=prior), "cpu")
    public = knowledge().public
    strangers, classes = Strangers.of(public), torch.arange(PEOPLE)
    likeness = []
    for avoid in (0.0, 2.0):
        search = LatentDescent(
            loss="margin", restarts=2, steps=150, rate=0.1, prior_weight=0.003, avoid=avoid
        )
        bank = latent.bank(public.x, 64, generator(0))
        ended = search.run(network, latent, bank, classes, public, generator(1))
        x = latent.decode(ended.z)
        assert torch.equal(network(x).argmax(1), classes.repeat(2))
        likeness.append(float(strangers.resemblance(x).mean()))
    assert likeness[1] < likeness[0] - 0.1
