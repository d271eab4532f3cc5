"""What an adversary may want, one goal a file.

A new goal is a new file here: its ``GOAL`` says everything of it, and its judge, a function
``score(found, truth)`` as in :mod:`bench.metrics`, may stand in the same file. Nothing here loads
PyTorch before something is judged.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from bench.contract.errors import UserError, nearest
from bench.contract.goals import Goal


@cache
def goals() -> Mapping[str, Goal]:
    """Every goal by its name, in the order of the protocol's codes."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    entries = [importlib.import_module(f"{__name__}.{name}").GOAL for name in names]
    ordered = sorted(entries, key=lambda goal: (goal.words.code, goal.name))
    return {goal.name: goal for goal in ordered}


def goal_named(name: str) -> Goal:
    """The goal of a name.

    Raises:
        UserError: there is none.
    """
    known = goals()
    if name not in known:
        raise UserError(f"There is no goal '{name}'.{nearest(name, known)}")
    return known[name]
