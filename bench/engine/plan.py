"""A grid becomes nodes and trials: what is shared is done once, what is skipped has a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, Literal, TypeVar, cast

from bench.contract import (
    Attack,
    Dataset,
    Defense,
    Model,
    ReleaseDefense,
    TrainingDefense,
    UserError,
    require,
)
from bench.contract.exposure import Access
from bench.contract.identity import PROTOCOL_VERSION, node_id, sources
from bench.contract.record import Cell
from bench.contract.seeding import seed
from bench.engine.components import CORE_PACKAGES, TARGET, build, normalise
from bench.engine.config import Grid, Option

F = TypeVar("F", bound=Callable[..., Any])

Kind = Literal["data", "evaluator", "prior", "target", "utility", "attack"]
_Axes = dict[str, str | int]
KINDS: tuple[Kind, ...] = ("data", "evaluator", "prior", "target", "utility", "attack")

_STAGE_MODULES: Mapping[Kind, tuple[str, ...]] = {
    "data": (),
    "evaluator": ("bench.metrics.evaluators", "bench.metrics.reference"),
    "prior": ("bench.data.victims",),
    "target": ("bench.models.training",),
    "utility": ("bench.metrics.utility",),
    "attack": ("bench.data.victims",),
}
"""Project modules besides the component that decide what a stage gives."""


@dataclass(frozen=True)
class Node:
    """One unit of work, done once for every trial that needs it.

    Attributes:
        id: hash of ``identity``.
        kind: which stage runs it.
        payload: plain dict the stage works from.
        parents: role to identity of the nodes whose results it reads.
        identity: the document that was hashed.
        label: how progress and messages name it.
    """

    id: str
    kind: Kind
    payload: Mapping[str, Any]
    parents: Mapping[str, str]
    identity: Mapping[str, Any]
    label: str


@dataclass(frozen=True)
class Trial:
    """One cell of the grid and the nodes its record is joined from.

    Attributes:
        id: hash of the nodes' identities.
        cell: its coordinates.
        goal: the attack's goal.
        access: the attack's access.
        nodes: ``data``, ``evaluator``, ``target``, ``utility``, ``attack`` to identities.
        baselines: name to attack node of every no-model attacker with the same goal.
        info: what the record says of the components; no part of any identity.
        flags: known before anything has run: ``no_effect``, ``non_adaptive``.
    """

    id: str
    cell: Cell
    goal: str
    access: Access
    nodes: Mapping[str, str]
    baselines: Mapping[str, str]
    info: Mapping[str, Any]
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Everything a run would do.

    Attributes:
        nodes: by identity, parents before children.
        trials: in grid order.
        skipped: what was left out, the reason, and how many cells it is.
    """

    nodes: Mapping[str, Node]
    trials: tuple[Trial, ...]
    skipped: Mapping[tuple[str, str], int]


@dataclass
class _Row:
    """An option with its components built: an axis value ready to be multiplied."""

    option: Option
    layers: list[dict[str, Any]]
    parts: list[Any]
    prior: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        return self.option.name

    @property
    def first(self) -> Any:
        return self.parts[0]


def _once(method: F) -> F:
    """Remember a node by the names of the rows it is made from."""

    @wraps(method)
    def wrapper(self: Planner, *args: Any) -> Any:
        key = (method.__name__, *(a.name if isinstance(a, _Row) else a for a in args))
        if key not in self.made:
            self.made[key] = method(self, *args)
        return self.made[key]

    return cast(F, wrapper)


