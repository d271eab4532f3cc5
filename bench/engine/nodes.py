"""Nodes by identity: the same work asked for twice is one node.

What decides a node's result is derived: the code is that of its stage, of its components and of all
they import; the files are those that its components say they read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from bench.contract import Access, Component, ServeDefense, Task, UserError, overrides
from bench.contract.identity import PROTOCOL_VERSION, node_id
from bench.contract.seeding import seed
from bench.contract.source import sources
from bench.engine import join
from bench.engine.components import TARGET
from bench.engine.contents import contents
from bench.engine.graph import Kind, Node, Part, Reading, Row
from bench.engine.settings import Settings
from bench.engine.stages import module_of
from bench.goals import goal_named

F = TypeVar("F", bound=Callable[..., Any])
_Axes = dict[str, str | int]


def _once(method: F) -> F:
    """Remember a node by the names of the rows it is made from."""

    @wraps(method)
    def wrapper(self: Nodes, *args: Any) -> Any:
        key = (method.__name__, *((a.name, a.again) if isinstance(a, Row) else a for a in args))
        if key not in self.made:
            self.made[key] = method(self, *args)
        return self.made[key]

    return cast(F, wrapper)


class Nodes:
    """Makes nodes and remembers them.

    Args:
        settings: base seed and number of victims.
        packages: top-level packages whose source counts.
        nodes: nodes to add to.
    """

    def __init__(
        self, settings: Settings, packages: tuple[str, ...], nodes: dict[str, Node] | None = None
    ) -> None:
        self.settings = settings
        self.packages = packages
        self.nodes: dict[str, Node] = {} if nodes is None else nodes
        self.made: dict[tuple[Any, ...], Any] = {}
        self._digests: dict[tuple[str, ...], str] = {}

    def _node(
        self,
        kind: Kind,
        label: str,
        payload: Mapping[str, Any],
        parents: Mapping[str, str],
        parts: Sequence[Part],
        judge: Sequence[str] = (),
    ) -> str:
        modules = (module_of(kind), *judge, *(_module(p.config) for p in parts))
        source = sources(tuple(dict.fromkeys(modules)), self.packages)
        read = [(part, self._read(part)) for part in parts]
        readings = {
            f"{place}.{name}": reading
            for place, (_, named) in enumerate(read)
            for name, reading in named.items()
        }
        identity = {
            "kind": kind,
            "config": _without_paths(payload, [(part.config, named) for part, named in read]),
            "parents": dict(parents),
            "files": {key: reading.digest for key, reading in readings.items()},
            "source": source.digests,
        }
        key = node_id(identity)
        if key not in self.nodes:
            document = {"protocol": PROTOCOL_VERSION, **identity}
            self.nodes[key] = Node(
                key, kind, payload, parents, document, label, readings, source.texts
            )
        return key

    def _read(self, part: Part) -> dict[str, Reading]:
        """What a component reads, by the name it gives."""
        readings = {}
        for name, paths in files_of(part.component, self.settings.data_root).items():
            option = f"{part.option}.{name}"
            if paths not in self._digests:
                try:
                    self._digests[paths] = contents([Path(path) for path in paths])
                except UserError as error:
                    raise UserError(f"{option}: {error}") from error
            readings[name] = Reading(option, paths, self._digests[paths])
        return readings

    def _seed(self, **axes: str | int) -> int:
        return seed(self.settings.base_seed, **axes)

    @_once
    def data(self, dataset: Row, repeat: int) -> str:
        """Load and split."""
        payload = {
            "dataset": dataset.layers[0],
            "seed": self._seed(dataset=dataset.name, repeat=repeat),
            **({"repeat": repeat} if dataset.first.disjoint else {}),
        }
        return self._node("data", f"{dataset.name}/{repeat}", payload, {}, dataset.made_with)

    @_once
    def evaluator(self, dataset: Row, repeat: int) -> str:
        """Fit the judges."""
        axes: _Axes = {"dataset": dataset.name, "repeat": repeat, "role": "evaluator"}
        further = self.settings.face_network and dataset.first.modality == "image"
        if further:
            from bench.metrics.face_network import require_installed

            require_installed()
        return self._node(
            "evaluator",
            f"{dataset.name}/evaluator/{repeat}",
            {"seed": self._seed(**axes), **({"face_network": True} if further else {})},
            {"data": self.data(dataset, repeat)},
            (),
        )

    @_once
    def reference(self, dataset: Row, name: str, task: Task, repeat: int) -> str:
        """Fit the plain baseline that a model must keep up with."""
        axes: _Axes = {"dataset": dataset.name, "repeat": repeat, "role": "reference"}
        return self._node(
            "reference",
            f"{dataset.name}/{name}/{repeat}",
            {"reference": name, "task": task, "seed": self._seed(**axes)},
            {"data": self.data(dataset, repeat)},
            (),
        )

    def _victims(self, dataset: Row, repeat: int) -> dict[str, int]:
        axes: _Axes = {"dataset": dataset.name, "repeat": repeat, "role": "victims"}
        return {"seed": self._seed(**axes), "limit": self.settings.victims}

    @_once
    def prior(self, dataset: Row, attack: Row, repeat: int) -> str | None:
        """Fit what an attacker learns without the model; None if it needs none."""
        if attack.prior is None:
            return None
        name = str(attack.prior.config[TARGET])
        axes: _Axes = {"dataset": dataset.name, "prior": name, "repeat": repeat}
        payload = {
            "prior": attack.prior.config,
            "goal": attack.first.goal,
            "victims": self._victims(dataset, repeat),
            "seed": self._seed(**axes),
        }
        return self._node(
            "prior",
            f"{dataset.name}/{name.rpartition('.')[2]}/{repeat}",
            payload,
            {"data": self.data(dataset, repeat)},
            [attack.prior],
            _goal_modules(attack.first.goal)[:1],
        )

    @_once
    def target(self, dataset: Row, model: Row, defense: Row, repeat: int) -> str:
        """Train the model behind the training part of a defense."""
        payload = {
            "model": model.layers[0],
            "defense": [part.config for part in defense.trained],
            "seed": self._seed(dataset=dataset.name, model=model.name, repeat=repeat),
            **_again(defense),
        }
        return self._node(
            "target",
            f"{dataset.name}/{model.name}/{defense.name}/{repeat}",
            payload,
            {"data": self.data(dataset, repeat)},
            [*model.made_with, *defense.trained],
        )

    @_once
    def prepare(
        self, dataset: Row, model: Row, defense: Row, access: Access | None, repeat: int
    ) -> str | None:
        """Fit what the layers in effect at ``access`` need; None if they need nothing."""
        served = defense.served(access)
        if not any(overrides(part.component, "prepare") for part in served):
            return None
        axes: _Axes = {"dataset": dataset.name, "model": model.name, "repeat": repeat}
        return self._node(
            "prepare",
            f"{dataset.name}/{model.name}/{defense.name}/prepare/{repeat}",
            {"served": _configs(served), "seed": self._seed(role="owner", **axes)},
            self._deployed(dataset, model, defense, repeat),
            [*model.made_with, *defense.trained, *served],
        )

    @_once
    def audit(self, dataset: Row, model: Row, defense: Row, repeat: int) -> str:
        """Train a twin among canaries and see how many of them it gives away."""
        target = self.nodes[self.target(dataset, model, defense, repeat)]
        axes: _Axes = {"dataset": dataset.name, "model": model.name, "repeat": repeat}
        payload = {**target.payload, "canaries": self._seed(role="canaries", **axes)}
        return self._node(
            "audit",
            f"{dataset.name}/{model.name}/{defense.name}/audit/{repeat}",
            payload,
            self._deployed(dataset, model, defense, repeat),
            [*model.made_with, *defense.trained],
        )

    def _deployed(self, dataset: Row, model: Row, defense: Row, repeat: int) -> dict[str, str]:
        return {
            "data": self.data(dataset, repeat),
            "target": self.target(dataset, model, defense, repeat),
        }

    @_once
    def utility(self, dataset: Row, model: Row, defense: Row, repeat: int) -> str:
        """Measure the deployment behind the whole defense."""
        served = defense.served()
        parents = self._deployed(dataset, model, defense, repeat)
        fitted = self.prepare(dataset, model, defense, None, repeat)
        if fitted is not None:
            parents["prepare"] = fitted
        axes: _Axes = {"dataset": dataset.name, "model": model.name, "repeat": repeat}
        payload = {
            "served": _configs(served),
            "metric": dataset.first.utility_metric,
            "seed": self._seed(role="customers", **axes),
        }
        return self._node(
            "utility",
            f"{dataset.name}/{model.name}/{defense.name}/utility/{repeat}",
            payload,
            parents,
            [*model.made_with, *defense.trained, *served],
        )

    @_once
    def attack(
        self,
        dataset: Row,
        model: Row | None,
        defense: Row | None,
        attack: Row,
        repeat: int,
        task: Task,
    ) -> str:
        """Attack a deployment that does ``task``; a baseline has none (the two are None)."""
        parents = {
            "data": self.data(dataset, repeat),
            "evaluator": self.evaluator(dataset, repeat),
        }
        prior = self.prior(dataset, attack, repeat)
        if prior is not None:
            parents["prior"] = prior
        axes: _Axes = {"dataset": dataset.name, "attack": attack.like or attack.name}
        training: list[Part] = []
        served: list[Part] = []
        built: list[Part] = []
        label = f"{dataset.name}/{attack.name}/{repeat}"
        if model is not None and defense is not None:
            access = attack.first.access
            parents["target"] = self.target(dataset, model, defense, repeat)
            fitted = self.prepare(dataset, model, defense, access, repeat)
            if fitted is not None:
                parents["prepare"] = fitted
            # Only the layers in effect: where a layer does not cover this access, its trial
            # shares the undefended attack.
            training, served = defense.trained, defense.served(access)
            built = [*model.made_with, *training, *served]
            axes["model"] = model.name
            label = f"{dataset.name}/{model.name}/{defense.name}/{attack.name}/{repeat}"
        watched = any(isinstance(part.component, ServeDefense) for part in served)
        payload = {
            "attack": attack.layers[0],
            "goal": attack.first.goal,
            "task": task,
            "served": _configs(served),
            "defense": _configs([*training, *served]),
            "victims": self._victims(dataset, repeat),
            "seed": self._seed(repeat=repeat, **axes),
            # How queries are sent matters to nobody where nobody watches.
            **({"stream": attack.stream} if watched and attack.stream else {}),
            **({} if attack.budget is None else {"budget": attack.budget}),
            **_again(attack),
        }
        parts = [*attack.made_with, *built]
        return self._node(
            "attack", label, payload, parents, parts, _goal_modules(attack.first.goal)
        )


def _goal_modules(name: str) -> list[str]:
    """Modules of a goal and of its judge."""
    return [f"bench.goals.{name}", goal_named(name).judge]


def _again(row: Row) -> dict[str, bool]:
    return {"again": True} if row.again else {}


def _configs(parts: Sequence[Part]) -> list[dict[str, Any]]:
    return [part.config for part in parts]


def _module(config: Mapping[str, Any]) -> str:
    return str(config[TARGET]).rpartition(".")[0]


def joining(packages: tuple[str, ...]) -> Mapping[str, str]:
    """The code that joins the outcomes of nodes to the record of a trial."""
    return sources((join.__name__,), packages).digests


def files_of(component: Component, data_root: Path | None) -> dict[str, tuple[str, ...]]:
    """Absolute paths of what a component reads, by the name it gives."""
    root = None if data_root is None else data_root.resolve()
    return {
        name: tuple(
            str(path.absolute()) for path in ([paths] if isinstance(paths, Path) else paths)
        )
        for name, paths in component.files(root).items()
    }


def _without_paths(value: Any, read: Sequence[tuple[Any, Mapping[str, Any]]]) -> Any:
    """A payload in which no option says where a file lies: what it holds counts instead.

    Args:
        value: the payload, or a part of it.
        read: configs of components, each with the names of what they read.
    """
    if isinstance(value, list):
        return [_without_paths(item, read) for item in value]
    if not isinstance(value, Mapping):
        return value
    names = next((named for config, named in read if named and value == config), {})
    return {k: None if k in names else _without_paths(item, read) for k, item in value.items()}
