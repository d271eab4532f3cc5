"""A grid becomes nodes and trials: what is shared is done once, what is skipped has a reason."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.contract import (
    Access,
    Attack,
    Dataset,
    Defense,
    Model,
    ReleaseDefense,
    ServeDefense,
    Stream,
    Task,
    UserError,
    common_task,
    nearest,
    require,
    stages,
)
from bench.contract.identity import node_id
from bench.contract.record import Cell
from bench.engine import controls
from bench.engine.components import CORE_PACKAGES, build, normalise
from bench.engine.config import Grid, Option
from bench.engine.fits import listed, refused, threat, unfit
from bench.engine.graph import Node, Part, Plan, Row, Trial
from bench.engine.nodes import Nodes, joining
from bench.goals import goal_named

_KIND_OF: Mapping[str, type[Any]] = {
    "dataset": Dataset,
    "model": Model,
    "defense": Defense,
    "attack": Attack,
    "baseline": Attack,
}


class Planner:
    """Builds a :class:`Plan` from a :class:`Grid`."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.packages = (*CORE_PACKAGES, *grid.settings.plugins)
        self.nodes = Nodes(grid.settings, self.packages)
        self.streams = [
            _stream(s, f"Setting 'streams[{i}]'") for i, s in enumerate(grid.settings.streams)
        ]
        self.skipped: Counter[tuple[str, str]] = Counter()
        self.possible: set[str] = set()
        self.impossible: dict[str, str] = {}
        """Defenses with an option that some data set's classes rule out, and why."""
        self.rows = {group: [self.row(o) for o in rows] for group, rows in grid.options.items()}
        for group, kind in _KIND_OF.items():
            for row in self.rows[group]:
                for part in row.parts:
                    require(
                        isinstance(part, kind),
                        f"{row.option.where}: {type(part).__name__} is no {kind.__name__.lower()}.",
                    )
        self.rows["dataset"] = _by_own_name(self.rows["dataset"])
        for row in self.rows["baseline"]:
            require(
                row.first.access == "none",
                f"{row.option.where}: a baseline has access 'none', this one '{row.first.access}'.",
            )

    def row(self, option: Option) -> Row:
        """An option with its components built."""
        layers, parts, prior = [], [], None
        for layer in option.layers:
            config = dict(layer)
            if "prior" in config:
                prior = self._prior(option, config.pop("prior"))
            full = normalise(config, option.where, self.packages)
            layers.append(full)
            parts.append(build(full, option.where, self.packages))
        if prior is not None:
            unsaid = prior.component.knowledge - parts[0].knowledge
            require(
                not unsaid,
                f"{option.where}: its prior uses {listed(unsaid)}, which the attack does not "
                "declare; add it to the class attribute 'knowledge'.",
            )
        return Row(option, layers, parts, prior)

    def _prior(self, option: Option, config: Mapping[str, Any]) -> Part:
        where = f"{option.where}, prior"
        full = normalise(config, where, self.packages)
        return Part(f"{option.group}.{option.file}.prior", full, build(full, where, self.packages))

    def plan(self) -> Plan:
        """Multiply the axes.

        Raises:
            UserError: nothing is left to run, with the reasons, or a defense has an option that the
            classes of no data set allow.
        """
        trials = [trial for dataset in self._datasets() for trial in self._trials(dataset)]
        for name, reason in self.impossible.items():
            require(name in self.possible, reason)
        if trials:
            trials += controls.canary(self)
        if not trials:
            reasons = "; ".join(dict.fromkeys(reason for _, reason in self.skipped))
            raise UserError(f"Nothing to run: {reasons or 'every cell is excluded'}.")
        return Plan(self._needed(trials), tuple(trials), dict(self.skipped))

    def _needed(self, trials: Sequence[Trial]) -> dict[str, Node]:
        wanted: set[str] = set()
        todo = [n for t in trials for n in t.parts]
        while todo:
            name = todo.pop()
            if name not in wanted:
                wanted.add(name)
                todo += self.nodes.nodes[name].parents.values()
        return {key: node for key, node in self.nodes.nodes.items() if key in wanted}

    def _skip(self, what: str, reason: str, count: int = 1) -> None:
        self.skipped[(what, reason)] += count * self.grid.settings.seeds

    def _datasets(self) -> Iterator[Row]:
        for row in self.rows["dataset"]:
            missing = row.first.missing(self.grid.settings.data_root)
            if missing is None:
                yield row
            else:
                self._skip(row.name, missing.rstrip("."))

    def _trials(self, dataset: Row) -> Iterator[Trial]:
        modality = dataset.first.modality
        attacks = []
        for attack in self.rows["attack"]:
            if attack.first.goal not in dataset.first.goals:
                self._skip(
                    f"{dataset.name} x {attack.name}",
                    f"'{dataset.name}' has no goal '{attack.first.goal}'",
                )
            elif modality not in attack.first.modalities:
                self._skip(
                    f"{dataset.name} x {attack.name}", f"it does not work on {modality} data"
                )
            else:
                attacks.append(attack)
        goals = {a.first.goal for a in attacks}
        baselines = [
            b
            for b in self.rows["baseline"]
            if b.first.goal in goals and modality in b.first.modalities
        ]
        for goal in sorted(goals - {b.first.goal for b in baselines}):
            raise UserError(
                f"Goal '{goal}' has no baseline for {modality} data, and leakage has no zero "
                f"without one; add one to 'attack@baseline=[...]', such as "
                f"{' or '.join(goal_named(goal).baselines)}."
            )
        for model in self.rows["model"]:
            reason, task = None, common_task(dataset.first.tasks, model.first.tasks)
            if modality not in model.first.modalities:
                reason = f"it does not take {modality} data"
            elif task is None:
                reason = f"it does {' or '.join(model.first.tasks)}, the data set does not"
            if reason or task is None:
                self._skip(f"{dataset.name} x {model.name}", reason or "")
                continue
            able = [a for a in attacks if not self._unable(dataset, model, a, task)]
            ours = [b for b in baselines if task in b.first.tasks]
            for defense in self.rows["defense"]:
                yield from self._deployment(dataset, model, defense, able, ours, task)
            yield from controls.trials(self, dataset, model, able, ours)

    def _unable(self, dataset: Row, model: Row, attack: Row, task: Task) -> bool:
        """Whether the attack cannot work on such a target; says so."""
        part, what = attack.first, f"{dataset.name} x {model.name} x {attack.name}"
        needs = part.requires - model.first.offers
        if task not in part.tasks:
            self._skip(what, f"it does not attack {task}")
        elif needs:
            self._skip(what, f"it needs {listed(needs)}, which '{model.name}' lacks")
        return bool(needs) or task not in part.tasks

    def _deployment(
        self,
        dataset: Row,
        model: Row,
        defense: Row,
        attacks: Sequence[Row],
        baselines: Sequence[Row],
        task: Task,
    ) -> Iterator[Trial]:
        what = f"{dataset.name} x {model.name} x {defense.name}"
        reason = unfit(dataset, model, defense, task)
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
            info = self.info(dataset, model, defense, attack)
            for repeat in range(self.grid.settings.seeds):
                yield self.trial(dataset, model, defense, attack, same_goal, repeat, info)

    def _ways(self, defense: Row, attack: Row) -> Iterator[Row]:
        """An attack with every query budget, and in every way to hide from who watches."""
        access = attack.first.access
        for budget in self.grid.settings.budgets if access in _ASKING else (None,):
            yield attack if budget is None else _sent(attack, f"budget={budget}", budget=budget)
        watched = any(isinstance(p.component, ServeDefense) for p in defense.served(access))
        for label, stream in self.streams if watched else ():
            yield _sent(attack, label, stream=stream)

    def trial(
        self,
        dataset: Row,
        model: Row,
        defense: Row,
        attack: Row,
        baselines: Sequence[Row],
        repeat: int,
        info: Mapping[str, Any],
        control: str = "",
        made_by: Nodes | None = None,
    ) -> Trial:
        """One cell and the nodes its record is joined from.

        ``made_by`` makes them with other settings than those of the suite.
        """
        made_by = made_by or self.nodes
        access = attack.first.access
        blind = access == "none"
        task = common_task(dataset.first.tasks, model.first.tasks)
        assert task is not None
        nodes = {
            "data": made_by.data(dataset, repeat),
            "evaluator": made_by.evaluator(dataset, repeat),
            "reference": made_by.reference(dataset, model.first.reference, task, repeat),
            "target": made_by.target(dataset, model, defense, repeat),
            "utility": made_by.utility(dataset, model, defense, repeat),
            "attack": made_by.attack(
                dataset, None if blind else model, None if blind else defense, attack, repeat, task
            ),
        }
        if task == "classification" and any(getattr(p, "accounts", False) for p in defense.parts):
            nodes["audit"] = made_by.audit(dataset, model, defense, repeat)
        bases = {b.name: made_by.attack(dataset, None, None, b, repeat, task) for b in baselines}
        cell = Cell(
            dataset=dataset.name,
            model=model.name,
            defense=defense.name,
            attack=attack.name,
            seed=repeat,
        )
        flags = []
        if defense.defenses and not blind and not defense.covers(access):
            flags.append("no_effect")
        # All that its record says: names are no part of any node, but two rows must not share one.
        document = {
            "cell": cell.key(),
            "goal": threat(attack.first),
            "access": access,
            "control": control,
            "flags": flags,
            "info": info,
            "nodes": nodes,
            "baselines": bases,
            "source": joining(self.packages),
        }
        return Trial(
            node_id(document),
            cell,
            threat(attack.first),
            access,
            nodes,
            bases,
            info,
            tuple(flags),
            control,
        )

    def info(self, dataset: Row, model: Row, defense: Row, attack: Row) -> Mapping[str, Any]:
        """What the record says of the components."""
        real = defense.defenses
        return {
            "option": dataset.option.file,
            "sector": dataset.first.sector,
            "modality": dataset.first.modality,
            "model": model.layers[0],
            "defense": {
                "family": defense.option.file,
                "settings": self._variants("defense", defense),
                "stages": list(stages(real)),
                "layers": [p.config for p in (*defense.trained, *defense.served())],
                "covers": sorted({a for p in real for a in p.covers}),
                "adaptive_attacks": sorted({a for p in real for a in p.adaptive_attacks}),
                "paper": "; ".join(p.paper for p in real),
            },
            "attack": {
                "family": attack.option.file,
                "settings": self._variants("attack", attack),
                "params": attack.layers[0]
                | ({"prior": attack.prior.config} if attack.prior else {})
                | ({"stream": attack.stream} if attack.stream else {})
                | ({} if attack.budget is None else {"budget": attack.budget}),
                "paper": attack.first.paper,
                "knowledge": sorted(attack.first.knowledge),
                # Who hides how he asks adapts to being watched, whatever he asks.
                "adaptive_to": sorted(
                    {*attack.first.adaptive_to, *(["serve"] if attack.stream else [])}
                ),
            },
        }

    def _variants(self, group: str, row: Row) -> int:
        """Settings of the same option in this grid: how many were tried."""
        return max(1, sum(r.option.file == row.option.file for r in self.rows[group]))


_ASKING: tuple[Access, ...] = ("labels", "scores")
"""Accesses at which an attacker asks the deployment, and a budget can bind."""


def _sent(attack: Row, label: str, **how: Any) -> Row:
    """A row of the attack whose queries are sent in another way.

    That is no part of the attack itself, so that it shares the seeds of the ordinary row.
    """
    name = attack.name.removesuffix("]") + ("," if "[" in attack.name else "[") + label + "]"
    option = dataclasses.replace(attack.option, name=name)
    return dataclasses.replace(attack, option=option, like=attack.name, **how)


def _by_own_name(rows: Sequence[Row]) -> list[Row]:
    """Data sets under the names that their cards give them.

    Raises:
        UserError: two of them have one name.
    """
    named: dict[str, Row] = {}
    for given in rows:
        own, option = given.first.called, given.option
        name = option.name if own is None else own + option.name.removeprefix(option.file)
        row = dataclasses.replace(given, option=dataclasses.replace(option, name=name))
        other = named.get(name)
        require(
            other is None,
            f"{option.where} and {other.option.where if other else ''} are both called "
            f"'{name}', so that their results could not be told apart; give each card its own "
            "name.",
        )
        named[name] = row
    return list(named.values())


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
    return Planner(grid).plan()
