from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from attacks.neuron import Neuron, correlation
from bench.contract import Exposure, Network
from tests.attacks.tables import right, table, table_card, told, uniform


def sighted(card: Any, column: int, dead: int = 20) -> Network:
    """One neuron that reads a column, among neurons that are dead or read noise."""
    d = card.shape[0]
    hidden = nn.Linear(d, 1 + dead)
    nn.init.zeros_(hidden.weight)
    nn.init.constant_(hidden.bias, 1.0)
    with torch.no_grad():
        hidden.weight[dead // 2, column] = 1.0
        hidden.bias[dead // 2] = 5.0
    head = nn.Linear(1 + dead, 2)
    nn.init.zeros_(head.weight)
    return Network(nn.Sequential(nn.Sequential(hidden, nn.ReLU())), head)


@pytest.mark.parametrize("neurons", [1, 10, 100])
@pytest.mark.parametrize("impute", [False, True])
def test_the_neuron_that_goes_with_the_value_is_found(neurons: int, impute: bool) -> None:
    card = table_card()
    public, victims = table(card, 200, 0, signal=4.0), table(card, 100, 1, signal=4.0)
    knowledge = told(card, public, victims, prior={"probabilities": uniform(100, 2)})
    network = sighted(card, column=2)
    exposure = Exposure("weights", network, network, network)
    out = Neuron(neurons=neurons, impute=impute).run(exposure, knowledge, 0, "cpu")
    # High activation goes with value 1; no neuron goes with value 0, whose score is constant.
    assert out.info["strongest_correlation"][1] > 0.8
    assert out.info["strongest_correlation"][0] <= 0.1
    assert victims.s is not None
    score = out.values[:, 1]
    assert float(score[victims.s == 1].min()) > float(score[victims.s == 0].median())
    assert right(out.values, victims) > 0.9
    # Every record with every value: public and victims.
    assert exposure.meter.forward_passes in (2 * 300, 2 * 200 + 100)
    blind = sighted(card, column=4)
    flat = Neuron(neurons=neurons, impute=impute).run(
        Exposure("weights", blind, blind, blind), knowledge, 0, "cpu"
    )
    assert right(flat.values, victims) < 0.75


def test_white_box_times_imputer_keeps_what_the_imputer_knows() -> None:
    card = table_card()
    public, victims = table(card, 100, 0), table(card, 50, 1)
    assert victims.s is not None
    sure = torch.nn.functional.one_hot(victims.s, 2).double() * 0.98 + 0.01
    knowledge = told(card, public, victims, prior={"probabilities": sure})
    network = sighted(card, column=4)
    exposure = Exposure("weights", network, network, network)
    assert right(Neuron(neurons=1).run(exposure, knowledge, 0, "cpu").values, victims) == 1.0
    bare = Neuron(neurons=1, impute=False).run(exposure, knowledge, 0, "cpu").values
    assert right(bare, victims) < 0.8


def test_correlation_is_pearsons_and_0_of_a_dead_neuron() -> None:
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 0.1
    y = x[:, 0] > 0
    ours = correlation(x, y)
    assert ours[1] == 0
    for k in (0, 2):
        theirs = torch.corrcoef(torch.stack([x[:, k], y.float()]))[0, 1]
        assert float(ours[k]) == pytest.approx(float(theirs), abs=1e-5)
    assert bool((correlation(x, torch.ones(50, dtype=torch.bool)) == 0).all())


def test_n_aux_limits_what_the_neurons_are_chosen_on() -> None:
    card = table_card()
    victims = table(card, 30, 1)
    knowledge = told(card, table(card, 100, 0), victims, prior={"probabilities": uniform(30, 2)})
    network = sighted(card, column=2)
    exposure = Exposure("weights", network, network, network)
    few = Neuron(n_aux=20).run(exposure, knowledge, 0, "cpu").values
    assert exposure.meter.forward_passes <= 2 * (20 + 30)
    assert not torch.equal(few, Neuron().run(exposure, knowledge, 0, "cpu").values)
    assert torch.equal(few, Neuron(n_aux=20).run(exposure, knowledge, 0, "cpu").values)
