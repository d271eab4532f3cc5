"""What every attribute attack must hold to, on toy targets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attacks import neuron, tree_counts
from attacks.attribute_map import AttributeMap
from attacks.black_box import BlackBox
from attacks.common import candidates
from attacks.common.candidates import break_ties, undone
from attacks.csmia import CSMIA
from attacks.fjrmia import Fjrmia
from attacks.imputation import Imputation
from attacks.lomia import LOMIA
from attacks.majority import Majority
from attacks.membership import Membership
from attacks.neuron import Neuron
from attacks.score_classifier import ScoreClassifier
from attacks.shadow_attribute import ShadowAttribute
from attacks.tree_counts import TreeCounts
from attacks.yeom import Yeom
from bench.contract import Attack, Exposure, Network, UserError, generator
from tests.attacks.tables import (
    exposed,
    grid_card,
    measured,
    remembering,
    right,
    stump,
    table,
    table_card,
    told,
    uniform,
    world,
)

ASKING: list[Any] = [
    AttributeMap(),
    AttributeMap("labels"),
    BlackBox(),
    CSMIA(),
    LOMIA(trees=5),
    Fjrmia(),
    Yeom(),
    Membership(),
    Membership(signal="threshold"),
    ScoreClassifier(trees=10),
    ScoreClassifier("labels", trees=10),
    ShadowAttribute(shadows=4),
    ShadowAttribute("labels", shadows=4),
]
ALL: list[Any] = [*ASKING, Majority(), Imputation(), Neuron(), TreeCounts()]


def name(attack: Attack) -> str:
    return f"{type(attack).__name__}-{attack.access}"


def exposure_of(attack: Attack, scores: Any, width: int, n_classes: int) -> Exposure:
    """The deployment at the attack's access; white boxes are networks of that shape."""
    network = None
    if attack.access == "weights":
        torch.manual_seed(0)
        network = Network(
            nn.Sequential(nn.Sequential(nn.Linear(width, 6), nn.ReLU())), nn.Linear(6, n_classes)
        )
        if "leaves" in attack.needs:
            network = stump(width, n_classes)
    return Exposure(attack.access, scores, lambda x: scores(x).argmax(1), network)


@pytest.mark.parametrize(("n_values", "n_classes"), [(2, 2), (5, 3)])
@pytest.mark.parametrize(
    "attack", [AttributeMap(), BlackBox(), CSMIA(), Yeom(scale=0.2), Membership()]
)
def test_a_target_that_remembers_gives_the_value_away(
    attack: Any, n_values: int, n_classes: int
) -> None:
    victims, knowledge = world(n_values, n_classes)
    exposure = exposed(remembering(victims, n_classes, sure=0.99))
    out = attack.run(exposure, knowledge, 0, "cpu").values
    assert out.shape == (60, n_values)
    assert right(out, victims) > 0.9
    assert exposure.meter.queries == 60 * n_values


@pytest.mark.parametrize("numeric", [False, True])
@pytest.mark.parametrize("broken", ["constant", "nan", "untrained", "tiny", "one_class"])
@pytest.mark.parametrize("attack", ALL, ids=name)
def test_nothing_crashes_and_every_row_is_a_distribution(
    attack: Any, broken: str, numeric: bool
) -> None:
    card = grid_card(4) if numeric else table_card(2, 2)
    make = measured if numeric else table
    victims, public = make(card, 12, 1), make(card, 2 if broken == "tiny" else 30, 0)
    if broken == "one_class":
        public = replace(public, y=torch.zeros_like(public.y))
    m, d = len(card.sensitive.values), card.shape[0]  # type: ignore[union-attr]
    prior = {"probabilities": uniform(12, m), "winner": torch.tensor(3)}
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(d, 2, generator=g)
    answers = {
        "constant": lambda x: torch.tensor([1.0, 0.0]).expand(len(x), 2),
        "nan": lambda x: torch.full((len(x), 2), torch.nan),
    }
    scores = answers.get(broken, lambda x: torch.softmax(x @ weight, 1))
    seen = scores(victims.x)
    observed = seen.argmax(1) if attack.access == "labels" else seen
    knowledge = told(card, public, victims, prior=prior, observed=observed)
    out = attack.run(exposure_of(attack, scores, d, 2), knowledge, 0, "cpu").values
    assert out.shape == (12, m) and bool(torch.isfinite(out).all())
    scored = (CSMIA, BlackBox, Neuron)
    if not isinstance(attack, scored) or (numeric and not isinstance(attack, CSMIA)):
        assert torch.allclose(out.sum(1), torch.ones(12, dtype=out.dtype), atol=1e-6)


