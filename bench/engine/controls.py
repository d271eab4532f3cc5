"""Control trials: ordinary trials whose outcome is known beforehand (PROTOCOL 3.6).

A board rests on them: they say that the attacks find nothing where there is nothing, that a
defense of no strength changes nothing, that more steps would not find more. ``bench.report``
judges them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from bench.contract import Attack, at_least, common_task
from bench.contract.record import CONTROLS
from bench.engine.components import TARGET
from bench.engine.config import Option
from bench.engine.fits import threat, unfit
from bench.engine.graph import Row, Trial
from bench.engine.nodes import Nodes
from bench.engine.trials import Trials
from bench.goals import goal_named

_DEPLOYED = {
    "untrained": "bench.models.controls.Untrained",
    "shuffled": "bench.models.controls.Shuffled",
    "random_labels": "bench.models.controls.RandomLabels",
    "temperature": "bench.models.controls.Temperature",
    "overfit": "bench.models.controls.Overfit",
    "early_stopped": "bench.models.controls.EarlyStopped",
}
"""Controls that stand where a defense would."""

_EPOCHS = ("overfit", "early_stopped")
"""Controls that need a model trained for a number of epochs."""

_CANARY: dict[str, dict[str, Any]] = {
    "dataset": {TARGET: "bench.data.faces.Faces", "people_private": 40, "people_public": 60},
    "model": {TARGET: "bench.models.controls.Canary"},
    "defense": {TARGET: _DEPLOYED["untrained"]},
}


def control_trials(
    trials: Trials,
    dataset: Row,
    model: Row,
    attacks: Sequence[Row],
    baselines: Sequence[Row],
) -> Iterator[Trial]:
    """The control trials of one scenario; what the suite excludes is left out."""
    wanted = set(trials.grid.settings.controls)
    if "untrained" in wanted:
        wanted.add("shuffled")  # stands for it where a model was given
    undefended = next((d for d in trials.rows["defense"] if not d.defenses), None)
    kept = [
        a for a in attacks if a.first.access != "none" and not _excluded(trials, dataset, model, a)
    ]
    for control in CONTROLS:
        if control not in wanted or control == "canary":
            continue
        if control in _EPOCHS and "steps" not in model.first.offers:
            continue
        for defense, attack, repeats in _rows(trials, control, dataset, model, undefended, kept):
            own = [b for b in baselines if b.first.goal == attack.first.goal]
            yield from trials.make(
                dataset, model, defense, attack, own, range(repeats), control=control
            )


def canary(trials: Trials) -> Iterator[Trial]:
    """Every image attack on the frozen canary, once: the same in every suite."""
    if "canary" not in trials.grid.settings.controls:
        return
    attacks = [
        a
        for a in trials.rows["attack"]
        if goal_named(a.first.goal).recognised
        and a.first.access != "none"
        and "image" in a.first.modalities
    ]
    baselines = [
        b
        for b in trials.rows["baseline"]
        if goal_named(b.first.goal).recognised and "image" in b.first.modalities
    ]
    if not attacks or not baselines:
        return
    rows = {group: trials.row(_option(group, "canary", c)) for group, c in _CANARY.items()}
    settings = trials.grid.settings.model_copy(update={"base_seed": 0, "face_network": False})
    frozen = Nodes(settings, trials.packages, trials.nodes.nodes)
    dataset, model, defense = (rows[group] for group in ("dataset", "model", "defense"))
    for attack in attacks:
        yield from trials.make(
            dataset, model, defense, attack, baselines, [0], control="canary", made_by=frozen
        )


def _rows(
    trials: Trials,
    control: str,
    dataset: Row,
    model: Row,
    undefended: Row | None,
    attacks: Sequence[Row],
) -> Iterator[tuple[Row, Row, int]]:
    """Defense, attack and number of repeats of one control in one scenario."""
    settings = trials.grid.settings
    repeats = min(settings.seeds, settings.control_seeds)
    if control in _DEPLOYED:
        defense = trials.row(_option("defense", control, {TARGET: _DEPLOYED[control]}))
        for attack in attacks:
            if _rests_on(control, model, attack):
                yield defense, attack, repeats
    elif undefended is None:
        return
    elif control == "doubled":
        for attack in attacks:
            twice: Attack | None = attack.first.doubled()
            if twice is not None:
                config = {TARGET: attack.layers[0][TARGET], **_fields(twice)}
                yield undefended, _like(attack, f"doubled[{attack.name}]", config, twice), repeats
    elif control == "repeat":
        for attack in _first_of_goals(attacks):
            again = dataclasses.replace(
                _like(attack, f"repeat[{attack.name}]", attack.layers[0], attack.first), again=True
            )
            yield dataclasses.replace(undefended, again=True), again, 1
    elif control == "zero":
        for defense, covers in _at_zero(trials, dataset, model):
            for attack in _first_of_goals([a for a in attacks if a.first.access in covers]):
                yield defense, attack, 1


def _rests_on(control: str, model: Row, attack: Row) -> bool:
    """Whether the boards of an attack on such a model rest on a control.

    A model that was given cannot be trained otherwise. Where an attack sees its answers alone,
    these are shuffled; who has the weights sees the same architecture as it was initialised, or a
    model that answers all alike.
    """
    named = goal_named(threat(attack.first)).controls
    if not model.first.given:
        return control in named and control != "shuffled"
    weights = at_least(attack.first.access, "weights")
    return "untrained" in named and control == ("untrained" if weights else "shuffled")


def _at_zero(trials: Trials, dataset: Row, model: Row) -> Iterator[tuple[Row, frozenset[str]]]:
    """Every listed defense that works here once, at the strength that must change nothing."""
    task = common_task(dataset.first.tasks, model.first.tasks)
    assert task is not None
    kept = dataset.first.kept_sparse(trials.grid.settings.data_root)
    seen: set[type[Any]] = set()
    for row in trials.rows["defense"]:
        part = row.first
        zero = getattr(part, "zero", None)
        if unfit(dataset, model, row, task, kept):
            continue
        if len(row.parts) == 1 and zero is not None and type(part) not in seen:
            seen.add(type(part))
            option = _option("defense", f"zero[{row.option.file}]", {**row.layers[0], **zero})
            yield trials.row(option), part.covers


def _first_of_goals(attacks: Sequence[Row]) -> list[Row]:
    """The first attack of every goal."""
    return list({a.first.goal: a for a in reversed(attacks)}.values())[::-1]


def _like(attack: Row, name: str, config: Any, part: Attack) -> Row:
    """A row that shares the seeds and the prior of ``attack`` under a name of its own."""
    option = dataclasses.replace(attack.option, name=name)
    return dataclasses.replace(
        attack, option=option, layers=[dict(config)], parts=[part], like=attack.name
    )


def _fields(part: Any) -> dict[str, Any]:
    return {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}


def _option(group: str, name: str, layer: dict[str, Any]) -> Option:
    return Option(name, name, (layer,), f"control {group} '{name}'", group)


def _excluded(trials: Trials, dataset: Row, model: Row, attack: Row) -> bool:
    return trials.grid.excluded(
        {"dataset": dataset.name, "model": model.name, "defense": "none", "attack": attack.name}
    )
