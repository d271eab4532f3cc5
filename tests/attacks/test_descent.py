from __future__ import annotations

import math

import pytest
import torch

from attacks.common.descent import Features, descend, identity_loss, poincare
from bench.contract import DivergedError, UserError
from tests.attacks.images import PEOPLE, photographs, target


def test_poincare_by_hand() -> None:
    # u = (3/4, -1/4), v = (0.9999, 0): eq. 3 of the paper.
    logits, xi = torch.tensor([[3.0, -1.0]]), 1e-4
    gap = (0.75 - (1 - xi)) ** 2 + 0.25**2
    inside = (1 - 0.75**2 - 0.25**2) * (1 - (1 - xi) ** 2)
    expected = math.acosh(1 + 2 * gap / inside)
    assert float(poincare(logits, torch.tensor([0]))) == pytest.approx(expected, rel=1e-3)
    # Only the direction of the logits counts.
    assert torch.allclose(
        poincare(10 * logits, torch.tensor([0])), poincare(logits, torch.tensor([0]))
    )


@pytest.mark.parametrize("logits", [[0.0, 0.0], [5.0, 0.0], [1e4, 1.0], [0.0, 5.0]])
def test_poincare_is_finite_where_it_is_steepest(logits: list[float]) -> None:
    x = torch.tensor([logits], requires_grad=True)
    loss = poincare(x, torch.tensor([0]))
    loss.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(loss).all() and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("loss", ["poincare", "cross_entropy", "logit", "margin"])
def test_every_loss_prefers_the_class(loss: str) -> None:
    logits = torch.tensor([[4.0, 1.0, -1.0], [1.0, 4.0, -1.0], [1.0, -1.0, 4.0]])
    values = identity_loss(logits, torch.zeros(3, dtype=torch.int64), loss)  # type: ignore[arg-type]
    assert values[0] < values[1] and values[0] < values[2]
    assert values.shape == (3,)


def test_descent_finds_a_minimum_and_holds_its_rows() -> None:
    wanted = torch.linspace(-1, 1, 300).unsqueeze(1).expand(-1, 2)

    def total(z: torch.Tensor, place: slice) -> torch.Tensor:
        return (z - wanted[place]).square().sum(1)

    z, trace = descend(total, torch.zeros(300, 2), 60, 0.1, (0.9, 0.999), lambda z: z)
    assert torch.allclose(z, wanted, atol=0.05)
    assert len(trace) == 60 and trace[-1] > trace[0]
    held, _ = descend(
        total, torch.zeros(300, 2), 60, 0.1, (0.9, 0.999), lambda z: z.clamp(-0.5, 0.5)
    )
    assert float(held.abs().max()) == pytest.approx(0.5)


def test_a_broken_descent_diverges() -> None:
    with pytest.raises(DivergedError, match="learning_rate"):
        descend(
            lambda z, _: (z * torch.nan).sum(1), torch.zeros(1, 2), 1, 0.1, (0.9, 0.9), lambda z: z
        )


def test_features_are_what_the_head_sees() -> None:
    network = target(photographs(PEOPLE, 4, seed=1))
    x = photographs(3, 1, seed=2).x
    features = Features(network)
    network(x)
    assert torch.equal(features.value, network.features(x))
    with pytest.raises(UserError, match="no linear head"):
        Features(torch.nn.Flatten())
