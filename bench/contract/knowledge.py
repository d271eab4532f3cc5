"""What an attacker holds besides the exposure, and the meter of what he reads of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from bench.contract.data import Card, Split
from bench.contract.errors import KnowledgeError
from bench.contract.exposure import Federation
from bench.contract.task import Task

READING: Mapping[str, tuple[str, ...]] = {
    "public": ("K2", "K1"),
    "partial": ("K3",),
    "defense": ("K4",),
    "observed": ("K6",),
    "train_like": ("K7",),
    "train_size": ("K7",),
}
"""Codes by the field: one of them must be declared to read it; the first that is declared counts.

What is not listed is part of the goal, or is published by the owner (K0): the card, the classes,
the task, the victims' published labels, the protocol of federated clients. A prior declares what it
reads itself."""

Answers = Callable[[Tensor], Tensor]
"""Maps records ``[n, *shape]`` to released scores ``[n, width]``, or to labels int64 ``[n]``."""
TrainLike = Callable[[Iterable[tuple[Split, Split, int]]], Iterator[tuple[Answers, Answers]]]
"""Trains deployments like the target on other records: :attr:`Knowledge.train_like`."""


@dataclass(frozen=True)
class Knowledge:
    """What an attacker holds besides the exposure (PROTOCOL 1.1).

    Attributes:
        card: the public description of the data.
        public: auxiliary records, disjoint from the members.
        defense: the defense's layers and options, in order (Kerckhoffs, K4).
        classes: class-representative goal: int64 ``[t]`` target classes.
        partial: attribute goal: the victims' records with the sensitive columns zeroed and
            ``s=None``; true labels ``y`` included.
        observed: output-reconstruction goal, or ``K6``: what the deployment answered for them,
            scores ``[n, width]``, or labels int64 ``[n]``, or lists of items int64 ``[n, k]``.
        victim_labels: output-reconstruction goal: the victims' published labels int64 ``[n]``,
            for the label-aware baseline; None where the target predicts no label.
        task: what the target predicts.
        federation: gradient-reconstruction goal: the protocol the clients follow.
        prior: tensors of the attack's fitted prior.
        train_like: makes deployments as the owner made his, with the same architecture, recipe and
            defense, from records of the attacker's own. For each it takes the training records,
            the records that a defense finds public, and a seed; the scores and the labels that the
            deployment answers come back, in the same order. Nothing of the owner's records, seeds
            and weights is in it. Each deployment costs a training; small networks are trained in
            one program if they are asked for in one call. They are made while the caller iterates,
            a few at a time, and that raises UserError where the records do not suffice for the
            defense, DivergedError where a training diverged. None where there is no target.
        train_size: number of records that the target was trained on; None where there is no target.
    """

    card: Card
    public: Split
    defense: tuple[Mapping[str, Any], ...] = ()
    classes: Tensor | None = None
    partial: Split | None = None
    observed: Tensor | None = None
    victim_labels: Tensor | None = None
    federation: Federation | None = None
    task: Task = "classification"
    prior: Mapping[str, Tensor] = field(default_factory=dict)
    train_like: TrainLike | None = None
    train_size: int | None = None


class _Metered(Knowledge):
    """Knowledge that notes which codes are read, and refuses those that were not declared."""

    _declared: Collection[str]
    _read: set[str]

    def __getattribute__(self, name: str) -> Any:
        codes = READING.get(name)
        if codes is not None:
            declared = object.__getattribute__(self, "_declared")
            code = next((c for c in codes if c in declared), None)
            if code is None:
                raise KnowledgeError(
                    f"It read 'knowledge.{name}', which is {' or '.join(reversed(codes))}, and "
                    f"declares {', '.join(sorted(declared)) or 'no knowledge'}; add the code to "
                    "the class attribute 'knowledge', or do not read it."
                )
            object.__getattribute__(self, "_read").add(code)
        return super().__getattribute__(name)


def metered(knowledge: Knowledge, declared: Collection[str]) -> tuple[Knowledge, set[str]]:
    """The same knowledge under a meter.

    Args:
        knowledge: what the attacker holds.
        declared: codes that he says he uses.

    Returns:
        Knowledge that raises :class:`KnowledgeError` where a field is read whose code is not
        declared, and the set of the codes read so far, which grows as fields are read.
    """
    watched, read = object.__new__(_Metered), set[str]()
    for item in fields(Knowledge):
        object.__setattr__(watched, item.name, getattr(knowledge, item.name))
    object.__setattr__(watched, "_declared", frozenset(declared))
    object.__setattr__(watched, "_read", read)
    return watched, read