@pytest.mark.parametrize("attack", [a for a in ASKING if a.access == "labels"], ids=name)
def test_labels_are_enough_where_only_labels_are_answered(attack: Any) -> None:
    victims, knowledge = world()
    scores = remembering(victims, 2)
    knowledge = replace(knowledge, observed=scores(victims.x).argmax(1))

    def refuse(x: Tensor) -> Tensor:
        raise AssertionError("scores are not answered here")

    exposure = Exposure("labels", refuse, lambda x: scores(x).argmax(1))
    assert attack.run(exposure, knowledge, 0, "cpu").values.shape == (60, 2)


@pytest.mark.parametrize("attack", ALL, ids=name)
def test_the_same_seed_gives_the_same_values_and_leaves_the_global_generator(attack: Any) -> None:
    victims, knowledge = world(3)
    scores = remembering(victims, 2)
    seen = scores(victims.x)
    knowledge = replace(knowledge, observed=seen.argmax(1) if attack.access == "labels" else seen)
    exposure = exposure_of(attack, scores, 6, 2)
    state = torch.get_rng_state()
    a, b = (attack.run(exposure, knowledge, 7, "cpu").values for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    "attack",
    [AttributeMap(), AttributeMap("labels"), BlackBox(), CSMIA(), LOMIA(trees=5)],
    ids=name,
)
def test_ties_follow_from_the_seed_and_favour_no_value(attack: Any) -> None:
    _, knowledge = world(3, n=600)
    flat = exposed(lambda x: torch.full((len(x), 2), 0.5), attack.access)
    guesses = [attack.run(flat, knowledge, seed, "cpu").values.argmax(1) for seed in (1, 1, 2)]
    assert torch.equal(guesses[0], guesses[1]) and not torch.equal(guesses[0], guesses[2])
    assert bool((torch.bincount(guesses[0], minlength=3) > 150).all())


@pytest.mark.parametrize("attack", ALL, ids=name)
def test_parts_that_fit_in_memory_give_the_same_values(
    attack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    victims, knowledge = world(3)
    scores = remembering(victims, 2)
    seen = scores(victims.x)
    knowledge = replace(knowledge, observed=seen.argmax(1) if attack.access == "labels" else seen)
    exposure = exposure_of(attack, scores, 6, 2)
    whole = attack.run(exposure, knowledge, 7, "cpu").values
    asked = exposure.meter.queries
    monkeypatch.setattr(candidates, "CELLS", 6 * 3 * 7)
    monkeypatch.setattr(tree_counts, "CELLS", 5)
    monkeypatch.setattr(neuron, "ROWS", 11)
    assert torch.allclose(attack.run(exposure, knowledge, 7, "cpu").values, whole, atol=1e-6)
    assert exposure.meter.queries == 2 * asked


def test_only_ties_are_broken() -> None:
    values = torch.tensor([[0.2, 0.8, 0.8], [0.5, 0.3, 0.2]], dtype=torch.float64)
    out = break_ties(values, 0)
    assert torch.equal(out[1], values[1]) and out[0, 0] == 0.2
    assert out[0, 1] != out[0, 2]
    assert float((out - values).abs().max()) <= 1e-9


@pytest.mark.parametrize("attack", [Neuron(), AttributeMap(), Membership(impute=True)], ids=name)
def test_an_imputer_is_asked_for_by_name(attack: Any) -> None:
    _, knowledge = world()
    exposure = exposure_of(attack, lambda x: torch.full((len(x), 2), 0.5), 5, 2)
    with pytest.raises(UserError, match=r"attacks\.common\.imputers\.Imputer"):
        attack.run(exposure, replace(knowledge, prior={}), 0, "cpu")


def test_who_knows_the_temperature_undoes_it() -> None:
    scores = torch.softmax(3 * torch.randn(20, 3, 4, generator=generator(0)), -1)
    cooled = torch.softmax(scores.double().log() / 5.0, -1).float()
    layer = {"_target_": "defenses.temperature.Temperature", "temperature": 5.0}
    other = {"_target_": "defenses.rounding.Rounding", "decimals": 1}
    assert torch.allclose(undone(cooled, [other, layer]), scores, atol=1e-5)
    assert torch.equal(undone(cooled, [layer, other]), cooled), "what came after stands before it"
    assert torch.equal(undone(cooled, []), cooled)
