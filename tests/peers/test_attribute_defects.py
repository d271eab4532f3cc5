"""Defects of public attribute inference code, as tests of every attack in conf/attack."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.contract import Exposure, Knowledge, Network, Split
from bench.engine.components import build
from bench.engine.conf import list_options
from bench.engine.config import compose_grid
from tests.attacks.tables import stump, table, table_card, told, uniform


def variants() -> dict[str, Any]:
    """Every attribute attack on classes, all sweeps expanded; forests are kept small."""
    options = compose_grid([f"attack=[{','.join(list_options('attack'))}]"]).options["attack"]
    found = {}
    for option in options:
        attack = build({k: v for k, v in option.layers[0].items() if k != "prior"}, option.where)
        if attack.goal == "attribute" and "classification" in attack.tasks:
            found[option.name] = replace(attack, trees=5) if hasattr(attack, "trees") else attack
    return found


ATTACKS = variants()
N = 40


def target(width: int, attack: Any) -> Network:
    torch.manual_seed(0)
    if "leaves" in attack.needs:
        return stump(width, 2)
    return Network(
        nn.Sequential(nn.Sequential(nn.Linear(width, 8), nn.ReLU())), nn.Linear(8, 2)
    ).eval()


def world(n_values: int, attack: Any) -> tuple[Split, Knowledge, Exposure]:
    card = table_card(n_values)
    victims, public = table(card, N, 1), table(card, 60, 0)
    network = target(card.shape[0], attack)

    def scores(x: Tensor) -> Tensor:
        return torch.softmax(network(x), 1).detach()

    exposure = Exposure(attack.access, scores, lambda x: scores(x).argmax(1), network)
    seen = scores(victims.x)
    draw = torch.rand(N, n_values, generator=torch.Generator().manual_seed(5)).double() + 0.1
    knowledge = told(
        card,
        public,
        victims,
        prior={"probabilities": draw / draw.sum(1, keepdim=True), "winner": torch.tensor(0)},
        observed=seen.argmax(1) if attack.access == "labels" else seen,
    )
    return victims, knowledge, exposure


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_ties_are_broken_by_the_seed(attack: Any) -> None:
    """Ties were broken by an unseeded generator: the same command gave other figures."""
    _, knowledge, _ = world(3, attack)
    knowledge = replace(knowledge, prior={**knowledge.prior, "probabilities": uniform(N, 3)})
    flat = torch.full((N, 2), 0.5)
    knowledge = replace(knowledge, observed=flat.argmax(1) if attack.access == "labels" else flat)
    exposure = Exposure(
        attack.access,
        lambda x: torch.full((len(x), 2), 0.5),
        lambda x: torch.zeros(len(x), dtype=torch.long),
        target(6, attack),
    )
    before = torch.get_rng_state()
    a, b = (attack.run(exposure, knowledge, 3, "cpu").values for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_what_the_attacker_does_not_know_is_never_read(attack: Any) -> None:
    """Priors, confusion matrices and attack models were made from the victims' true values."""
    _, knowledge, exposure = world(2, attack)
    plain = attack.run(exposure, knowledge, 0, "cpu").values
    assert knowledge.partial is not None
    x = knowledge.partial.x.clone()
    x[:, :2] = 7.0
    filled = replace(knowledge, partial=replace(knowledge.partial, x=x))
    assert torch.equal(attack.run(exposure, filled, 0, "cpu").values, plain)


LEARNING = [n for n in ATTACKS if n.startswith(("lomia", "shadow_attribute"))]
"""They learn from the victims, the second with values drawn for each in turn."""


@pytest.mark.parametrize(
    "attack",
    [a for n, a in ATTACKS.items() if n not in LEARNING],
    ids=[n for n in ATTACKS if n not in LEARNING],
)
def test_results_belong_to_a_victim_not_to_a_place(attack: Any) -> None:
    """A row's result came from its position in the batch."""
    _, knowledge, exposure = world(2, attack)
    plain = attack.run(exposure, knowledge, 0, "cpu").values
    assert knowledge.partial is not None and knowledge.observed is not None
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    moved = replace(
        knowledge,
        partial=replace(
            knowledge.partial, x=knowledge.partial.x[order], y=knowledge.partial.y[order]
        ),
        observed=knowledge.observed[order],
        prior={**knowledge.prior, "probabilities": knowledge.prior["probabilities"][order]},
    )
    values = attack.run(exposure, moved, 0, "cpu").values
    assert torch.allclose(values, plain[order], atol=1e-6)


@pytest.mark.parametrize(
    "attack",
    [a for n, a in ATTACKS.items() if not hasattr(a, "trees") and "shadow" not in n],
    ids=[n for n, a in ATTACKS.items() if not hasattr(a, "trees") and "shadow" not in n],
)
def test_no_value_is_special(attack: Any) -> None:
    """Value 0 stood for "no guess", and the second value alone counted as present."""
    _, knowledge, exposure = world(3, attack)
    plain = attack.run(exposure, knowledge, 0, "cpu").values
    card, public = knowledge.card, knowledge.public
    assert card.sensitive is not None and public.s is not None
    order = torch.tensor([2, 0, 1])
    codes = tuple(card.sensitive.codes[i] for i in order.tolist())
    renamed = replace(
        knowledge,
        card=replace(card, sensitive=replace(card.sensitive, codes=codes)),
        public=replace(public, s=order.argsort()[public.s]),
        prior={**knowledge.prior, "probabilities": knowledge.prior["probabilities"][:, order]},
    )
    values = attack.run(exposure, renamed, 0, "cpu").values
    assert torch.allclose(values, plain[:, order], atol=1e-6)