class Planner:
    """Builds a :class:`Plan` from a :class:`Grid`."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.made: dict[tuple[Any, ...], Any] = {}
        self.packages = (*CORE_PACKAGES, *grid.settings.plugins)
        self.nodes: dict[str, Node] = {}
        self.skipped: Counter[tuple[str, str]] = Counter()
        self.rows = {group: [self._row(o) for o in rows] for group, rows in grid.options.items()}
        for group, kind in _KIND_OF.items():
            for row in self.rows[group]:
                for part in row.parts:
                    require(
                        isinstance(part, kind),
                        f"{row.option.where}: {type(part).__name__} is no {kind.__name__.lower()}.",
                    )
        for row in self.rows["baseline"]:
            require(
                row.first.access == "none",
                f"{row.option.where}: a baseline has access 'none', this one '{row.first.access}'.",
            )

    def _row(self, option: Option) -> _Row:
        layers, parts, prior = [], [], None
        for layer in option.layers:
            config = dict(layer)
            if "prior" in config:
                prior = normalise(config.pop("prior"), f"{option.where}, prior", self.packages)
            full = normalise(config, option.where, self.packages)
            layers.append(full)
            parts.append(build(full, option.where, self.packages))
        return _Row(option, layers, parts, prior)

    # ------------------------------------------------------------ nodes
    def _node(
        self,
        kind: Kind,
        label: str,
        payload: Mapping[str, Any],
        parents: Mapping[str, str],
        modules: Sequence[str],
    ) -> str:
        identity = {
            "kind": kind,
            "config": payload,
            "parents": dict(parents),
            "source": self._sources(kind, tuple(modules)),
        }
        key = node_id(identity)
        if key not in self.nodes:
            document = {"protocol": PROTOCOL_VERSION, **identity}
            self.nodes[key] = Node(key, kind, payload, parents, document, label)
        return key

    def _sources(self, kind: Kind, modules: tuple[str, ...]) -> dict[str, str]:
        return _stage_sources(kind, modules, self.packages)

    def _seed(self, **axes: str | int) -> int:
        return seed(self.grid.settings.base_seed, **axes)

    @_once
    def _data(self, dataset: _Row, repeat: int) -> str:
        payload = {
            "dataset": dataset.layers[0],
            "seed": self._seed(dataset=dataset.name, repeat=repeat),
        }
        return self._node("data", f"{dataset.name}/{repeat}", payload, {}, _modules(dataset.layers))

    @_once
    def _evaluator(self, dataset: _Row, repeat: int) -> str:
        axes: _Axes = {"dataset": dataset.name, "repeat": repeat, "role": "evaluator"}
        return self._node(
            "evaluator",
            f"{dataset.name}/evaluator/{repeat}",
            {"seed": self._seed(**axes)},
            {"data": self._data(dataset, repeat)},
            (),
        )

    def _victims(self, dataset: _Row, repeat: int) -> dict[str, int]:
        axes: _Axes = {"dataset": dataset.name, "repeat": repeat, "role": "victims"}
        return {"seed": self._seed(**axes), "limit": self.grid.settings.victims}

    @_once
    def _prior(self, dataset: _Row, attack: _Row, repeat: int) -> str | None:
        if attack.prior is None:
            return None
        axes: _Axes = {"dataset": dataset.name, "prior": attack.prior[TARGET], "repeat": repeat}
        payload = {
            "prior": attack.prior,
            "goal": attack.first.goal,
            "victims": self._victims(dataset, repeat),
            "seed": self._seed(**axes),
        }
        name = str(attack.prior[TARGET]).rpartition(".")[2]
        return self._node(
            "prior",
            f"{dataset.name}/{name}/{repeat}",
            payload,
            {"data": self._data(dataset, repeat)},
            _modules([attack.prior]),
        )

    @_once
    def _target(self, dataset: _Row, model: _Row, defense: _Row, repeat: int) -> str:
        training = _of(defense, TrainingDefense)
        payload = {
            "model": model.layers[0],
            "defense": training,
            "seed": self._seed(dataset=dataset.name, model=model.name, repeat=repeat),
        }
        return self._node(
            "target",
            f"{dataset.name}/{model.name}/{defense.name}/{repeat}",
            payload,
            {"data": self._data(dataset, repeat)},
            _modules([model.layers[0], *training]),
        )

    @_once
    def _utility(self, dataset: _Row, model: _Row, defense: _Row, repeat: int) -> str:
        release = _of(defense, ReleaseDefense)
        parents = {
            "data": self._data(dataset, repeat),
            "target": self._target(dataset, model, defense, repeat),
        }
        payload = {"release": release, "metric": dataset.first.utility_metric}
        return self._node(
            "utility",
            f"{dataset.name}/{model.name}/{defense.name}/utility/{repeat}",
            payload,
            parents,
            _modules(release),
        )

    @_once
    def _attack(
        self, dataset: _Row, model: _Row | None, defense: _Row | None, attack: _Row, repeat: int
    ) -> str:
        parents = {
            "data": self._data(dataset, repeat),
            "evaluator": self._evaluator(dataset, repeat),
        }
        prior = self._prior(dataset, attack, repeat)
        if prior is not None:
            parents["prior"] = prior
        axes: _Axes = {"dataset": dataset.name, "attack": attack.name}
        release: list[dict[str, Any]] = []
        training: list[dict[str, Any]] = []
        label = f"{dataset.name}/{attack.name}/{repeat}"
        if model is not None and defense is not None:
            parents["target"] = self._target(dataset, model, defense, repeat)
            training = _of(defense, TrainingDefense)
            release = [
                layer
                for layer, part in zip(defense.layers, defense.parts, strict=True)
                if isinstance(part, ReleaseDefense) and attack.first.access in part.covers
            ]
            axes["model"] = model.name
            label = f"{dataset.name}/{model.name}/{defense.name}/{attack.name}/{repeat}"
        payload = {
            "attack": attack.layers[0],
            "goal": attack.first.goal,
            # Only the layers in effect: where a release defense does not cover this access, its
            # trial shares the undefended attack.
            "release": release,
            "defense": [*training, *release],
            "victims": self._victims(dataset, repeat),
            "seed": self._seed(repeat=repeat, **axes),
        }
        goal_module = f"bench.metrics.{attack.first.goal}"
        modules = [*_modules([attack.layers[0], *release]), goal_module]
        return self._node("attack", label, payload, parents, modules)

    # ------------------------------------------------------------ trials
    def plan(self) -> Plan:
        """Multiply the axes.

        Raises:
            UserError: nothing is left to run, with the reasons.
        """
        trials = [trial for dataset in self._datasets() for trial in self._trials(dataset)]
        if not trials:
            reasons = "; ".join(dict.fromkeys(reason for _, reason in self.skipped))
            raise UserError(f"Nothing to run: {reasons or 'every cell is excluded'}.")
        return Plan(self._needed(trials), tuple(trials), dict(self.skipped))

    def _needed(self, trials: Sequence[Trial]) -> dict[str, Node]:
        wanted: set[str] = set()
        todo = [n for t in trials for n in (*t.nodes.values(), *t.baselines.values())]
        while todo:
            name = todo.pop()
            if name not in wanted:
                wanted.add(name)
                todo += self.nodes[name].parents.values()
        return {key: node for key, node in self.nodes.items() if key in wanted}

    def _skip(self, what: str, reason: str, count: int = 1) -> None:
        self.skipped[(what, reason)] += count * self.grid.settings.seeds

    def _datasets(self) -> Iterator[_Row]:
        for row in self.rows["dataset"]:
            missing = row.first.missing(self.grid.settings.data_root)
            if missing is None:
                yield row
            else:
                self._skip(row.name, missing.rstrip("."))

    def _trials(self, dataset: _Row) -> Iterator[Trial]:
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
                f"without one; add one to 'attack@baseline=[...]'."
            )
        for model in self.rows["model"]:
            if modality not in model.first.modalities:
                self._skip(f"{dataset.name} x {model.name}", f"it does not take {modality} data")
                continue
            for defense in self.rows["defense"]:
                yield from self._deployment(dataset, model, defense, attacks, baselines)

    def _deployment(
        self,
        dataset: _Row,
        model: _Row,
        defense: _Row,
        attacks: Sequence[_Row],
        baselines: Sequence[_Row],
    ) -> Iterator[Trial]:
        what = f"{dataset.name} x {model.name} x {defense.name}"
        for part in defense.parts:
            needs = sorted(part.needs - model.first.offers)
            if needs:
                self._skip(what, f"it needs {' and '.join(needs)}, which '{model.name}' lacks")
                return
            if dataset.first.modality not in part.modalities:
                self._skip(what, f"it does not work on {dataset.first.modality} data")
                return
            if isinstance(part, ReleaseDefense):
                part.check_classes(dataset.first.n_classes)
        # Baselines see no model: they stand once, beside the undefended target.
        shown = [*attacks, *(baselines if _undefended(defense) else ())]
        for attack in shown:
            cell = {
                "dataset": dataset.name,
                "model": model.name,
                "defense": defense.name,
                "attack": attack.name,
            }
            if self.grid.excluded(cell):
                self._skip(f"{what} x {attack.name}", "excluded by the suite")
                continue
            reason = _refused(defense, attack)
            if reason:
                self._skip(f"{what} x {attack.name}", reason)
                continue
            for repeat in range(self.grid.settings.seeds):
                yield self._trial(dataset, model, defense, attack, baselines, repeat)

    def _trial(
        self,
        dataset: _Row,
        model: _Row,
        defense: _Row,
        attack: _Row,
        baselines: Sequence[_Row],
        repeat: int,
    ) -> Trial:
        access = attack.first.access
        blind = access == "none"
        nodes = {
            "data": self._data(dataset, repeat),
            "evaluator": self._evaluator(dataset, repeat),
            "target": self._target(dataset, model, defense, repeat),
            "utility": self._utility(dataset, model, defense, repeat),
            "attack": self._attack(
                dataset, None if blind else model, None if blind else defense, attack, repeat
            ),
        }
        bases = {
            b.name: self._attack(dataset, None, None, b, repeat)
            for b in baselines
            if b.first.goal == attack.first.goal
        }
        cell = Cell(
            dataset=dataset.name,
            model=model.name,
            defense=defense.name,
            attack=attack.name,
            seed=repeat,
        )
        flags = []
        if defense.parts and not blind and not _acts(defense, access):
            flags.append("no_effect")
        # Names are no part of any node, but two rows must not share a record.
        document = {"cell": cell.key(), "nodes": nodes, "baselines": bases}
        info = self._info(dataset, model, defense, attack)
        return Trial(
            node_id(document), cell, attack.first.goal, access, nodes, bases, info, tuple(flags)
        )

    @_once
    def _info(self, dataset: _Row, model: _Row, defense: _Row, attack: _Row) -> Mapping[str, Any]:
        real = [p for p in defense.parts if not _is_none(p)]
        return {
            "sector": dataset.first.sector,
            "modality": dataset.first.modality,
            "model": model.layers[0],
            "reference": model.first.reference,
            "defense": {
                "layers": [*_of(defense, TrainingDefense), *_of(defense, ReleaseDefense)],
                "covers": sorted({a for p in real for a in p.covers}),
                "adaptive_attacks": sorted({a for p in real for a in p.adaptive_attacks}),
                "paper": "; ".join(p.paper for p in real),
            },
            "attack": {
                "params": attack.layers[0],
                "paper": attack.first.paper,
                "knowledge": sorted(attack.first.knowledge),
                "adaptive_to": list(attack.first.adaptive_to),
            },
        }


_KIND_OF: Mapping[str, type[Any]] = {
    "dataset": Dataset,
    "model": Model,
    "defense": Defense,
    "attack": Attack,
    "baseline": Attack,
}


@cache
def _stage_sources(
    kind: Kind, modules: tuple[str, ...], packages: tuple[str, ...]
) -> dict[str, str]:
    return sources([*modules, *_STAGE_MODULES[kind]], packages) | sources(
        ["bench.engine.stages"], ("bench.engine.stages",)
    )


def _modules(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(layer[TARGET]).rpartition(".")[0] for layer in layers]


def _of(defense: _Row, kind: type[Any]) -> list[dict[str, Any]]:
    return [
        layer
        for layer, part in zip(defense.layers, defense.parts, strict=True)
        if isinstance(part, kind)
    ]


def _is_none(part: Defense) -> bool:
    return not isinstance(part, TrainingDefense | ReleaseDefense)


def _undefended(defense: _Row) -> bool:
    return all(_is_none(p) for p in defense.parts)


def _acts(defense: _Row, access: Access) -> bool:
    return _undefended(defense) or any(access in p.covers for p in defense.parts)


def _refused(defense: _Row, attack: _Row) -> str | None:
    """Why a deployment behind this defense does not expose what the attack needs."""
    offered: Access = attack.first.access
    for part in defense.parts:
        if isinstance(part, ReleaseDefense):
            offered = part.offered(offered)
    if attack.first.usable_at(offered):
        return None
    return f"'{defense.name}' exposes {offered} only, '{attack.name}' needs {attack.first.access}"


def make_plan(grid: Grid) -> Plan:
    """The plan of a grid.

    Raises:
        UserError: an option that cannot be built, or nothing left to run.
    """
    return Planner(grid).plan()
