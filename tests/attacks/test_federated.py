"""What attacks on shared updates have in common."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from attacks.common.federated import Federated, Observed, cosine, disagreement, matching, squared
from bench.contract import Federation, UserError, generator
from tests.attacks.clients import CLASSES, conv, mlp, world


@pytest.mark.parametrize(
    "federation",
    [
        Federation(records=4),
        Federation(batch_size=2, records=4),
        Federation(batch_size=2, local_steps=3, local_lr=0.1, records=4),
    ],
)
def test_the_true_records_give_the_shared_update(federation: Federation) -> None:
    exposure, knowledge, x, y = world(conv(), federation)
    observed = Observed.of(exposure, knowledge, "cpu")
    shape = federation.clients, federation.batch_size
    hot = F.one_hot(y, CLASSES).float().view(*shape, -1)
    dummy = observed.gradients(x.view(*shape, *x.shape[1:]), hot)
    torch.testing.assert_close(dummy, observed.target, atol=2e-6, rtol=1e-4)
    assert exposure.meter.updates == federation.clients and exposure.meter.queries == 0
    assert exposure.meter.forward_passes == federation.records * federation.local_steps


@pytest.mark.parametrize("network", [mlp(), conv()])
@pytest.mark.parametrize("batch", [1, 2, 8])
def test_labels_are_read_off_the_head(network, batch: int) -> None:
    labels = torch.randint(0, CLASSES, (16,), generator=generator(3))
    exposure, knowledge, _, y = world(network, Federation(batch, records=16), labels=labels)
    found = Observed.of(exposure, knowledge, "cpu").labels()
    assert torch.equal(found, y.view(-1, batch).sort(1).values)


def test_labels_survive_noise_and_local_steps() -> None:
    noisy = lambda u: {  # noqa: E731
        k: v + 0.05 * torch.randn(v.shape, generator=generator(1)) for k, v in u.items()
    }
    exposure, knowledge, _, y = world(mlp(), Federation(1, 4, records=16), noisy)
    assert torch.equal(Observed.of(exposure, knowledge, "cpu").labels().flatten(), y)


def test_rounds_are_averaged_and_counted() -> None:
    rng = generator(0)
    noisy = lambda u: {k: v + torch.randn(v.shape, generator=rng) for k, v in u.items()}  # noqa: E731
    exposure, knowledge, _, _ = world(mlp(), Federation(records=4), noisy)
    one = Observed.of(exposure, knowledge, "cpu").target
    many = Observed.of(exposure, knowledge, "cpu", rounds=64).target
    assert float(many.std()) < float(one.std()) / 6
    assert exposure.meter.updates == 4 * 65


def test_distances_are_zero_at_the_truth_only() -> None:
    shared = torch.randn(3, 50, generator=generator(0))
    for distance in (squared, cosine, disagreement):
        torch.testing.assert_close(distance(shared, shared), torch.zeros(3), atol=1e-6, rtol=0)
        assert bool((distance(-shared, shared) > 0.9).all())
    assert bool((cosine(3 * shared, shared) < 1e-6).all())
    pruned = torch.where(shared.abs() > 1, shared, 0.0)
    assert bool((matching(squared, pruned, mask=True)(shared) < 1e-6).all())
    assert bool((matching(squared, pruned, mask=False)(shared) > 0.05).all())


def test_the_protocol_is_an_option_of_the_attack() -> None:
    chosen = Federated(batch_size=4, local_steps=2, records=8).federation
    assert (chosen.clients, chosen.local_steps) == (2, 2)
    with pytest.raises(UserError, match="records is 6; give a multiple"):
        Federated(batch_size=4, records=6)
