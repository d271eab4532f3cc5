"""Interfaces of priors and attacks, and what is told and judged.

Those of models stand in :mod:`.training`, of defenses in :mod:`.defenses`.

Every component is a frozen dataclass: its fields are its options, exactly the keys of its YAML
file, checked in ``__post_init__`` with :func:`bench.contract.errors.require`. Its class attributes
say what it needs and offers, so that a plan can tell which combinations make sense.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args

from torch import Tensor

from bench.contract.access import Access, at_least
from bench.contract.base import Component
from bench.contract.data import Modality, Splits, Victims
from bench.contract.exposure import Exposure, Federation
from bench.contract.knowledge import Knowledge
from bench.contract.options import type_hints
from bench.contract.task import Task


class Prior(Component, ABC):
    """A model fitted on what the attacker holds, shared by every attack that names it.

    A frozen dataclass like every component. It returns tensors, which the store keeps as
    safetensors; nothing is pickled.

    Attributes:
        knowledge: the codes it uses (PROTOCOL 1.1); an attack that names the prior declares them
            too. Reading what is not declared fails.
    """

    knowledge: ClassVar[frozenset[str]]

    @abstractmethod
    def fit(self, knowledge: Knowledge, seed: int, device: str) -> dict[str, Tensor]:
        """Fit on ``knowledge`` (without ``prior``) and return named tensors."""


# ---------------------------------------------------------------- attacks
@dataclass(frozen=True)
class Reconstruction:
    """What an attack returns.

    Attributes:
        values: per goal: ``class_representative`` one record per target class ``[t, *shape]``;
            ``attribute`` a score per candidate value ``[n, n_values]``, larger is likelier (of a
            numeric attribute, rows that sum to 1 are read as distributions);
            ``training_instance`` records it takes for training records ``[m, *shape]``;
            ``output_reconstruction`` a score per item ``[n, n_items]``, larger is likelier, or
            one image per victim ``[n, *shape]``; ``gradient_reconstruction`` one record per victim
            ``[n, *shape]``, client by client, in any order within a client.
        labels: ``gradient_reconstruction``: the inferred label of every row, int64 ``[n]``.
        info: plain JSON values worth keeping: why it stopped, steps, the attacker-visible
            objective, the convergence figure of PROTOCOL C7.
    """

    values: Tensor
    info: Mapping[str, Any] = field(default_factory=dict)
    labels: Tensor | None = None


class Attack(Component, ABC):
    """An algorithm that sees an exposure plus declared knowledge.

    A subclass is a frozen dataclass with at least the field ``access``.

    Attributes:
        goal: name of its goal (:mod:`bench.goals`).
        modalities: data it works on.
        tasks: what the target may predict.
        needs: what the model must offer: a gradient of its output (``descent``), ``blocks`` of
            neurons, ``leaves`` of trees.
        knowledge: the codes it uses (PROTOCOL 1.1): what it reads of its knowledge is recorded, and
            reading what is not declared fails. ``K6`` asks for ``Knowledge.observed`` where the
            goal alone does not give it.
        access: what it asks of the deployment; its type lists the levels it can run at, as in
            ``access: Literal["labels", "scores"] = "scores"``.
        paper: citation with section or equation.
        adaptive_to: options of ``conf/defense`` that it reads or models, so that it succeeds where
            an attack that ignores them fails (PROTOCOL 3.5). It may depend on the attack's options.
            This declaration alone makes an attack adaptive.
    """

    goal: ClassVar[str]
    modalities: ClassVar[frozenset[Modality]]
    tasks: ClassVar[tuple[Task, ...]] = ("classification",)
    needs: ClassVar[frozenset[str]] = frozenset()
    knowledge: ClassVar[frozenset[str]]
    paper: ClassVar[str]
    adaptive_to: ClassVar[tuple[str, ...]] = ()
    access: Access

    @abstractmethod
    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Attack; everything that is random follows from ``seed``."""

    @classmethod
    def accesses(cls) -> tuple[Access, ...]:
        """Access levels it can run at: those that the type of the option ``access`` lists."""
        levels: tuple[Access, ...] = get_args(type_hints(cls)["access"])
        return levels

    @property
    def federation(self) -> Federation:
        """The protocol under attack; only the gradient-reconstruction goal reads it."""
        return Federation()

    def doubled(self) -> Attack | None:
        """The same attack with twice the effort, for the convergence control (PROTOCOL C7).

        None where it has no number of steps to double.
        """
        return None

    @property
    def requires(self) -> frozenset[str]:
        """What the model must offer: ``needs``, and gradients where they are attacked."""
        shared = at_least(self.access, "gradients")
        return self.needs | (frozenset({"descent"}) if shared else frozenset())

    def usable_at(self, offered: Access) -> bool:
        """Whether a deployment offering ``offered`` exposes enough."""
        return at_least(offered, self.access)


# ---------------------------------------------------------------- scoring
@dataclass(frozen=True)
class Truth:
    """What the judge knows.

    Attributes:
        splits: the data.
        victims: members and matched non-members (attribute, output and gradient goals); for
            gradients client by client.
        classes: target classes (class-representative goal).
        evaluator: tensors of the fitted evaluator.
        federation: the protocol under attack (gradient goal).
    """

    splits: Splits
    victims: Victims | None
    classes: Tensor | None
    evaluator: Mapping[str, Tensor]
    federation: Federation | None = None


@dataclass(frozen=True)
class Score:
    """A goal's metric on one reconstruction.

    Attributes:
        metric: name of the headline metric.
        value: the attack's success ``s``, in [0, 1].
        members: the same metric judged against training members only, in [0, 1].
        nonmembers: the same metric judged against matched non-members, in [0, 1].
        ceiling: its value for the private truth itself, ``s_ceil``.
        victims: members that ``value`` is of; for classes their number.
        extra: further metrics by name, finite.
        outcomes: per-target tensors of equal length, for pairing and re-analysis.
    """

    metric: str
    value: float
    members: float
    nonmembers: float
    ceiling: float
    victims: int = 0
    extra: Mapping[str, float] = field(default_factory=dict)
    outcomes: Mapping[str, Tensor] = field(default_factory=dict)
