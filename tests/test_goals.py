"""Every goal has all that the program asks of it, and options exist for what it names."""

from __future__ import annotations

import importlib

import pytest

from bench.contract.errors import UserError
from bench.engine.conf import list_options
from bench.engine.settings import Settings
from bench.goals import goal_named, goals


def test_goals_are_found_by_their_files() -> None:
    assert {"attribute", "class_representative", "training_instance"} <= set(goals())
    with pytest.raises(UserError, match="attribute"):
        goal_named("atribute")


@pytest.mark.parametrize("name", goals())
def test_a_goal_is_complete(name: str) -> None:
    goal = goal_named(name)
    assert goal.name == name
    assert callable(importlib.import_module(goal.judge).score)
    assert set(goal.baselines) <= set(list_options("attack"))
    assert not goal.observed_as or goal.observed_as in goals()
    assert goal.words.question.format(secret="illness").endswith("?")
    controls = Settings.model_fields["controls"].annotation.__args__[0].__args__  # type: ignore[union-attr]
    assert goal.controls <= set(controls)


def test_codes_are_unique() -> None:
    codes = [goal.words.code for goal in goals().values()]
    assert len(codes) == len(set(codes))
