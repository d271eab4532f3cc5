from __future__ import annotations

import pytest
import torch

from attacks.common.latent import LinearLatent, within
from attacks.common.priors import PcaPrior
from bench.contract import Knowledge, Split, UserError
from tests.attacks.images import RANK, SHAPE, card, knowledge


def test_public_latents_are_whitened() -> None:
    held = knowledge()
    tensors = PcaPrior(8).fit(held, 0, "cpu")
    assert tensors["mean"].shape == SHAPE
    assert tensors["basis"].shape == (8, *SHAPE)
    latent = LinearLatent(tensors["mean"], tensors["basis"])
    z = latent.encode(held.public.x)
    assert torch.allclose(z.mean(0), torch.zeros(8), atol=1e-4)
    assert torch.allclose(torch.cov(z.T), torch.eye(8), atol=1e-3)


def test_decoding_undoes_encoding_and_stays_an_image() -> None:
    held = knowledge()
    tensors = PcaPrior(60).fit(held, 0, "cpu")
    latent = LinearLatent(tensors["mean"], tensors["basis"])
    assert torch.allclose(latent.decode(latent.encode(held.public.x)), held.public.x, atol=2e-3)
    far = latent.decode(50 * torch.ones(2, latent.size))
    assert far.min() >= 0 and far.max() <= 1


def test_it_keeps_no_direction_without_variance() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(20, 2, generator=rng) @ torch.rand(2, 144, generator=rng)
    public = Split(x.view(-1, *SHAPE) / x.max(), torch.zeros(20).long(), torch.zeros(20).long())
    tensors = PcaPrior(RANK).fit(Knowledge(card(), public), 0, "cpu")
    assert len(tensors["basis"]) == 2


def test_the_same_prior_every_time() -> None:
    first, again = (PcaPrior(8).fit(knowledge(), seed, "cpu") for seed in (0, 1))
    assert all(torch.equal(first[k], again[k]) for k in first)


def test_the_ball_holds() -> None:
    z = within(torch.randn(50, 9) * 10, 3.0)
    assert z.norm(dim=1).max() <= 3.0 + 1e-4
    small = torch.full((1, 9), 0.1)
    assert torch.equal(within(small, 3.0), small)


def test_refusals() -> None:
    held = knowledge()
    tiny = Knowledge(card(), held.public.take(torch.arange(2)))
    with pytest.raises(UserError, match="at least 3 public records"):
        PcaPrior().fit(tiny, 0, "cpu")
