"""A grid becomes nodes and trials: what is shared is done once, what is skipped has a reason."""

from __future__ import annotations

import dataclasses
import gc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bench.contract import (
    Access,
    ReleaseDefense,
    ServeDefense,
    Stream,
    Task,
    UserError,
    common_task,
    nearest,
    require,
)
from bench.contract.identity import fits
from bench.engine import controls
from bench.engine.config import Grid
from bench.engine.fits import only_dense, refused, unable, unfit
from bench.engine.graph import Plan, Row, Trial
from bench.engine.overrides import label_of
from bench.engine.trials import Trials
from bench.goals import goal_named


class Planner:
    """Builds a :class:`Plan` from a :class:`Grid`."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.trials = Trials(grid)
        self.streams = [
            _stream(s, f"Setting 'streams[{i}]'") for i, s in enumerate(grid.settings.streams)
        ]
        self.skipped: Counter[tuple[str, str]] = Counter()
        self.possible: set[str] = set()
        self.impossible: dict[str, str] = {}
        """Defenses with an option that some data set's classes rule out, and why."""

    def plan(self) -> Plan:
        """Multiply the axes.

        Raises:
            UserError: nothing is left to run, with the reasons, or a defense has an option that the
            classes of no data set allow.
        """
        self.check_rules()
        trials = [trial for dataset in self._datasets() for trial in self._trials(dataset)]
        for name, reason in self.impossible.items():
            require(name in self.possible, reason)
        if trials:
            trials += controls.canary(self.trials)
        if not trials:
            reasons = "; ".join(dict.fromkeys(reason for _, reason in self.skipped))
            raise UserError(f"Nothing to run: {reasons or 'every cell is excluded'}.")
        return Plan(self.trials.nodes.nodes, tuple(trials), dict(self.skipped))

    def check_rules(self) -> None:
        """Refuse rules of ``exclude`` and ``reported`` that name nothing of the grid.

        A suite's own rules are for its own grid: another one, by overrides, may lack their rows.

        Raises:
            UserError: names the rule and the nearest row.
        """
        settings, words = self.grid.settings, self.grid.overrides
        given = {word.partition("=")[0].lstrip("+") for word in words}
        own = label_of(settings.suite, words) == settings.suite
        rules: dict[str, list[Mapping[str, str]]] = {
            "exclude": [{str(axis): text for axis, text in r.items()} for r in settings.exclude],
            "reported": [
                r.model_dump(include={"dataset", "model", "defense", "attack"})
                for r in settings.reported
            ],
        }
        names = {axis: [row.name for row in rows] for axis, rows in self.trials.rows.items()}
        attacks = [*self.trials.rows["attack"], *self.trials.rows["baseline"]]
        names["attack"] = [name for row in attacks for name in self._names(row)]
        for key, several in rules.items():
            if not own and key not in given:
                continue
            for rule in several:
                for axis, text in rule.items():
                    require(
                        any(fits(name, text) for name in names[axis]),
                        f"Setting '{key}': no {axis} of the grid is called '{text}' or fits it as "
                        f"a pattern.{nearest(text, dict.fromkeys(names[axis]))}",
                    )

    def _names(self, attack: Row) -> Iterator[str]:
        """What the rows of an attack may be called, however its queries are sent."""
        ways = [f"budget={budget}" for budget in self.grid.settings.budgets if budget is not None]
        yield attack.name
        for label in (*ways, *(label for label, _ in self.streams)):
            yield _sent(attack, label).name

    def _skip(self, what: str, reason: str, count: int = 1) -> None:
        self.skipped[(what, reason)] += count * self.grid.settings.seeds

    def _datasets(self) -> Iterator[Row]:
        for row in self.trials.rows["dataset"]:
            missing = row.first.missing(self.grid.settings.data_root)
            if missing is None:
                yield row
            else:
                self._skip(row.name, missing.rstrip("."))

    def _trials(self, dataset: Row) -> Iterator[Trial]:
        modality = dataset.first.modality
        attacks = []
        kept = dataset.first.kept_sparse(self.grid.settings.data_root)
        for attack in self.trials.rows["attack"]:
            if attack.first.goal not in dataset.first.goals:
                self._skip(
                    f"{dataset.name} x {attack.name}",
                    f"'{dataset.name}' has no goal '{attack.first.goal}'",
                )
            elif modality not in attack.first.modalities:
                self._skip(
                    f"{dataset.name} x {attack.name}", f"it does not work on {modality} data"
                )
            elif reason := only_dense(attack, kept):
                self._skip(f"{dataset.name} x {attack.name}", reason)
            else:
                attacks.append(attack)
        goals = {a.first.goal for a in attacks}
        baselines = [
            b
            for b in self.trials.rows["baseline"]
            if b.first.goal in goals and modality in b.first.modalities and not only_dense(b, kept)
        ]
        for goal in sorted(goals - {b.first.goal for b in baselines}):
            raise UserError(
                f"Goal '{goal}' has no baseline for {modality} data, and leakage has no zero "
                f"without one; add one to 'attack@baseline=[...]', such as "
                f"{' or '.join(goal_named(goal).baselines)}."
            )
        for model in self.trials.rows["model"]:
            reason, task = None, common_task(dataset.first.tasks, model.first.tasks)
            if modality not in model.first.modalities:
                reason = f"it does not take {modality} data"
            elif task is None:
                reason = f"it does {' or '.join(model.first.tasks)}, the data set does not"
            reason = reason or only_dense(model, kept)
            if reason or task is None:
                self._skip(f"{dataset.name} x {model.name}", reason or "")
                continue
            able = [a for a in attacks if not self._unable(dataset, model, a, task)]
            ours = [b for b in baselines if task in b.first.tasks]
            for defense in self.trials.rows["defense"]:
                yield from self._deployment(dataset, model, defense, able, ours, task, kept)
            yield from controls.control_trials(self.trials, dataset, model, able, ours)

    def _unable(self, dataset: Row, model: Row, attack: Row, task: Task) -> bool:
        """Whether the attack cannot work on such a target; says so."""
        reason = unable(model, attack, task)
        if reason:
            self._skip(f"{dataset.name} x {model.name} x {attack.name}", reason)
        return reason is not None

    def _deployment(
        self,
        dataset: Row,
        model: Row,
        defense: Row,
        attacks: Sequence[Row],
        baselines: Sequence[Row],
        task: Task,
        kept_sparse: str | None,
    ) -> Iterator[Trial]:
        what = f"{dataset.name} x {model.name} x {defense.name}"
        reason = unfit(dataset, model, defense, task, kept_sparse)
        if reason:
            self._skip(what, reason)
            return
        try:
            classes = dataset.first.count_classes(self.grid.settings.data_root)
            for part in defense.parts:
                if isinstance(part, ReleaseDefense):
                    part.check_classes(classes)
        except UserError as error:
            self.impossible.setdefault(defense.name, str(error))
            self._skip(what, str(error).rstrip("."))
            return
        self.possible.add(defense.name)
        # Baselines see no model: they stand once, beside the undefended target.
        names = {a.name for a in attacks}
        blind = [b for b in baselines if b.name not in names and not defense.defenses]
        shown = [row for a in attacks for row in self._ways(defense, a)]
        for attack in [*shown, *blind]:
            cell = {
                "dataset": dataset.name,
                "model": model.name,
                "defense": defense.name,
                "attack": attack.name,
            }
            if self.grid.excluded(cell):
                self._skip(f"{what} x {attack.name}", "excluded by the suite")
                continue
            reason = refused(defense, attack)
            if reason:
                self._skip(f"{what} x {attack.name}", reason)
                continue
            same_goal = [b for b in baselines if b.first.goal == attack.first.goal]
            repeats = range(self.grid.settings.seeds)
            yield from self.trials.make(dataset, model, defense, attack, same_goal, repeats)

    def _ways(self, defense: Row, attack: Row) -> Iterator[Row]:
        """An attack with every query budget, and in every way to hide from who watches."""
        access = attack.first.access
        for budget in self.grid.settings.budgets if access in _ASKING else (None,):
            yield attack if budget is None else _sent(attack, f"budget={budget}", budget=budget)
        watched = any(isinstance(p.component, ServeDefense) for p in defense.served(access))
        for label, stream in self.streams if watched else ():
            yield _sent(attack, label, stream=stream)


