"""The contract, tried on one component: seconds on embedded data tell whether it keeps its word."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.contract import (
    Attack,
    Component,
    Dataset,
    Defense,
    Model,
    check_splits,
    common_task,
)
from bench.engine.check_defense import try_defense
from bench.engine.components import CORE_PACKAGES, build
from bench.engine.conf import config_dir as built_in
from bench.engine.config import Grid, Option, compose_grid
from bench.engine.nodes import files_of
from bench.engine.plan import make_plan
from bench.engine.probes import Finding, embedded, model_for, paper, same_weights
from bench.engine.reads import opened_files, undeclared
from bench.engine.stages import run
from bench.engine.stages.result import Result, Site


def check(
    group: str, name: str, words: Sequence[str], config_dir: Path | None
) -> Iterator[Finding]:
    """Try one option of a group.

    Raises:
        UserError: the option cannot be composed or built.
    """
    torch.set_num_threads(1)  # as a task has: small work gets slower with more
    grid = compose_grid([f"{group}=[{name}]", *words], config_dir)
    packages = (*CORE_PACKAGES, *grid.settings.plugins)
    for option in grid.options[group]:
        parts = [_build(layer, option.where, packages) for layer in option.layers]
        kind = {"dataset": Dataset, "model": Model, "defense": Defense, "attack": Attack}[group]
        for part in parts:
            yield (
                f"{option.name}: subclasses {kind.__name__}",
                isinstance(part, kind),
                f"{type(part).__name__} must subclass bench.contract.{kind.__name__}",
            )
            doc = inspect.getdoc(type(part)) or ""
            yield (
                f"{option.name}: is documented",
                bool(doc) and not doc.startswith(f"{type(part).__name__}("),
                "write a docstring: what it is, its options, the paper with section or equation",
            )
            if isinstance(part, kind):
                with opened_files() as opened:
                    yield from _CHECKS[group](option, part, grid, config_dir)
                yield _declares(option, part, opened, grid.settings.data_root, config_dir)


def _build(layer: Mapping[str, Any], where: str, packages: tuple[str, ...]) -> Any:
    return build({k: v for k, v in layer.items() if k != "prior"}, where, packages)


def _declares(
    option: Option, part: Component, opened: set[Path], data_root: Path | None, folder: Path | None
) -> Finding:
    """Whether it reads nothing but the files it declares: only these are part of identities."""
    declared = [Path(path) for paths in files_of(part, data_root).values() for path in paths]
    besides = [built_in(), *([] if folder is None else [folder.resolve()])]
    values = (getattr(part, field.name) for field in dataclasses.fields(part))  # type: ignore[arg-type]
    named = {Path(value).absolute() for value in values if value and isinstance(value, str | Path)}
    others = undeclared({*opened, *named}, declared, besides)
    return (
        f"{option.name}: declares the files it reads",
        not others,
        f"it reads {', '.join(map(str, others[:3]))}, which its 'files' does not name: editing "
        "them would not run its trials again",
    )


# ---------------------------------------------------------------- attacks
def _attack(option: Option, part: Attack, grid: Grid, folder: Path | None) -> Iterator[Finding]:
    yield paper(option, part)
    yield (
        f"{option.name}: runs at its access",
        part.access in part.accesses(),
        f"'{part.access}' is not among {list(part.accesses())}",
    )
    name, data = embedded(part.modalities, part.goal, part.tasks)
    model, _ = model_for(data, part.tasks, part.requires)
    only = dataclasses.replace(
        grid,
        options={
            **grid.options,
            **compose_grid([f"dataset=[{name}]", f"model=[{model}]", "defense=[none]"]).options,
            "attack": (option,),
        },
        settings=grid.settings.model_copy(update={"seeds": 1, "exclude": []}),
    )
    plan = make_plan(only)
    trial = next(t for t in plan.trials if t.cell.attack == option.name)
    results: dict[str, Result] = {}
    site = Site("cpu", None, (*CORE_PACKAGES, *grid.settings.plugins))

    def result(key: str, again: bool = False) -> Result:
        if key not in results or again:
            node = plan.nodes[key]
            parents = {role: result(parent) for role, parent in node.parents.items()}
            made = run(node.kind, node.payload, parents, site)
            results[key] = dataclasses.replace(made, config=node.payload)
        return results[key]

    first = result(trial.nodes["attack"])
    output = first.output
    yield (
        f"{option.name}: scores on {name}",
        all(0 <= output["score"][k] <= 1 for k in ("value", "members", "nonmembers", "ceiling")),
        f"scores must lie in [0, 1]: {output['score']}",
    )
    queries = output["budget"]["queries"]
    wants = part.access in ("labels", "scores") and part.goal != "output_reconstruction"
    yield (
        f"{option.name}: its queries are counted ({queries})",
        queries > 0 if wants else True,
        "it asked nothing of the deployment it attacks",
    )
    second = result(trial.nodes["attack"], again=True)
    yield (
        f"{option.name}: follows from its seed",
        torch.equal(first.tensors["values"], second.tensors["values"]),
        "two runs with the same seed differ; use generators made from the seed",
    )


# ---------------------------------------------------------------- datasets and models
def _dataset(option: Option, part: Dataset, grid: Grid, folder: Path | None) -> Iterator[Finding]:
    missing = part.missing(grid.settings.data_root)
    yield f"{option.name}: its files are there", missing is None, missing or ""
    if missing is not None:
        return
    splits = part.load(0, grid.settings.data_root)
    check_splits(splits)
    again = part.load(0, grid.settings.data_root)
    other = part.load(1, grid.settings.data_root)
    card = splits.card
    yield (
        f"{option.name}: follows from its seed",
        torch.equal(splits.train.x, again.train.x)
        and not torch.equal(splits.train.x, other.train.x),
        "the same seed must give the same split, another seed another one",
    )
    said = (card.sector, card.modality, card.n_classes)
    yield (
        f"{option.name}: its card agrees with its class",
        said == (part.sector, part.modality, part.n_classes),
        f"the card says {said}, the class {(part.sector, part.modality, part.n_classes)}",
    )
    wanted = {"sha256", "n_rows", "class_counts", "duplicates_across_splits", "split_protocol"}
    lacking = sorted(wanted - set(splits.facts))
    yield f"{option.name}: says what it found", not lacking, f"facts lack {', '.join(lacking)}"


def _model(option: Option, part: Model, grid: Grid, folder: Path | None) -> Iterator[Finding]:
    name, data = embedded(part.modalities, tasks=part.tasks)
    splits = data.load(0, None)
    task = common_task(data.tasks, part.tasks)
    assert task is not None
    shape, classes = splits.card.shape, splits.card.width(task)
    one, two = (part.build(shape, classes, 0).state_dict() for _ in range(2))
    other = part.build(shape, classes, 1).state_dict()
    solved = type(part).solve is not Model.solve
    yield (
        f"{option.name}: its initial weights follow from its seed",
        same_weights(one, two) and (solved or not same_weights(one, other)),
        "the same seed must give the same weights, another seed others",
    )
    logits = part.build(shape, classes, 0)(splits.test.x[:5])
    yield (
        f"{option.name}: gives outputs on {name}",
        tuple(logits.shape) == (5, classes),
        f"5 records gave {tuple(logits.shape)}, not (5, {classes})",
    )


_CHECKS: Mapping[str, Callable[..., Iterator[Finding]]] = {
    "dataset": _dataset,
    "model": _model,
    "defense": try_defense,
    "attack": _attack,
}
