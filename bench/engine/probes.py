"""What a component is tried on: small data, a quick model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bench.contract import Dataset, Model, Task, UserError, common_task
from bench.contract.task import TASKS
from bench.engine.components import build
from bench.engine.conf import list_options
from bench.engine.config import Option, compose_grid

Finding = tuple[str, bool, str]
"""What was tried, whether it held, and a sentence where it did not."""

_SHORT = 6
"""Epochs of the probes' trainings: enough to tell two trainings apart."""


def embedded(
    modalities: Any, goal: str | None = None, tasks: Sequence[Task] = TASKS
) -> tuple[str, Dataset]:
    """The quickest embedded data set of a modality, a goal and a task."""
    grid = compose_grid([f"dataset=[{','.join(list_options('dataset'))}]"])
    rows = {o.name: build(o.layers[0], o.where) for o in grid.options["dataset"]}
    for wanted in ("table", "basket", "image"):
        for name, data in rows.items():
            fits = data.embedded and data.modality == wanted and wanted in modalities
            if fits and (goal is None or goal in data.goals) and common_task(data.tasks, tasks):
                return name, data
    raise UserError(
        f"No embedded data set has modality {sorted(modalities)}, goal {goal} and task "
        f"{' or '.join(tasks)}; try it with 'invbench run' on one of yours."
    )


def model_for(data: Dataset, tasks: Sequence[Task], needs: frozenset[str]) -> tuple[str, Model]:
    """A quick model that an attack or a defense can work on."""
    names = ["mlp", *(n for n in list_options("model") if n != "mlp")]
    grid = compose_grid([f"model=[{','.join(names)}]"])
    for option in grid.options["model"]:
        model: Model = build(option.layers[0], option.where)
        task = common_task(data.tasks, model.tasks)
        if task in tasks and needs <= model.offers and data.modality in model.modalities:
            if hasattr(model, "epochs"):
                model = dataclasses.replace(model, epochs=_SHORT)  # type: ignore[type-var]
            if hasattr(model, "width") and hasattr(model, "groups"):
                # A residual network at its published width takes minutes.
                model = dataclasses.replace(model, width=16, groups=8)  # type: ignore[type-var]
            return option.name, model
    raise UserError(f"No model offers {' and '.join(sorted(needs))} for {' or '.join(tasks)}.")


def paper(option: Option, part: Any) -> Finding:
    """Whether a component names what it is from."""
    return (
        f"{option.name}: names its paper",
        bool(getattr(part, "paper", "").strip()),
        "set the class attribute 'paper': authors, venue, section or equation",
    )


def same_weights(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two state dictionaries are equal bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
