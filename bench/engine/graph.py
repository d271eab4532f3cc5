"""The words of a plan: nodes, trials, and the rows of an axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from bench.contract import Access, Defense, ReleaseDefense, ServeDefense, TrainingDefense
from bench.contract.identity import PROTOCOL_VERSION
from bench.contract.record import Cell
from bench.contract.secrets import clean
from bench.contract.source import Source
from bench.engine import forms
from bench.engine.config import Option
from bench.engine.forms import Form

Kind = Literal[
    "data", "evaluator", "reference", "prior", "target", "prepare", "utility", "audit", "attack"
]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Reading:
    """Files that a node's component reads.

    Attributes:
        option: what says where they are, as a user writes it: ``dataset.table.file``.
        paths: where they are on this machine.
        digest: of their contents.
    """

    option: str
    paths: tuple[str, ...]
    digest: str


@dataclass(frozen=True, eq=False)
class Series:
    """What the nodes of one piece of work have in common: they differ in their repeat only.

    Attributes:
        kind: which stage runs them.
        payload: what the stage works from; at the paths of ``numbers`` stand holes.
        config: the payload as it is hashed: without the places of files.
        numbers: path in the payload of every number that differs between repeats, such as a seed.
        roles: roles of the nodes whose results they read.
        label: how progress and messages name them, without the repeat.
        source: digests of the code they rest on, and of the texts that were looked at.
        readings: files their components read, by their key in ``identity["files"]``.
        replica: what nodes that can be trained as one program have in common; None: alone.
    """

    kind: Kind
    payload: Mapping[str, Any]
    config: Mapping[str, Any]
    numbers: tuple[tuple[str, ...], ...]
    roles: tuple[str, ...]
    label: str
    source: Source
    readings: Mapping[str, Reading]
    replica: str | None = None

    @cached_property
    def form(self) -> Form:
        """What is hashed, with holes for the numbers and then the parents."""
        return self._form(lambda document: document)

    @cached_property
    def shown(self) -> Form:
        """The same as records show it: without credentials."""
        return self._form(clean)

    def _form(self, how: Callable[[dict[str, Any]], dict[str, Any]]) -> Form:
        first = len(self.numbers)
        parents = {role: forms.word(first + place) for place, role in enumerate(self.roles)}
        document = how(self.document(self.config, parents))
        return Form(document, first + len(self.roles))

    def document(self, config: Mapping[str, Any], parents: Mapping[str, str]) -> dict[str, Any]:
        """What is hashed, of a node with this config and these parents."""
        return {
            "protocol": PROTOCOL_VERSION,
            "kind": self.kind,
            "config": config,
            "parents": parents,
            "files": {key: reading.digest for key, reading in self.readings.items()},
            "source": self.source.digests,
        }


def filled(config: Mapping[str, Any], path: tuple[str, ...], value: int | str) -> dict[str, Any]:
    """A config with a value at a path."""
    head, *rest = path
    return {**config, head: filled(config[head], tuple(rest), value) if rest else value}


@dataclass(frozen=True, slots=True)
class Node:
    """One unit of work, done once for every trial that needs it.

    Attributes:
        id: hash of ``identity``.
        series: what it shares with the same work in other repeats.
        repeat: number of the repeat.
        numbers: its own values of ``series.numbers``.
        above: identities of its parents, in the order of ``series.roles``.
    """

    id: str
    series: Series
    repeat: int
    numbers: tuple[int, ...]
    above: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        """Which stage runs it."""
        return self.series.kind

    @property
    def label(self) -> str:
        """How progress and messages name it."""
        return f"{self.series.label}/{self.repeat}"

    @property
    def payload(self) -> dict[str, Any]:
        """Plain dict the stage works from."""
        return self._with_numbers(self.series.payload)

    @property
    def parents(self) -> dict[str, str]:
        """Role to identity of the nodes whose results it reads."""
        return dict(zip(self.series.roles, self.above, strict=True))

    @property
    def identity(self) -> dict[str, Any]:
        """The document that was hashed."""
        return self.series.document(self._with_numbers(self.series.config), self.parents)

    @property
    def readings(self) -> Mapping[str, Reading]:
        """Files its components read, by their key in ``identity["files"]``."""
        return self.series.readings

    @property
    def texts(self) -> Mapping[str, str]:
        """Digest of the text of every module that ``identity["source"]`` rests on."""
        return self.series.source.texts

    @property
    def replica(self) -> str | None:
        """What nodes that can be trained as one program have in common; None: alone."""
        return self.series.replica

    def _with_numbers(self, config: Mapping[str, Any]) -> dict[str, Any]:
        whole = dict(config)
        for path, value in zip(self.series.numbers, self.numbers, strict=True):
            whole = filled(whole, path, value)
        return whole


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What the trials of one cell have in common: they differ in their repeat only.

    Attributes:
        cell: its coordinates, with a repeat of any number.
        goal: the attack's goal.
        access: the attack's access.
        info: what records say of the components; no part of any node's identity.
        flags: known before anything has run: ``no_effect``.
        control: name of the control it serves; empty for a row of a board.
        roles: of the nodes its record is joined from: ``data``, ``evaluator``, ``reference``,
            ``target``, ``utility``, ``attack``.
        baselines: name of every no-model attacker with the same goal.
    """

    cell: Cell
    goal: str
    access: Access
    info: Mapping[str, Any]
    flags: tuple[str, ...]
    control: str
    roles: tuple[str, ...]
    baselines: tuple[str, ...]

    def form(self, source: Mapping[str, str]) -> Form:
        """What a trial's identity is the hash of: all that its record says.

        Names are no part of any node, but two trials must not share one record. The holes are for
        the repeat, the roles' nodes and the baselines.

        Args:
            source: digests of the code that joins records.
        """
        cell = self.cell.key().rpartition("/")[0]
        nodes = {role: forms.word(1 + i) for i, role in enumerate(self.roles)}
        first = 1 + len(self.roles)
        document = {
            "protocol": PROTOCOL_VERSION,
            "cell": f"{cell}/{forms.word(0)}",
            "goal": self.goal,
            "access": self.access,
            "control": self.control,
            "flags": list(self.flags),
            "info": self.info,
            "nodes": nodes,
            "baselines": {name: forms.word(first + i) for i, name in enumerate(self.baselines)},
            "source": source,
        }
        return Form(document, first + len(self.baselines))


