"""Shipped suites give every defense the same number of settings (PROTOCOL 3.7)."""

from __future__ import annotations

import pytest

from bench import api
from bench.contract import Defense
from bench.engine.components import build
from bench.engine.conf import config_dir
from bench.engine.config import Grid, compose_grid

UNRANKED = ("canary", "smoke", "redteam")
"""They show that things work, or are of one model that was given, and rank nothing."""
SUITES = sorted(
    str(path.relative_to(config_dir() / "suite").with_suffix(""))
    for path in (config_dir() / "suite").rglob("*.yaml")
    if "paper" not in path.parts and path.stem not in UNRANKED  # a paper's have what it has
)


def tried(grid: Grid) -> dict[str, int]:
    """Settings of every defense of a grid that has an option to tune; stacks are left out.

    A stack is composed of settings that are tried alone.
    """
    found: dict[str, int] = {}
    stacks = set()
    for option in grid.options["defense"]:
        layers = [build(dict(layer), option.where) for layer in option.layers]
        if len(layers) > 1 or option.file == "clip_only":  # a control of dp_sgd
            stacks.add(option.file)
        for part in layers:
            assert isinstance(part, Defense)
            if part.tunable and option.file not in stacks:
                found[option.file] = found.get(option.file, 0) + part.tries
    return found


@pytest.mark.parametrize("suite", SUITES)
def test_no_defense_has_fewer_settings_than_another(suite: str) -> None:
    found = tried(compose_grid([f"suite={suite}"]))
    assert len(set(found.values())) <= 1, found


@pytest.mark.parametrize("suite", SUITES)
def test_utility_is_compared_with_a_network_that_was_tuned_as_often(suite: str) -> None:
    found = tried(compose_grid([f"suite={suite}"]))
    assert found["regularised"] >= 3


def test_a_defense_without_an_option_says_so() -> None:
    # What has no field at all cannot be tuned.
    grid = compose_grid(["defense=[none,label_only,drop_attribute]"])
    parts = [build(dict(option.layers[0]), option.where) for option in grid.options["defense"]]
    assert [part.tunable for part in parts] == [False] * 3


def test_records_say_how_many_settings_there_were_and_who_has_none() -> None:
    words = ["dataset=[diabetes]", "model=[mlp]", "attack=[lomia]", "seeds=1", "controls=[]"]
    words += ["defense=[none,regularised,dropout,label_only]", "defense.regularised.settings=3"]
    words += ["defense.dropout.sweep={rate: [0.1, 0.3]}"]
    trials = api.plan(words).plan.trials
    told = {
        t.info["defense"]["family"]: (t.info["defense"]["settings"], t.info["defense"]["tunable"])
        for t in trials
    }
    assert told == {
        "none": (1, False),
        "regularised": (3, True),
        "dropout": (2, True),
        "label_only": (1, False),
    }
