"""What a component is tried on: small data, a quick model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from bench.contract import Dataset, Model, Splits, Task, UserError, common_task, sparse
from bench.contract.task import TASKS
from bench.engine.check.findings import Check, Untestable, require_that
from bench.engine.components import CORE_PACKAGES, build
from bench.engine.conf import list_options
from bench.engine.config import Grid, Option, compose_grid

_SHORT = 6
"""Epochs of the probes' trainings: enough to tell two trainings apart."""


@dataclass(frozen=True)
class Ground:
    """Where a component is tried.

    Attributes:
        grid: as composed from the words of the command line.
        folder: a user's own options; None if there are none.
        chosen: the data set to try it on, where the user named one.
    """

    grid: Grid
    folder: Path | None
    chosen: Option | None = None

    @property
    def packages(self) -> tuple[str, ...]:
        """Top-level packages that options may name."""
        return (*CORE_PACKAGES, *self.grid.settings.plugins)

    @property
    def data_root(self) -> Path | None:
        """Folder of real data sets."""
        return self.grid.settings.data_root

    def dataset(
        self, modalities: Iterable[str], goal: str | None = None, tasks: Sequence[Task] = TASKS
    ) -> tuple[Option, Dataset]:
        """The data set that the user chose, or the quickest embedded one that fits.

        Raises:
            Untestable: there is none, or the chosen one does not fit or is not there.
        """
        if self.chosen is None:
            return embedded(modalities, goal, tasks)
        option = self.chosen
        data: Dataset = build(option.layers[0], option.where, self.packages)
        unfit = [
            f"it holds {data.modality} data, this works on {' or '.join(sorted(modalities))}"
            if data.modality not in modalities
            else "",
            f"it has no goal '{goal}'" if goal is not None and goal not in data.goals else "",
            ""
            if common_task(data.tasks, tasks)
            else f"it is for {' or '.join(data.tasks)}, this for {' or '.join(tasks)}",
            data.missing(self.data_root) or "",
        ]
        for reason in filter(None, unfit):
            raise Untestable(f"--on {option.where}: {reason.rstrip('.')}; name another data set.")
        return option, data


@cache
def _built_in(group: str) -> tuple[tuple[Option, Any], ...]:
    """The built-in options of a group with their components."""
    grid = compose_grid([f"{group}=[{','.join(list_options(group))}]"])
    return tuple((option, build(option.layers[0], option.where)) for option in grid.options[group])


def embedded(
    modalities: Iterable[str], goal: str | None = None, tasks: Sequence[Task] = TASKS
) -> tuple[Option, Dataset]:
    """The quickest embedded data set of a modality, a goal and a task.

    Raises:
        Untestable: there is none.
    """
    wanted = set(modalities)
    for modality in ("table", "basket", "image"):
        for option, data in _built_in("dataset"):
            fits = data.embedded and data.modality == modality and modality in wanted
            if fits and (goal is None or goal in data.goals) and common_task(data.tasks, tasks):
                return option, data
    raise Untestable(
        f"No embedded data set has modality {' or '.join(sorted(wanted))}"
        + (f", goal {goal}" if goal else "")
        + f" and task {' or '.join(tasks)}; name one that has with '--on dataset=NAME'."
    )


def model_for(data: Dataset, tasks: Sequence[Task], needs: frozenset[str]) -> tuple[Option, Model]:
    """A quick model that an attack or a defense can work on."""
    for option, model in sorted(_built_in("model"), key=lambda row: row[0].name != "mlp"):
        task = common_task(data.tasks, model.tasks)
        if task in tasks and needs <= model.offers and data.modality in model.modalities:
            return option, quicker(model)
    raise Untestable(f"No model offers {' and '.join(sorted(needs))} for {' or '.join(tasks)}.")


def quicker(model: Model) -> Model:
    """The same model, trained for a few epochs; a residual network is narrower too."""
    changes: dict[str, int] = {}
    if getattr(model, "epochs", 0) > _SHORT:
        changes["epochs"] = _SHORT
    if hasattr(model, "width") and hasattr(model, "groups"):
        changes |= {"width": 16, "groups": 8}  # at its published width it takes minutes
    return dataclasses.replace(model, **changes) if changes else model  # type: ignore[type-var]


def few(splits: Splits, most: int) -> Splits:
    """The same splits with at most so many dense records each; every class of training stays."""
    train = splits.train
    order = torch.arange(len(train))
    if not train.y.is_floating_point():
        # One record of every class first: a training set of one class would be refused.
        first = torch.tensor([int((train.y == c).nonzero()[0]) for c in torch.unique(train.y)])
        order = torch.cat([first, order[~torch.isin(order, first)]])
    size = max(most, len(torch.unique(train.y)) if not train.y.is_floating_point() else 0)
    first_ones = {
        "train": train.take(order[:size]),
        "test": splits.test.take(torch.arange(min(most, len(splits.test)))),
        "public": splits.public.take(torch.arange(min(most, len(splits.public)))),
    }
    dense = {
        name: dataclasses.replace(part, x=sparse.dense(part.x)) for name, part in first_ones.items()
    }
    return dataclasses.replace(splits, **dense)  # type: ignore[arg-type]


def paper(option: Option, part: Any) -> Check:
    """Whether a component names what it is from."""
    return require_that(
        f"{option.name}: names its paper",
        bool(str(getattr(part, "paper", "")).strip()),
        "set the class attribute 'paper': authors, venue, section or equation",
    )


def same_weights(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two state dictionaries are equal bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def lacking(part: Any, names: Iterable[str]) -> list[str]:
    """Class attributes that a component does not set."""
    return [name for name in names if not hasattr(part, name)]


def chosen_dataset(grid: Grid, name: str) -> Option:
    """The data set of a grid that the user tries a component on.

    Raises:
        UserError: it has variants.
    """
    found = [option for option in grid.options["dataset"] if option.file == name]
    if len(found) != 1:
        raise UserError(f"--on dataset={name} stands for {len(found)} data sets; name one of them.")
    return found[0]