@dataclass(frozen=True, slots=True)
class Trial:
    """One cell of the grid and the nodes its record is joined from.

    Attributes:
        id: hash of the nodes' identities.
        case: what it shares with other repeats.
        repeat: number of the repeat.
        parts: identities of the nodes its record is joined from: ``case.roles``, then
            ``case.baselines``.
    """

    id: str
    case: Case
    repeat: int
    parts: tuple[str, ...]

    @property
    def cell(self) -> Cell:
        """Its coordinates."""
        return self.case.cell.model_copy(update={"seed": self.repeat})

    @property
    def goal(self) -> str:
        """The attack's goal."""
        return self.case.goal

    @property
    def access(self) -> Access:
        """The attack's access."""
        return self.case.access

    @property
    def nodes(self) -> dict[str, str]:
        """``data``, ``evaluator``, ``reference``, ``target``, ``utility``, ``attack`` to
        identities.
        """
        return dict(zip(self.case.roles, self.parts, strict=False))

    @property
    def baselines(self) -> dict[str, str]:
        """Name to attack node of every no-model attacker with the same goal."""
        names = self.case.baselines
        return dict(zip(names, self.parts[len(self.case.roles) :], strict=True))

    @property
    def info(self) -> Mapping[str, Any]:
        """What the record says of the components; no part of any identity."""
        return self.case.info

    @property
    def flags(self) -> tuple[str, ...]:
        """Known before anything has run: ``no_effect``."""
        return self.case.flags

    @property
    def control(self) -> str:
        """Name of the control it serves; empty for a row of a board."""
        return self.case.control


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


@dataclass(frozen=True)
class Part:
    """A component that a node is made with.

    Attributes:
        option: the option it comes from, as a user writes it: ``defense.dp_sgd``.
        config: its normalised config.
        component: the component itself.
    """

    option: str
    config: dict[str, Any]
    component: Any


_ACTS = (TrainingDefense, ReleaseDefense, ServeDefense)


@dataclass
class Row:
    """An option with its components built: one value of an axis, ready to be multiplied.

    Attributes:
        option: what the config says.
        layers: normalised config of each component; several for a stack of defenses.
        parts: the components, in the same order.
        prior: the attack's prior.
        stream: how the attack's queries are sent, where its option says so.
        budget: most queries the attack may send; None: as many as it likes.
        like: name of the row whose seeds it shares, where that is another one.
        again: compute it anew although another node has the same configuration.
    """

    option: Option
    layers: list[dict[str, Any]]
    parts: list[Any]
    prior: Part | None = None
    stream: dict[str, Any] | None = None
    budget: int | None = None
    like: str | None = None
    again: bool = False

    @property
    def name(self) -> str:
        """Row name, variants included."""
        return self.option.name

    @property
    def first(self) -> Any:
        """The component, where there is one only."""
        return self.parts[0]

    @property
    def made_with(self) -> list[Part]:
        """Its components with their configs, in order."""
        option = f"{self.option.group}.{self.option.file}"
        pairs = zip(self.layers, self.parts, strict=True)
        return [Part(option, layer, component) for layer, component in pairs]

    @property
    def defenses(self) -> list[Defense]:
        """Components that do something: ``none`` does not."""
        return [p for p in self.parts if isinstance(p, _ACTS)]

    @property
    def trained(self) -> list[Part]:
        """Layers that change what is trained."""
        return [p for p in self.made_with if isinstance(p.component, TrainingDefense)]

    def served(self, access: Access | None = None) -> list[Part]:
        """Layers that act on a trained model, answers first, then who may ask.

        Args:
            access: leave out those that do not act on what is seen at it; None: all.
        """
        return [
            part
            for kind in (ReleaseDefense, ServeDefense)
            for part in self.made_with
            if isinstance(part.component, kind)
            and (access is None or access in part.component.covers)
        ]

    def covers(self, access: Access) -> bool:
        """Whether a defense can change what an attack at ``access`` sees."""
        return any(access in p.covers for p in self.defenses)

    def offered(self, access: Access) -> Access:
        """What is left of ``access`` behind the release part."""
        for part in self.parts:
            if isinstance(part, ReleaseDefense):
                access = part.offered(access)
        return access
