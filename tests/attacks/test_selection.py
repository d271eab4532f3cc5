from __future__ import annotations

import pytest
import torch

from attacks.common.latent import Latent
from attacks.common.priors import PcaPrior
from attacks.common.selection import Views, best_candidates, confidences, interpolation
from bench.contract import UserError, generator
from tests.attacks.images import PEOPLE, exposed, knowledge, photographs, target


def test_a_whole_window_is_the_identity_and_a_negative_one_a_mirror() -> None:
    line = torch.rand(3, 7)
    zero, seven = torch.zeros(3), torch.full((3,), 7.0)
    same = torch.einsum("noi,ni->no", interpolation(zero, seven, 7), line)
    mirror = torch.einsum("noi,ni->no", interpolation(seven, -seven, 7), line)
    assert torch.allclose(same, line, atol=1e-6)
    assert torch.allclose(mirror, line.flip(1), atol=1e-6)


def test_rows_of_an_interpolation_sum_to_one_inside_and_outside() -> None:
    start, length = torch.tensor([-3.0, 0.2, 4.0]), torch.tensor([6.0, 5.0, 9.0])
    assert torch.allclose(interpolation(start, length, 6).sum(2), torch.ones(3, 6), atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 1, 12, 12), (4, 3, 28, 23)])
def test_views_by_hand(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    assert Views()(x, generator(0)) is x
    assert torch.allclose(Views(flip=1.0)(x, generator(0)), x.flip(3), atol=1e-5)
    cropped = Views((0.5, 0.9), (0.8, 1.2), 0.5, 0.2)(x, generator(0))
    assert cropped.shape == x.shape
    assert cropped.min() >= 0 and cropped.max() <= 1
    again = Views((0.5, 0.9), (0.8, 1.2), 0.5, 0.2)(x, generator(0))
    assert torch.equal(cropped, again)


def test_a_crop_magnifies_and_differs_between_images() -> None:
    ramp = torch.linspace(0, 1, 20).expand(2, 1, 20, 20)
    seen = Views((0.25, 0.25))(ramp, generator(1))
    # A quarter of the area is half of the side: the slope halves.
    slope = seen[:, 0, 10, 12] - seen[:, 0, 10, 8]
    assert torch.allclose(slope, torch.full((2,), 4 / 19 / 2), atol=1e-3)
    assert not torch.allclose(seen[0], seen[1])


def test_gradients_pass_through_views() -> None:
    x = torch.rand(2, 1, 8, 8, requires_grad=True)
    Views((0.8, 1.0), flip=0.5, jitter=0.1)(x, generator(0)).sum().backward()
    assert x.grad is not None and float(x.grad.abs().sum()) > 0


def test_the_best_candidates_of_every_class_class_0_included() -> None:
    scores = torch.tensor([[0.1, 0.9], [0.7, 0.3], [0.6, 0.4]])
    rows = best_candidates(scores, torch.tensor([0, 1]), 2)
    assert rows.tolist() == [1, 0, 2, 2]
    # Fewer candidates than wanted: they repeat.
    assert best_candidates(scores[:1], torch.tensor([1, 0]), 2).tolist() == [0, 0, 0, 0]


def test_confidences_are_means_over_views() -> None:
    network = target(photographs(PEOPLE, 4, seed=1))
    of = knowledge(prior=PcaPrior(8).fit(knowledge(), 0, "cpu"))
    latent = Latent.of(of, "cpu")
    z = latent.draw(5, generator(0))
    exposure = exposed(network, "weights")
    plain = confidences(exposure.network(), latent, z, Views(), 3, generator(0))
    assert torch.allclose(plain.float(), network(latent.decode(z)).softmax(1), atol=1e-5)
    assert exposure.meter.forward_passes == 15
    robust = confidences(exposure.network(), latent, z, Views((0.5, 0.9)), 20, generator(0))
    assert torch.allclose(robust.sum(1), torch.ones(5, dtype=torch.float64))
    assert not torch.allclose(robust, plain, atol=1e-2)


@pytest.mark.parametrize("crop", [(0.0, 1.0), (0.9, 0.8), (0.5, 1.1), (0.5,)])
def test_impossible_crops(crop: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=r"^crop is"):
        Views(crop)
