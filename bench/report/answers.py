"""Which defense to take, worked out beforehand for every deployment that a report covers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from bench.report.boards import Boards
from bench.report.facts import Facts


@dataclass(frozen=True)
class Row:
    """A defense as an answer names it.

    Attributes:
        defense: name of the row.
        leakage: the most that any attack was measured to learn: the upper end of L.
        loss: change of utility with its interval, in words.
    """

    defense: str
    leakage: str
    loss: str


@dataclass(frozen=True)
class Answer:
    """What the decision rule says of one deployment (PROTOCOL 8.1).

    Attributes:
        dataset: that stands for the deployment.
        model: likewise.
        modality: of its records.
        federated: whether clients share updates in training.
        access: what those who ask see.
        tier: class of the data.
        chosen: what the rule takes; None: nothing qualifies.
        reason: why, in a sentence.
        runner_up: what comes next in the rule's order.
        behind: why it is behind, as the end of a sentence.
        goals: boards that were judged, as goal and access.
    """

    dataset: str
    model: str
    modality: str
    federated: bool
    access: str
    tier: str
    chosen: Row | None
    reason: str
    runner_up: Row | None = None
    behind: str = ""
    goals: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Answers:
    """Every answer of a report.

    Attributes:
        policy: whose rule and bars they are by.
        tiers: what data each class is for.
        each: the answers.
    """

    policy: str = ""
    tiers: Mapping[str, str] = field(default_factory=dict)
    each: tuple[Answer, ...] = ()


Ask = Callable[[pd.DataFrame, Facts, Boards], Answers]
"""Works the answers out from what was read of a suite."""


def none(table: pd.DataFrame, facts: Facts, boards: Boards) -> Answers:
    """No answers."""
    return Answers()
