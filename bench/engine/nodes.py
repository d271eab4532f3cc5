"""Nodes by identity: the same work asked for twice is one node.

What decides a node's result is derived: the code is that of its stage, of its components and of all
they import; the files are those that its components say they read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from bench.contract import Access, Component, ServeDefense, Task, UserError, overrides
from bench.contract.identity import digest_of
from bench.contract.seeding import seed
from bench.contract.source import sources
from bench.engine import forms, join
from bench.engine.components import TARGET, modules_of
from bench.engine.contents import contents
from bench.engine.graph import Kind, Node, Part, Reading, Row, Series, filled
from bench.engine.settings import Settings
from bench.engine.stages import module_of
from bench.goals import goal_named
from bench.models.replicas import group_of

F = TypeVar("F", bound=Callable[..., Any])
_Number = Callable[[int], int]
"""Gives the number of a repeat, such as its seed."""


def _once(method: F) -> F:
    """Remember a node by the names of the rows it is made from."""

    @wraps(method)
    def wrapper(self: Nodes, *args: Any) -> Any:
        key = (method.__name__, *((a.name, a.again) if isinstance(a, Row) else a for a in args))
        if key not in self.made:
            self.made[key] = method(self, *args)
        return self.made[key]

    return cast(F, wrapper)


class Maker:
    """Makes the nodes of a series, one for every repeat that is asked for.

    Args:
        nodes: every node that was made so far; what is made is added.
        series: what they have in common.
        numbers: what gives the values of ``series.numbers`` in a repeat.
        parents: makers of the nodes whose results they read, by ``series.roles``.
    """

    def __init__(
        self,
        nodes: dict[str, Node],
        series: Series,
        numbers: Sequence[_Number],
        parents: Sequence[Maker],
    ) -> None:
        self.series = series
        self._nodes, self._numbers, self._parents = nodes, numbers, parents
        self._made: dict[int, str] = {}

    def at(self, repeat: int) -> str:
        """Identity of the node of one repeat."""
        made = self._made.get(repeat)
        if made is None:
            numbers = tuple(number(repeat) for number in self._numbers)
            above = tuple(parent.at(repeat) for parent in self._parents)
            made = digest_of(self.series.form.text((*numbers, *above)))
            if made not in self._nodes:
                self._nodes[made] = Node(made, self.series, repeat, numbers, above)
            self._made[repeat] = made
        return made


class Nodes:
    """Makes nodes and remembers them.

    Args:
        settings: base seed and number of victims.
        packages: top-level packages whose source counts.
        nodes: nodes to add to.

    Attributes:
        resampled: whether attacks say how much their score depends on who was attacked, as where
            there is one target only.
    """

    def __init__(
        self, settings: Settings, packages: tuple[str, ...], nodes: dict[str, Node] | None = None
    ) -> None:
        self.settings = settings
        self.packages = packages
        self.nodes: dict[str, Node] = {} if nodes is None else nodes
        self.resampled = False
        self.made: dict[tuple[Any, ...], Any] = {}
        self._digests: dict[tuple[str, ...], str] = {}
        self._seeds: dict[tuple[Any, ...], _Number] = {}

    def _maker(
        self,
        kind: Kind,
        label: str,
        payload: Mapping[str, Any],
        parents: Mapping[str, Maker],
        parts: Sequence[Part],
        judge: Sequence[str] = (),
        replica: str | None = None,
    ) -> Maker:
        """Of the nodes with this payload; functions in it give the numbers of each repeat."""
        named = (m for p in parts for m in (*modules_of(p.config), *p.component.imports))
        modules = (module_of(kind), *judge, *named)
        source = sources(tuple(dict.fromkeys(modules)), self.packages)
        read = [(part, self._read(part)) for part in parts]
        readings = {
            f"{place}.{name}": reading
            for place, (_, named) in enumerate(read)
            for name, reading in named.items()
        }
        numbers = dict(_numbers(payload))
        with_holes = dict(payload)
        for place, path in enumerate(numbers):
            with_holes = filled(with_holes, path, forms.number(place))
        unheeded = [(p.config, frozenset(named) | p.component.incidental) for p, named in read]
        config = _without(with_holes, unheeded)
        series = Series(
            kind,
            with_holes,
            config,
            tuple(numbers),
            tuple(parents),
            label,
            source,
            readings,
            replica,
        )
        return Maker(self.nodes, series, tuple(numbers.values()), tuple(parents.values()))

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

    def _seed(self, **axes: str) -> _Number:
        """The seed of each repeat on these axes; the same function for the same axes."""
        key = tuple(sorted(axes.items()))
        if key not in self._seeds:
            self._seeds[key] = cache(partial(_seed_at, self.settings.base_seed, axes))
        return self._seeds[key]

    @_once
    def data(self, dataset: Row) -> Maker:
        """Load and split."""
        payload = {
            "dataset": dataset.layers[0],
            "seed": self._seed(dataset=dataset.name),
            **({"repeat": int} if dataset.first.disjoint else {}),
        }
        return self._maker("data", dataset.name, payload, {}, dataset.made_with)

    @_once
    def evaluator(self, dataset: Row) -> Maker:
        """Fit the judges."""
        further = self.settings.face_network and dataset.first.modality == "image"
        if further:
            from bench.metrics.face_network import require_installed

            require_installed()
        return self._maker(
            "evaluator",
            f"{dataset.name}/evaluator",
            {
                "seed": self._seed(dataset=dataset.name, role="evaluator"),
                **({"face_network": True} if further else {}),
            },
            {"data": self.data(dataset)},
            (),
        )

    @_once
    def reference(self, dataset: Row, name: str, task: Task) -> Maker:
        """Fit the plain baseline that a model must keep up with."""
        seed_of = self._seed(dataset=dataset.name, role="reference")
        return self._maker(
            "reference",
            f"{dataset.name}/{name}",
            {"reference": name, "task": task, "seed": seed_of},
            {"data": self.data(dataset)},
            (),
        )

    def _victims(self, dataset: Row) -> dict[str, Any]:
        seed_of = self._seed(dataset=dataset.name, role="victims")
        return {"seed": seed_of, "limit": self.settings.victims}

    @_once
    def prior(self, dataset: Row, attack: Row) -> Maker | None:
        """Fit what an attacker learns without the model; None if it needs none."""
        if attack.prior is None:
            return None
        name = str(attack.prior.config[TARGET])
        payload = {
            "prior": attack.prior.config,
            "goal": attack.first.goal,
            "victims": self._victims(dataset),
            "seed": self._seed(dataset=dataset.name, prior=name),
        }
        return self._maker(
            "prior",
            f"{dataset.name}/{name.rpartition('.')[2]}",
            payload,
            {"data": self.data(dataset)},
            [attack.prior],
            _goal_modules(attack.first.goal)[:1],
        )

    def _trained(self, dataset: Row, model: Row, defense: Row) -> dict[str, Any]:
        """Payload of a target."""
        return {
            "model": model.layers[0],
            "defense": _configs(defense.trained),
            "seed": self._seed(dataset=dataset.name, model=model.name),
            **_again(defense),
        }

    @_once
    def target(self, dataset: Row, model: Row, defense: Row) -> Maker:
        """Train the model behind the training part of a defense."""
        return self._maker(
            "target",
            f"{dataset.name}/{model.name}/{defense.name}",
            self._trained(dataset, model, defense),
            {"data": self.data(dataset)},
            [*model.made_with, *defense.trained],
            replica=group_of(model.first, [p.component for p in defense.trained], dataset.name),
        )

    @_once
    def prepare(
        self, dataset: Row, model: Row, defense: Row, access: Access | None
    ) -> Maker | None:
        """Fit what the layers in effect at ``access`` need; None if they need nothing."""
        served = defense.served(access)
        if not any(overrides(part.component, "prepare") for part in served):
            return None
        seed_of = self._seed(role="owner", dataset=dataset.name, model=model.name)
        return self._maker(
            "prepare",
            f"{dataset.name}/{model.name}/{defense.name}/prepare",
            {"served": _configs(served), "seed": seed_of},
            self._deployed(dataset, model, defense),
            [*model.made_with, *defense.trained, *served],
        )

    @_once
    def audit(self, dataset: Row, model: Row, defense: Row) -> Maker:
        """Train a twin among canaries and see how many of them it gives away."""
        seed_of = self._seed(role="canaries", dataset=dataset.name, model=model.name)
        return self._maker(
            "audit",
            f"{dataset.name}/{model.name}/{defense.name}/audit",
            {**self._trained(dataset, model, defense), "canaries": seed_of},
            self._deployed(dataset, model, defense),
            [*model.made_with, *defense.trained],
        )

    def _deployed(self, dataset: Row, model: Row, defense: Row) -> dict[str, Maker]:
        return {"data": self.data(dataset), "target": self.target(dataset, model, defense)}

    @_once
    def utility(self, dataset: Row, model: Row, defense: Row) -> Maker:
        """Measure the deployment behind the whole defense."""
        served = defense.served()
        parents = self._deployed(dataset, model, defense)
        fitted = self.prepare(dataset, model, defense, None)
        if fitted is not None:
            parents["prepare"] = fitted
        payload = {
            "served": _configs(served),
            "metric": dataset.first.utility_metric,
            "seed": self._seed(role="customers", dataset=dataset.name, model=model.name),
            **({"resampled": True} if self.resampled else {}),
        }
        return self._maker(
            "utility",
            f"{dataset.name}/{model.name}/{defense.name}/utility",
            payload,
            parents,
            [*model.made_with, *defense.trained, *served],
        )

    @_once
    def attack(
        self, dataset: Row, model: Row | None, defense: Row | None, attack: Row, task: Task
    ) -> Maker:
        """Attack a deployment that does ``task``; a baseline has none (the two are None)."""
        parents = {"data": self.data(dataset), "evaluator": self.evaluator(dataset)}
        prior = self.prior(dataset, attack)
        if prior is not None:
            parents["prior"] = prior
        axes = {"dataset": dataset.name, "attack": attack.like or attack.name}
        training: list[Part] = []
        served: list[Part] = []
        built: list[Part] = []
        label = f"{dataset.name}/{attack.name}"
        if model is not None and defense is not None:
            access = attack.first.access
            parents["target"] = self.target(dataset, model, defense)
            fitted = self.prepare(dataset, model, defense, access)
            if fitted is not None:
                parents["prepare"] = fitted
            # Only the layers in effect: where a layer does not cover this access, its trial
            # shares the undefended attack.
            training, served = defense.trained, defense.served(access)
            built = [*model.made_with, *training, *served]
            axes["model"] = model.name
            label = f"{dataset.name}/{model.name}/{defense.name}/{attack.name}"
        watched = any(isinstance(part.component, ServeDefense) for part in served)
        payload = {
            "attack": attack.layers[0],
            "goal": attack.first.goal,
            "task": task,
            "served": _configs(served),
            "defense": _configs([*training, *served]),
            "victims": self._victims(dataset),
            "seed": self._seed(**axes),
            # How queries are sent matters to nobody where nobody watches.
            **({"stream": attack.stream} if watched and attack.stream else {}),
            **({} if attack.budget is None else {"budget": attack.budget}),
            **({"resampled": True} if self.resampled else {}),
            **_again(attack),
        }
        parts = [*attack.made_with, *built]
        return self._maker(
            "attack", label, payload, parents, parts, _goal_modules(attack.first.goal)
        )


def _seed_at(base: int, axes: Mapping[str, str], repeat: int) -> int:
    return seed(base, repeat=repeat, **axes)


def _numbers(
    payload: Mapping[str, Any], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], _Number]]:
    """The functions in a payload, by their paths."""
    for name, value in payload.items():
        if callable(value):
            yield (*above, name), value
        elif isinstance(value, Mapping):
            yield from _numbers(value, (*above, name))


def _goal_modules(name: str) -> list[str]:
    """Modules of a goal and of its judge."""
    return [f"bench.goals.{name}", goal_named(name).judge]


def _again(row: Row) -> dict[str, bool]:
    return {"again": True} if row.again else {}


def _configs(parts: Sequence[Part]) -> list[dict[str, Any]]:
    return [part.config for part in parts]


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


def _without(value: Any, unheeded: Sequence[tuple[Any, frozenset[str]]]) -> Any:
    """A payload without the options that decide no result.

    Where a file lies is one of them: what it holds counts instead.

    Args:
        value: the payload or a part of it.
        unheeded: configs of components, each with the names of such options.
    """
    if isinstance(value, list):
        return [_without(item, unheeded) for item in value]
    if not isinstance(value, Mapping):
        return value
    names = next((own for config, own in unheeded if own and value == config), frozenset())
    return {k: None if k in names else _without(item, unheeded) for k, item in value.items()}
