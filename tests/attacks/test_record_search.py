"""Records of a class, searched with weights and with scores."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from attacks.common.relaxation import likeliest, prior_of, relax, unrelax
from attacks.public_records import PublicRecords
from attacks.record_search import RecordSearch, _moves
from bench.contract import Exposure, Knowledge, Network, Splits, Truth, generator
from bench.metrics.training_instance import score
from tests.attacks.rows import WIDTH, card, layout, mlp, rows, split

QUICK = RecordSearch(candidates=10, steps=60, sweeps=2)


def told(public: int = 60) -> Knowledge:
    known = split(rows(public, 2))
    return Knowledge(card(), known, classes=torch.arange(2))


class Memory(nn.Module):
    """Sure of a class near its members of that class, and of nothing else."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__()
        self.x, self.y = x, y

    def forward(self, x: Tensor) -> Tensor:
        near = torch.exp(-4 * torch.cdist(x, self.x))
        mass = torch.stack([near[:, self.y == c].sum(1) for c in range(2)], 1)
        return torch.log(torch.cat([mass + 1e-9, torch.full_like(mass[:, :1], 1e-2)], 1))


def run(attack: RecordSearch, network: nn.Module, seed: int = 0, public: int = 60, **more):
    def scores(x: Tensor) -> Tensor:
        return network(x).softmax(1)

    exposure = Exposure(attack.access, scores, scores, network, **more)
    return attack.run(exposure, told(public), seed, "cpu"), exposure


@pytest.mark.parametrize("access", ["weights", "scores"])
def test_every_class_is_reached_and_records_are_valid(access) -> None:
    attack = dataclasses.replace(QUICK, access=access)
    network = mlp()
    found, exposure = run(attack, network)
    x = found.values
    assert x.shape == (20, WIDTH) and torch.equal(layout().project(x), x)
    with torch.no_grad():
        scores = network(x).softmax(1)
    p = scores.gather(1, torch.arange(2).repeat_interleave(10).unsqueeze(1))
    assert found.info["p_end"] == pytest.approx(float(p.mean()), abs=1e-5)
    assert found.info["p_end"] > found.info["p_start"]
    assert (exposure.meter.queries == 0) == (access == "weights")


@pytest.mark.parametrize("access", ["weights", "scores"])
def test_a_model_that_remembers_gives_its_members_away(access) -> None:
    members, held = split(rows(40, 3)), split(rows(40, 4))
    network = Memory(members.x, members.y)
    attack = dataclasses.replace(QUICK, access=access, steps=200, grid=17, prior_weight=0.1)
    truth = Truth(Splits(card(), members, held, told().public), None, None, {})
    value = score(run(attack, network)[0], truth).value
    blind = PublicRecords(candidates=10).run(Exposure("none", network, network), told(), 0, "cpu")
    assert value > 0.75 > score(blind, truth).value
    strangers = Memory(held.x, held.y)
    assert score(run(attack, strangers)[0], truth).value < 0.25


@pytest.mark.parametrize("access", ["weights", "scores"])
def test_a_constant_model_and_a_tiny_public_set(access) -> None:
    flat = Network(nn.Sequential(), nn.Linear(WIDTH, 2)).eval()
    with torch.no_grad():
        flat.head.weight.zero_()
        flat.head.bias.zero_()
    found, _ = run(dataclasses.replace(QUICK, access=access), flat, public=3)
    assert bool(torch.isfinite(found.values).all()) and len(found.values) == 20
    assert found.info["p_end"] == pytest.approx(0.5)


@pytest.mark.parametrize("access", ["weights", "scores"])
def test_same_seed_same_answer(access) -> None:
    attack = dataclasses.replace(QUICK, access=access, steps=5, sweeps=1)
    a, b, c = (run(attack, mlp(), seed)[0].values for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_it_stops_at_the_budget() -> None:
    attack = dataclasses.replace(QUICK, access="scores")
    found, exposure = run(attack, mlp(), budget=150)
    assert found.info["stop_reason"] == "budget" and exposure.meter.queries <= 150


def test_it_stops_where_no_column_improves() -> None:
    attack = dataclasses.replace(QUICK, access="scores", sweeps=50)
    assert run(attack, mlp())[0].info["stop_reason"] == "no column improves"


def test_the_prior_pulls_to_frequent_values() -> None:
    free, pulled = (
        run(dataclasses.replace(QUICK, prior_weight=weight), mlp())[0].values
        for weight in (0.0, 100.0)
    )
    public = told().public.x
    prior = lambda x: float(prior_of(layout(), public)(x).mean())  # noqa: E731
    assert prior(pulled) > prior(free)
    mode = likeliest(layout(), public)
    assert prior(mode.unsqueeze(0)) > prior(public)


def test_relaxed_records_are_legal_and_start_where_they_should() -> None:
    x = told().public.x
    again = relax(layout(), unrelax(layout(), x, 0.999))
    torch.testing.assert_close(again, x, atol=0.01, rtol=0.01)
    soft = relax(layout(), torch.randn(30, WIDTH, generator=generator(0)))
    torch.testing.assert_close(soft[:, :4].sum(1), torch.ones(30))
    public = told().public.x
    assert float(soft[:, 4].min()) >= float(public[:, 4].min())


def test_every_value_of_every_column_is_tried() -> None:
    moves = _moves(layout(), told().public.x, 5)
    assert [len(values) for _, values in moves] == [4, 3, 2, 5, 5]


def test_options_and_what_a_model_must_offer() -> None:
    assert QUICK.needs == {"descent"} and QUICK.doubled().steps == 120
    assert dataclasses.replace(QUICK, access="scores").needs == frozenset()


def test_public_records_are_drawn_without_repeats_while_they_last() -> None:
    nothing = Exposure("none", lambda x: x, lambda x: x)
    few = PublicRecords(candidates=30).run(nothing, told(60), 0, "cpu").values
    assert len(torch.unique(few, dim=0)) == len(torch.unique(told(60).public.x, dim=0))
    assert PublicRecords(candidates=30).run(nothing, told(7), 0, "cpu").values.shape == (60, WIDTH)
