"""What goes together: why a defense cannot stand before a target, or an attack not reach it."""

from __future__ import annotations

from collections.abc import Iterable

from bench.contract import (
    Attack,
    ReleaseDefense,
    Task,
    TrainingDefense,
    UserError,
    at_least,
    clash,
    overrides,
)
from bench.engine.graph import Row
from bench.goals import goal_named


def only_dense(row: Row, kept_sparse: str | None) -> str | None:
    """Why a row cannot work on records in compressed rows; None if it can.

    Args:
        row: a model, a defense or an attack.
        kept_sparse: :meth:`bench.contract.Dataset.kept_sparse` of the data set.
    """
    if kept_sparse is None or all(
        part.takes_sparse and not (isinstance(part, ReleaseDefense) and overrides(part, "prepare"))
        for part in row.parts
    ):
        return None
    return f"it needs dense records, and {kept_sparse}"


def unfit(
    dataset: Row, model: Row, defense: Row, task: Task, kept_sparse: str | None
) -> str | None:
    """Why a defense cannot stand before such a target; None if it can."""
    reason = clash(defense.defenses) or only_dense(defense, kept_sparse)
    if reason:
        return reason
    if model.first.given and any(isinstance(part, TrainingDefense) for part in defense.parts):
        return f"it acts on training, and '{model.name}' was trained by somebody else"
    for part in defense.parts:
        needs = part.needs - model.first.offers
        if needs:
            return f"it needs {listed(needs)}, which '{model.name}' lacks"
        if task not in part.tasks:
            return f"it does not protect {task}"
        if dataset.first.modality not in part.modalities:
            return f"it does not work on {dataset.first.modality} data"
    return None


def unable(model: Row, attack: Row, task: Task) -> str | None:
    """Why an attack cannot work on such a target; None if it can."""
    part = attack.first
    needs = part.requires - model.first.offers
    if task not in part.tasks:
        return f"it does not attack {task}"
    if model.first.given and not part.usable_at(model.first.exposes):
        return f"'{model.name}' exposes {model.first.exposes} only, it needs {part.access}"
    if needs:
        return f"it needs {listed(needs)}, which '{model.name}' lacks"
    if "K7" in part.knowledge and model.first.alike is None:
        return (
            f"it trains models like '{model.name}', and nobody says what is like it "
            "(model.external.shadows)"
        )
    return None


def listed(words: Iterable[str]) -> str:
    """Words joined as people list them."""
    return " and ".join(sorted(words))


def refused(defense: Row, attack: Row) -> str | None:
    """Why a deployment behind this defense does not expose what the attack needs."""
    wanted = attack.first.access
    if at_least(wanted, "gradients"):
        try:
            federation = attack.first.federation
            for part in defense.defenses:
                if isinstance(part, TrainingDefense):
                    federation = part.federate(federation)
        except UserError as error:
            return str(error).rstrip(".")
    offered = defense.offered(wanted)
    if attack.first.usable_at(offered):
        return None
    return f"'{defense.name}' exposes {offered} only, '{attack.name}' needs {wanted}"


def threat(attack: Attack) -> str:
    """Name of the goal that an attack's boards are named after.

    Who has seen the answers for the victims' complete records stands on boards of its own.
    """
    goal = goal_named(attack.goal)
    return goal.observed_as if "K6" in attack.knowledge and goal.observed_as else goal.name
