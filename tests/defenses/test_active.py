"""Every defense file: nothing at zero strength, something at its defaults."""

from __future__ import annotations

import dataclasses
import importlib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bench.contract import (
    Defense,
    Federation,
    Model,
    Network,
    Query,
    ReleaseDefense,
    TrainingDefense,
    generator,
)
from bench.models.cnn import Cnn
from bench.models.mlp import Mlp
from bench.models.softmax import Softmax
from bench.models.training import train
from bench.models.trees import DecisionTree
from tests.defenses.owners import owner, quick
from tests.models.records import described, images

ASKED = Query(torch.zeros(50, 1), generator(0))
CONF = Path(__file__).parents[2] / "conf" / "defense"


def load(name: str) -> Defense:
    options: dict[str, Any] = yaml.safe_load((CONF / f"{name}.yaml").read_text())[name]
    module, _, cls = options.pop("_target_").rpartition(".")
    options.pop("sweep", None)
    defense = getattr(importlib.import_module(module), cls)(**options)
    assert isinstance(defense, Defense)
    return defense


def single(name: str) -> bool:
    return "_target_" in yaml.safe_load((CONF / f"{name}.yaml").read_text())[name]


NAMES = [name for name in sorted(path.stem for path in CONF.glob("*.yaml")) if single(name)]
TRAINING = [name for name in NAMES if isinstance(load(name), TrainingDefense)]
RELEASE = [
    name
    for name in NAMES
    if isinstance(load(name), ReleaseDefense) and "classification" in load(name).tasks
]
MODELS: dict[str, Model] = {
    "softmax": Softmax(epochs=3),
    "mlp": Mlp(hidden=(16,), epochs=3),
    "cnn": Cnn(channels=(8, 8), epochs=2),
    "tree": DecisionTree(),
}


@cache
def undefended(model: str) -> Network:
    return weights(model, [])


def weights(model: str, layers: list[TrainingDefense]) -> Network:
    splits = images(people=8) if model == "cnn" else described()
    return train(MODELS[model], layers, splits, 7, "cpu")[0]


def equal(a: Network, b: Network) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(k == m and torch.equal(v, w) for (k, v), (m, w) in pairs)


def test_the_defenses_are_all_here() -> None:
    assert set(TRAINING) >= {"dp_sgd", "dropout", "weight_decay", "freezing"}
    assert set(RELEASE) >= {"top_k", "rounding", "label_only"}
    assert "none" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_defense_says_what_it_covers_and_what_it_costs(name: str) -> None:
    defense = load(name)
    assert defense.paper
    if name == "none":
        return
    assert defense.covers and defense.cost
    if isinstance(defense, ReleaseDefense):
        assert "weights" not in defense.covers


def cells() -> list[tuple[str, str]]:
    defenses = {n: load(n) for n in TRAINING if "classification" in load(n).tasks}
    return [
        (n, m)
        for n, d in defenses.items()
        for m in MODELS
        if d.needs <= MODELS[m].offers
        and ("image" if m == "cnn" else "table") in d.modalities & MODELS[m].modalities
    ]


@pytest.mark.parametrize(("name", "model"), cells())
def test_training_defense_is_nothing_at_zero_and_something_at_its_defaults(
    name: str, model: str
) -> None:
    defense = load(name)
    assert isinstance(defense, TrainingDefense) and defense.zero is not None
    zero = dataclasses.replace(defense, **defense.zero)  # type: ignore[type-var]
    assert equal(weights(model, [zero]), undefended(model))
    active = dataclasses.replace(defense, **defense.probe)  # type: ignore[type-var]
    first = weights(model, [active])
    hidden = active.federate(Federation()) != Federation()
    assert hidden or not equal(first, undefended(model))
    assert equal(first, weights(model, [active])), "the same seed must give the same weights"


def scores(n_classes: int = 6) -> torch.Tensor:
    return torch.randn(50, n_classes, generator=generator(3)).mul(2).softmax(1)


@pytest.mark.parametrize("name", RELEASE)
def test_release_defense_is_nothing_at_zero_and_something_at_its_defaults(name: str) -> None:
    defense = quick(load(name))
    assert isinstance(defense, ReleaseDefense)
    asked = dataclasses.replace(ASKED, fitted=defense.prepare(owner(n=100), 0))
    assert not torch.equal(defense.release(scores(), asked), scores())
    if defense.zero is not None:
        zero = dataclasses.replace(defense, **defense.zero)  # type: ignore[type-var]
        asked = dataclasses.replace(ASKED, fitted=zero.prepare(owner(n=100), 0))
        assert torch.equal(zero.release(scores(), asked), scores())
