"""The words of a plan: nodes, trials, and the rows of an axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from bench.contract import Access, Defense, ReleaseDefense, ServeDefense, TrainingDefense
from bench.contract.record import Cell
from bench.engine.config import Option

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
        readings: files its components read, by their key in ``identity["files"]``.
        texts: digest of the text of every module that ``identity["source"]`` rests on.
        replica: what nodes that can be trained as one program have in common; None: alone.
    """

    id: str
    kind: Kind
    payload: Mapping[str, Any]
    parents: Mapping[str, str]
    identity: Mapping[str, Any]
    label: str
    readings: Mapping[str, Reading] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    replica: str | None = None


@dataclass(frozen=True)
class Trial:
    """One cell of the grid and the nodes its record is joined from.

    Attributes:
        id: hash of the nodes' identities.
        cell: its coordinates.
        goal: the attack's goal.
        access: the attack's access.
        nodes: ``data``, ``evaluator``, ``reference``, ``target``, ``utility``, ``attack`` to
            identities.
        baselines: name to attack node of every no-model attacker with the same goal.
        info: what the record says of the components; no part of any identity.
        flags: known before anything has run: ``no_effect``.
        control: name of the control it serves; empty for a row of a board.
    """

    id: str
    cell: Cell
    goal: str
    access: Access
    nodes: Mapping[str, str]
    baselines: Mapping[str, str]
    info: Mapping[str, Any]
    flags: tuple[str, ...]
    control: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """Identities of the nodes its record is joined from."""
        return (*self.nodes.values(), *self.baselines.values())


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
