"""DLG and iDLG."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from attacks.dlg import Dlg
from bench.contract import Federation
from tests.attacks.clients import conv, mlp, prune, psnr, world

QUICK = Dlg(labels="inferred", steps=90, records=4)


@pytest.mark.parametrize("network", [mlp(), conv()])
def test_a_smooth_network_gives_the_records_away(network) -> None:
    exposure, knowledge, x, y = world(network, QUICK.federation)
    found = QUICK.run(exposure, knowledge, 0, "cpu")
    assert bool((psnr(found.values, x) > 40).all())
    assert torch.equal(found.labels, y) and found.info["failed"] == 0
    again = QUICK.run(exposure, knowledge, 0, "cpu")
    assert torch.equal(found.values, again.values)


def test_dummy_labels_are_found_with_the_records() -> None:
    attack = Dlg(steps=150, restarts=3, records=4)
    exposure, knowledge, x, y = world(mlp(), attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")
    solved = psnr(found.values, x) > 40
    assert int(solved.sum()) >= 3
    assert torch.equal(found.labels[solved], y[solved])


def test_pruning_is_undone_by_matching_the_survivors() -> None:
    exposure, knowledge, x, _ = world(mlp(), QUICK.federation, prune(0.7))
    plain = QUICK.run(exposure, knowledge, 0, "cpu")
    attack = dataclasses.replace(QUICK, mask=True)
    masked = attack.run(exposure, knowledge, 0, "cpu")
    assert float(psnr(plain.values, x).median()) < 20 < 30 < float(psnr(masked.values, x).median())
    assert attack.adaptive_to == ("gradient_pruning",) and QUICK.adaptive_to == ()


def test_batches_and_local_steps_are_simulated() -> None:
    attack = Dlg(labels="inferred", steps=150, batch_size=2, local_steps=2, records=4)
    exposure, knowledge, x, _ = world(mlp(), attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")
    pairs = torch.stack([psnr(found.values[[0, 1]], x[:2]), psnr(found.values[[1, 0]], x[:2])])
    assert float(pairs.mean(1).max()) > 30


def test_an_update_that_is_not_finite_costs_its_own_record_only() -> None:
    def broken(update):
        return {k: torch.cat([v[:1] * torch.nan, v[1:]]) for k, v in update.items()}

    exposure, knowledge, x, _ = world(mlp(), Federation(records=4), broken)
    found = QUICK.run(exposure, knowledge, 0, "cpu")
    assert bool(torch.isfinite(found.values).all())
    assert bool((psnr(found.values, x)[1:] > 40).all())


def test_options() -> None:
    assert QUICK.doubled().steps == 180
