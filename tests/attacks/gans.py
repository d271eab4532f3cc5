"""A GAN of toy faces that several attacks search, and whom its images look like."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import normalize

from attacks.common.priors import GanPrior
from bench.contract import Knowledge
from tests.attacks.images import PEOPLE, knowledge, photographs

PRIVATE = photographs(PEOPLE, 4, seed=1)


@cache
def held() -> Knowledge:
    """A GAN of a few steps: it starts as principal components, so it makes likely images."""
    prior = GanPrior(latent=8, width=4, steps=5, batch_size=16, lr=1e-4)
    return knowledge(prior=prior.fit(knowledge(), 0, "cpu"))


def named(x: Tensor) -> Tensor:
    """Which person's mean image each reconstruction is most like, by correlation."""
    middle = held().public.x.mean(0).flatten()
    means = torch.stack([PRIVATE.x[PRIVATE.y == c].mean(0) for c in range(PEOPLE)])
    return (normalize(x.flatten(1) - middle) @ normalize(means.flatten(1) - middle).T).argmax(1)