_ASKING: tuple[Access, ...] = ("labels", "scores")
"""Accesses at which an attacker asks the deployment, and a budget can bind."""


def _sent(attack: Row, label: str, **how: Any) -> Row:
    """A row of the attack whose queries are sent in another way.

    That is no part of the attack itself, so that it shares the seeds of the ordinary row.
    """
    name = attack.name.removesuffix("]") + ("," if "[" in attack.name else "[") + label + "]"
    option = dataclasses.replace(attack.option, name=name)
    return dataclasses.replace(attack, option=option, like=attack.name, **how)


def _stream(config: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """How queries are sent: as rows are named, and with every key spelled out.

    Raises:
        UserError: an unknown key or a value that is not allowed.
    """
    known = {f.name for f in dataclasses.fields(Stream)}
    for key in config:
        require(key in known, f"{where}: unknown key '{key}'.{nearest(str(key), known)}")
    try:
        full = dataclasses.asdict(Stream(**config))
    except (UserError, TypeError) as error:
        raise UserError(f"{where}: {error}") from error
    return ",".join(f"stream.{k}={v}" for k, v in config.items()), full


def make_plan(grid: Grid) -> Plan:
    """The plan of a grid.

    Raises:
        UserError: an option that cannot be built, or nothing left to run.
    """
    with _kept():
        return Planner(grid).plan()


@contextmanager
def _kept() -> Iterator[None]:
    """What is made here stays: looking through it for garbage again and again finds nothing."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
