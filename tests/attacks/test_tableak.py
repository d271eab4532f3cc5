"""Rows of a table from gradients: TabLeak, the analytic attack, and the marginals."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from attacks.analytic_gradient import AnalyticGradient
from attacks.common.relaxation import likeliest
from attacks.public_marginals import PublicMarginals
from attacks.tableak import TabLeak, _aligned, _entropy
from bench.contract import Federation
from bench.contract.columns import Layout
from bench.metrics.gradient_reconstruction import score
from tests.attacks.clients import prune
from tests.attacks.rows import card, layout, mlp, rows, world

QUICK = TabLeak(steps=120, restarts=4, records=8)


def legal(x: Tensor) -> bool:
    return torch.equal(layout().project(x), x)


def test_a_record_is_recovered_from_its_gradient() -> None:
    exposure, knowledge, truth = world(mlp(), QUICK.federation)
    found = QUICK.run(exposure, knowledge, 0, "cpu")
    judged = score(found, truth)
    assert judged.value > 0.95 and judged.extra["categorical"] == 1.0
    assert judged.extra["label_recovery"] == 1.0 and legal(found.values)
    blind = score(PublicMarginals(records=8).run(exposure, knowledge, 0, "cpu"), truth)
    assert blind.value < 0.75


def test_a_batch_and_local_steps_are_matched_as_a_whole() -> None:
    attack = dataclasses.replace(QUICK, batch_size=2, local_steps=2, steps=200)
    exposure, knowledge, truth = world(mlp(nn.ReLU, 64), attack.federation)
    assert score(attack.run(exposure, knowledge, 0, "cpu"), truth).value > 0.85


def test_same_seed_same_answer_and_another_seed_another_start() -> None:
    exposure, knowledge, _ = world(mlp(), QUICK.federation)
    short = dataclasses.replace(QUICK, steps=2)
    a, b, c = (short.run(exposure, knowledge, s, "cpu") for s in (0, 0, 1))
    assert torch.equal(a.values, b.values) and a.info == b.info
    assert a.info["distance"] != c.info["distance"]


def test_pruning_is_undone_by_matching_the_survivors() -> None:
    exposure, knowledge, truth = world(mlp(), QUICK.federation, prune(0.8))
    masked = dataclasses.replace(QUICK, mask=True)
    plain, adapted = (score(a.run(exposure, knowledge, 0, "cpu"), truth) for a in (QUICK, masked))
    assert adapted.value >= plain.value and adapted.value > 0.9


def test_a_gradient_that_says_nothing_is_worth_no_more_than_chance() -> None:
    def silent(update: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {k: torch.zeros_like(v) for k, v in update.items()}

    exposure, knowledge, truth = world(mlp(), QUICK.federation, silent)
    assert score(QUICK.run(exposure, knowledge, 0, "cpu"), truth).value < 0.7


@pytest.mark.parametrize("attack", [QUICK, AnalyticGradient(records=8)])
def test_an_update_that_is_not_finite_costs_its_own_record_only(attack) -> None:
    def broken(update: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {k: torch.cat([v[:1] * torch.nan, v[1:]]) for k, v in update.items()}

    exposure, knowledge, truth = world(mlp(), Federation(records=8), broken)
    found = attack.run(exposure, knowledge, 0, "cpu")
    assert found.info["failed"] == 1 and legal(found.values)
    assert float(score(found, truth).outcomes["share"][1:].mean()) > 0.95


def test_members_are_put_in_the_order_of_the_best_one() -> None:
    batch = rows(5, 0)
    order = torch.tensor([3, 1, 4, 0, 2])
    ensemble = torch.stack([batch[order], batch, batch.flip(0)]).unsqueeze(1)
    distance = torch.tensor([[0.3], [0.1], [0.2]])
    aligned = _aligned(layout(), ensemble, distance)
    assert all(torch.equal(member[0], batch) for member in aligned)


def test_pooling_outvotes_a_member() -> None:
    good, bad = rows(3, 0), rows(3, 9)
    ensemble = torch.stack([good, good, bad]).unsqueeze(1)
    for pooling in ("median", "mean"):
        attack = dataclasses.replace(QUICK, pooling=pooling)
        assert torch.equal(attack._pool(layout(), ensemble)[0], good)


def test_entropy_is_0_where_all_agree_and_1_where_nothing_is_known() -> None:
    x = rows(3, 0)
    assert _entropy(layout(), x.expand(4, 1, 3, -1)).tolist() == [0.0]
    flat = torch.full((1, 1, 3, 10), 0.5)
    flat[..., :4], flat[..., 6:9] = 0.25, 1 / 3
    torch.testing.assert_close(_entropy(layout(), flat), torch.ones(1))


def test_options() -> None:
    assert QUICK.doubled().steps == 240 and QUICK.needs == {"descent"}


# ---------------------------------------------------------------- the analytic attack
@pytest.mark.parametrize("steps", [1, 3])
def test_one_row_is_read_off_the_first_layer(steps: int) -> None:
    attack = AnalyticGradient(local_steps=steps, records=8)
    exposure, knowledge, truth = world(mlp(), attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu")
    assert score(found, truth).extra["exact"] == 1.0 and legal(found.values)
    assert truth.victims is not None
    torch.testing.assert_close(found.values, truth.victims.records.x, atol=1e-3, rtol=0.0)


def test_neurons_of_one_row_give_a_batch_away() -> None:
    attack = AnalyticGradient(batch_size=4, records=16)
    network = mlp(nn.ReLU, hidden=600)
    with torch.no_grad():  # most neurons answer to few rows
        network.blocks[0][1].bias.fill_(-0.6)
    exposure, knowledge, truth = world(network, attack.federation)
    found = score(attack.run(exposure, knowledge, 0, "cpu"), truth)
    blind = score(
        PublicMarginals(batch_size=4, records=16).run(exposure, knowledge, 0, "cpu"), truth
    )
    assert found.extra["exact"] > 0.7 and found.value > blind.value + 0.2


def test_a_pruned_row_falls_back_on_the_frequent_category() -> None:
    attack = AnalyticGradient(records=8)
    exposure, knowledge, truth = world(mlp(), attack.federation, prune(0.8))
    found = attack.run(exposure, knowledge, 0, "cpu")
    blind = score(PublicMarginals(records=8).run(exposure, knowledge, 0, "cpu"), truth)
    assert legal(found.values) and score(found, truth).value > blind.value + 0.1


# ---------------------------------------------------------------- the baseline
def test_the_likeliest_row_has_every_columns_mode() -> None:
    exposure, knowledge, _ = world(mlp(), Federation(records=8))
    found = PublicMarginals(records=8).run(exposure, knowledge, 0, "cpu").values
    public = knowledge.public.x
    assert legal(found) and torch.equal(found, found[:1].expand_as(found))
    assert int(found[0, :4].argmax()) == int(public[:, :4].sum(0).argmax())
    near = ((public[:, 4] - found[0, 4]).abs() <= 0.319 * layout().scale[0] + 1e-6).sum()
    mean = ((public[:, 4] - public[:, 4].mean()).abs() <= 0.319 * layout().scale[0]).sum()
    assert int(near) >= int(mean)
    assert exposure.meter.updates == 0


def test_of_a_number_with_few_values_the_most_frequent_is_guessed() -> None:
    x = rows(60, 2)
    x[:, 4] = torch.tensor([1.0, 2.0, 3.0]).repeat_interleave(torch.tensor([15, 35, 10]))
    assert float(likeliest(Layout.of(card(), x), x)[4]) == 2.0


def test_sampled_rows_follow_the_marginals() -> None:
    attack = PublicMarginals(guess="sampled", records=2000)
    exposure, knowledge, _ = world(mlp(), Federation(records=8))
    knowledge = dataclasses.replace(knowledge, federation=attack.federation)
    found = attack.run(exposure, knowledge, 0, "cpu").values
    assert legal(found) and torch.equal(found, attack.run(exposure, knowledge, 0, "cpu").values)
    torch.testing.assert_close(found.mean(0), knowledge.public.x.mean(0), atol=0.08, rtol=0.0)
