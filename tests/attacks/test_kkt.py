"""Training records from the weights of a perceptron that remembers them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Literal

import pytest
import torch
from torch import Tensor

from attacks.kkt import KKT
from bench.contract import (
    Card,
    DivergedError,
    Exposure,
    Knowledge,
    Network,
    Reconstruction,
    Split,
    Splits,
    Truth,
    generator,
)
from bench.contract.columns import Layout
from bench.metrics.training_instance import score
from bench.models.activations import Activation
from bench.models.mlp import Mlp
from bench.models.training import train
from defenses.weight_decay import WeightDecay
from tests.attacks import rows

ITEMS, CLASSES = 40, 4
CARD = Card(
    "shop",
    "retail",
    "basket",
    (ITEMS,),
    ("a", "b", "c", "d"),
    "record",
    "made up",
    "none",
    True,
)


def people(n: int, seed: int) -> Split:
    """Baskets of four kinds of customers: each kind likes five of forty items."""
    rng = generator(seed)
    y = torch.arange(n) % CLASSES
    rate = torch.full((CLASSES, ITEMS), 0.15)
    for kind in range(CLASSES):
        rate[kind, 5 * kind : 5 * kind + 5] = 0.5
    return Split((torch.rand(n, ITEMS, generator=rng) < rate[y]).float(), y, torch.arange(n))


PUBLIC = people(200, 2)
KNOWN = Knowledge(CARD, PUBLIC, classes=torch.arange(CLASSES))
MODEL = Mlp(hidden=(64,), epochs=200, batch_size=64, lr=1e-2, schedule="cosine")
ATTACK = KKT(candidates=8, steps=120)


def world(members: int) -> Splits:
    return Splits(CARD, people(members, 1), people(200, 3), PUBLIC)


@cache
def trained(members: int, decay: float = 0.0, activation: Activation = "relu") -> Network:
    model = replace(MODEL, activation=activation)
    network, _ = train(model, [WeightDecay(decay)], world(members), 0, "cpu")
    return network


def run(network: Network, attack: KKT = ATTACK, known: Knowledge = KNOWN) -> Reconstruction:
    return attack.run(Exposure("weights", network, network, network), known, 0, "cpu")


def nearer(found: Tensor, members: int) -> float:
    """The metric of the goal: the share that is nearer to a member than to any held-out record."""
    return score(Reconstruction(found, {}), Truth(world(members), None, None, {})).value


@pytest.mark.parametrize(
    ("decay", "activation", "form"),
    [(0.0, "relu", "margin"), (1e-3, "relu", "margin"), (1e-3, "tanh", "loss")],
)
def test_records_of_a_small_training_set_come_back(
    decay: float, activation: Activation, form: Literal["margin", "loss"]
) -> None:
    found = run(trained(16, decay, activation), replace(ATTACK, form=form)).values
    assert nearer(found, 16) > 0.85
    assert nearer(PUBLIC.x, 16) < 0.6


def test_an_untrained_network_tells_nothing() -> None:
    fresh = MODEL.build(CARD.shape, CLASSES, 0).eval()
    assert 0.3 < nearer(run(fresh).values, 16) < 0.7


def test_larger_training_sets_tell_less_of_each_member() -> None:
    few, many = (nearer(run(trained(n)).values, n) for n in (16, 96))
    assert many < few - 0.15


def test_trained_weights_are_a_sum_of_gradients_and_initial_ones_are_not() -> None:
    fresh = MODEL.build(CARD.shape, CLASSES, 0).eval()
    left = [run(n).info["residual"] for n in (fresh, trained(16), trained(16, 1e-3))]
    assert left[0] > 0.9 > left[1] > left[2]


def test_the_greatest_lambdas_come_first() -> None:
    """Fewer that are kept are the first of more."""
    network = trained(16)
    all_, some = (run(network, replace(ATTACK, kept=kept)).values for kept in (1.0, 0.25))
    assert len(all_) == 32 and len(some) == 8
    assert torch.equal(all_[:8], some)
    assert nearer(some, 16) >= nearer(all_, 16)


def test_records_of_a_table_are_valid() -> None:
    known = Knowledge(rows.card(), rows.split(rows.rows(60, 2)), classes=torch.arange(2))
    splits = Splits(known.card, rows.split(rows.rows(12, 1)), known.public, known.public)
    network, _ = train(MODEL, [], splits, 0, "cpu")
    found = run(network, replace(ATTACK, steps=50), known).values
    layout = Layout.of(known.card, known.public.x)
    assert torch.equal(layout.project(found), found)


def test_the_target_stays_as_it_was() -> None:
    """The smooth rectifier and the gradients are those of the attacker's own copy."""
    network = trained(16)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    before = network(PUBLIC.x)
    first, second = (run(network, replace(ATTACK, steps=20)).values for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, network(PUBLIC.x))
    assert all(torch.equal(value, network.state_dict()[k]) for k, value in state.items())


def test_a_step_too_large_is_a_sentence() -> None:
    with pytest.raises(DivergedError, match="step_size"):
        run(trained(16), replace(ATTACK, step_size=1e4, steps=5))
