"""The rows of a grid's axes, and the trials that are made of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.contract import Attack, Dataset, Defense, Model, Stream, common_task, require, stages
from bench.contract.identity import digest_of
from bench.contract.record import Cell
from bench.engine import standards
from bench.engine.components import CORE_PACKAGES, build, normalise
from bench.engine.config import Grid, Option
from bench.engine.fits import listed, threat
from bench.engine.graph import Case, Part, Row, Trial
from bench.engine.nodes import Nodes, joining

_KIND_OF: Mapping[str, type[Any]] = {
    "dataset": Dataset,
    "model": Model,
    "defense": Defense,
    "attack": Attack,
    "baseline": Attack,
}


class Trials:
    """Makes rows of options, and trials of rows.

    Attributes:
        grid: what was asked.
        packages: top-level packages that options may name.
        nodes: every node that was made so far.
        rows: by axis, in the order of the grid.
        standards: the standard sets of the goals that are attacked.
        places: the places in them of each member, by its content.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.packages = (*CORE_PACKAGES, *grid.settings.plugins)
        self.nodes = Nodes(grid.settings, self.packages)
        self._tried: dict[str, Counter[str]] = {}
        self.rows = {group: [self.row(o) for o in rows] for group, rows in grid.options.items()}
        for group, kind in _KIND_OF.items():
            for row in self.rows[group]:
                for part in row.parts:
                    require(
                        isinstance(part, kind),
                        f"{row.option.where}: {type(part).__name__} is no {kind.__name__.lower()}.",
                    )
        for group in ("dataset", "model"):
            self.rows[group] = _by_own_name(self.rows[group])
        self.nodes.resampled = any(row.first.given for row in self.rows["model"])
        attacks = self.rows["attack"]
        self.standards = standards.read({threat(a.first) for a in attacks}, self.row)
        self.places = standards.places(self.standards)
        if grid.settings.standard:
            modalities = {d.first.modality for d in self.rows["dataset"]}
            attacks += standards.added(self.standards, attacks, modalities)
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

    def make(
        self,
        dataset: Row,
        model: Row,
        defense: Row,
        attack: Row,
        baselines: Sequence[Row],
        repeats: Sequence[int],
        control: str = "",
        made_by: Nodes | None = None,
    ) -> Iterator[Trial]:
        """One cell in its repeats, and the nodes their records are joined from.

        ``made_by`` makes them with other settings than those of the suite.
        """
        made_by = made_by or self.nodes
        access = attack.first.access
        blind = access == "none"
        task = common_task(dataset.first.tasks, model.first.tasks)
        assert task is not None
        makers = {
            "data": made_by.data(dataset),
            "evaluator": made_by.evaluator(dataset),
            "reference": made_by.reference(dataset, model.first.reference, task),
            "target": made_by.target(dataset, model, defense),
            "utility": made_by.utility(dataset, model, defense),
            "attack": made_by.attack(
                dataset, None if blind else model, None if blind else defense, attack, task
            ),
        }
        if any(getattr(p, "accounts", False) for p in defense.parts):
            makers["audit"] = made_by.audit(dataset, model, defense)
        bases = {b.name: made_by.attack(dataset, None, None, b, task) for b in baselines}
        no_effect = bool(defense.defenses) and not blind and not defense.covers(access)
        case = Case(
            Cell(
                dataset=dataset.name,
                model=model.name,
                defense=defense.name,
                attack=attack.name,
                seed=max(repeats),
            ),
            threat(attack.first),
            access,
            self._info(dataset, model, defense, attack),
            (
                *(("no_effect",) if no_effect else ()),
                *(("single_target",) if model.first.given else ()),
            ),
            control,
            tuple(makers),
            tuple(bases),
        )
        form = case.form(joining(self.packages))
        every = (*makers.values(), *bases.values())
        for repeat in repeats:
            parts = tuple(maker.at(repeat) for maker in every)
            yield Trial(digest_of(form.text((repeat, *parts))), case, repeat, parts)

    def _info(self, dataset: Row, model: Row, defense: Row, attack: Row) -> Mapping[str, Any]:
        """What the record says of the components."""
        real = defense.defenses
        return {
            "option": dataset.option.file,
            "sector": dataset.first.sector,
            "modality": dataset.first.modality,
            "asked_about": dataset.first.secret,
            "model": model.layers[0],
            "defense": {
                "family": defense.option.file,
                "settings": self._variants("defense", defense),
                "tunable": any(p.tunable for p in real),
                "stages": list(stages(real)),
                "layers": [p.config for p in (*defense.trained, *defense.served())],
                "covers": sorted({a for p in real for a in p.covers}),
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
                "standard": standards.sizes(self.standards, dataset, model, defense, attack),
                "member": self.places.get(standards.content(attack), {}),
                "knowledge": sorted(attack.first.knowledge),
                # Who hides how he asks adapts to being watched, whatever he asks.
                "adaptive_to": sorted(
                    {*attack.first.adaptive_to, *Stream(**(attack.stream or {})).adaptive_to}
                ),
            },
        }

    def _variants(self, group: str, row: Row) -> int:
        """Settings of the same option that were tried: those of this grid, or more in a search.

        A defense that chooses among settings by itself counts for as many.
        """
        if group not in self._tried:
            self._tried[group] = Counter()
            for other in self.rows[group]:
                tries = max((getattr(p, "tries", 1) for p in other.parts), default=1)
                self._tried[group][other.option.file] += tries
        searches = [
            tuned.settings
            for tuned in self.grid.settings.tuned
            if (tuned.group, tuned.name) == (group, row.option.file)
        ]
        return max(1, self._tried[group][row.option.file], *searches)


def _by_own_name(rows: Sequence[Row]) -> list[Row]:
    """Data sets and models under names of their own, where cards or options give them some.

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
