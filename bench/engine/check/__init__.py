"""The contract, tried on one component: seconds on small data tell whether it keeps its word."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.contract import Attack, Component, Dataset, Defense, Model, UserError
from bench.engine.check.attacks import try_attack
from bench.engine.check.datasets import try_dataset
from bench.engine.check.defenses import try_defense
from bench.engine.check.findings import Check, attempt, guarded, require_that, told
from bench.engine.check.models import try_model
from bench.engine.check.probes import Ground, chosen_dataset, lacking
from bench.engine.check.reads import opened_files, undeclared
from bench.engine.components import build
from bench.engine.conf import config_dir as built_in
from bench.engine.config import Option, compose_grid
from bench.engine.nodes import files_of

_KINDS: Mapping[str, type[Component]] = {
    "dataset": Dataset,
    "model": Model,
    "defense": Defense,
    "attack": Attack,
}
_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "dataset": ("sector", "modality", "goals", "utility_metric", "embedded"),
    "model": ("modalities", "reference"),
    "defense": ("covers",),
    "attack": ("goal", "modalities", "knowledge", "access"),
}
"""Class attributes without a default, by group: a plan cannot be made without them."""

_CHECKS: Mapping[str, Callable[[Option, Any, Ground], Iterator[Check]]] = {
    "dataset": try_dataset,
    "model": try_model,
    "defense": try_defense,
    "attack": try_attack,
}


def check(
    group: str,
    name: str,
    words: Sequence[str],
    config_dir: Path | None,
    on: str | None = None,
) -> Iterator[Check]:
    """Try one option of a group.

    Args:
        group: ``dataset``, ``model``, ``defense`` or ``attack``.
        name: of the option.
        words: further overrides in Hydra's grammar.
        config_dir: a user's own options.
        on: name of the data set to try it on; None: embedded data.

    Raises:
        UserError: the option cannot be composed, a value of it is refused, or there is no data that
            it could be tried on.
    """
    torch.set_num_threads(1)  # as a task has: small work gets slower with more
    if on is not None and group == "dataset":
        raise UserError("--on names the data set that a model, a defense or an attack is tried on.")
    place = [] if on is None else [f"dataset=[{on}]"]
    grid = compose_grid([f"{group}=[{name}]", *place, *words], config_dir)
    ground = Ground(grid, config_dir, None if on is None else chosen_dataset(grid, on))
    for option in grid.options[group]:
        for layer in option.layers:
            yield from _option(group, option, layer, ground)


def _option(
    group: str, option: Option, layer: Mapping[str, Any], ground: Ground
) -> Iterator[Check]:
    """Try one layer of an option: of all but a stack of defenses the only one."""
    config = {key: value for key, value in layer.items() if key != "prior"}
    try:
        part = build(config, option.where, ground.packages)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        yield Check(f"{option.name}: can be built from its options", False, told(error))
        return
    kind = _KINDS[group]
    yield require_that(
        f"{option.name}: subclasses {kind.__name__}",
        isinstance(part, kind),
        f"{type(part).__name__} must subclass bench.contract.{kind.__name__}",
    )
    documentation = inspect.getdoc(type(part)) or ""
    yield require_that(
        f"{option.name}: is documented",
        bool(documentation) and not documentation.startswith(f"{type(part).__name__}("),
        "write a docstring: what it is, its options, the paper with section or equation",
    )
    if not isinstance(part, kind):
        return
    missing = lacking(part, _ATTRIBUTES[group])
    yield require_that(
        f"{option.name}: says what it works on",
        not missing,
        f"its class lacks {', '.join(missing)}; see the docstring of bench.contract."
        f"{kind.__name__}",
    )
    if missing:
        return
    with opened_files() as opened:
        yield from guarded(
            f"{option.name}: runs without an error", _CHECKS[group](option, part, ground)
        )
    yield attempt(
        f"{option.name}: declares the files it reads",
        lambda: _hidden_files(part, opened, ground),
    )


def _hidden_files(part: Component, opened: set[Path], ground: Ground) -> str:
    """Files that it reads and does not declare: only those declared are part of identities."""
    declared = [Path(p) for paths in files_of(part, ground.data_root).values() for p in paths]
    if ground.chosen is not None:
        data = build(ground.chosen.layers[0], ground.chosen.where, ground.packages)
        declared += [Path(p) for paths in files_of(data, ground.data_root).values() for p in paths]
    folder = ground.folder
    besides = [built_in(), *([] if folder is None else [folder.resolve()])]
    values = (getattr(part, field.name) for field in dataclasses.fields(part))  # type: ignore[arg-type]
    named = {Path(value).absolute() for value in values if value and isinstance(value, str | Path)}
    others = undeclared({*opened, *named}, declared, besides)
    return (
        f"it reads {', '.join(map(str, others[:3]))}, which its 'files' does not name: editing "
        "them would not run its trials again"
        if others
        else ""
    )
