"""Only the sum of a round's updates is seen."""

from __future__ import annotations

import pytest
import torch

from bench.contract import Federation, UserError, generator
from bench.models.federated import updates
from bench.models.mlp import Mlp
from bench.models.training import train
from defenses.clip_noise import ClipNoise
from defenses.secure_aggregation import SecureAggregation
from tests.models.records import table

MODEL = Mlp(hidden=(4,), epochs=1)
PLAIN = Federation(batch_size=2, records=32)


def test_what_is_seen_is_the_mean_of_single_updates_and_none_of_them() -> None:
    splits = table(n=32)
    network, _ = train(MODEL, [], splits, 0, "cpu")
    hidden = SecureAggregation(clients=4).federate(PLAIN)
    assert (hidden.clients, hidden.batch_size, hidden.aggregated) == (4, 8, 4)

    def round_of(federation: Federation) -> dict[str, torch.Tensor]:
        clip = [ClipNoise(clip_norm=0.05, noise_multiplier=0.0)]
        x, y = splits.train.x, splits.train.y
        return updates(network, clip, x, y, federation, "classification", generator(0), "cpu")

    single, summed = round_of(PLAIN), round_of(hidden)
    for name, value in single.items():
        # Clipping is each client's own, before the sum: not that of the group's gradient.
        torch.testing.assert_close(summed[name], value.view(4, 4, *value.shape[1:]).mean(1))
    norms = [torch.cat([v[i].flatten() for v in single.values()]).norm() for i in range(16)]
    assert max(norms) <= 0.05 * 1.001


def test_one_client_is_no_defense_and_groups_of_groups_multiply() -> None:
    assert SecureAggregation(clients=1).federate(PLAIN) == PLAIN
    twice = SecureAggregation(2).federate(SecureAggregation(4).federate(PLAIN))
    assert twice.aggregated == 8 and twice.batch_size == 16


def test_groups_that_do_not_come_out_even_are_refused() -> None:
    with pytest.raises(UserError, match="records is 32; give a multiple of twice batch_size"):
        SecureAggregation(clients=3).federate(PLAIN)
