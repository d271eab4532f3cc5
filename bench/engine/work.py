"""What a run has still to do."""

from __future__ import annotations

from dataclasses import dataclass

from bench.contract.record import TrialRecord
from bench.engine.graph import KINDS, Plan, Trial
from bench.engine.store import Store


@dataclass
class Work:
    """What is left to do of a plan, given a store.

    Attributes:
        todo: identities of nodes to run.
        cached: nodes that trials need and that are recorded.
        trials: trials not yet recorded as done.
        recorded: records of the trials that are, by identity.
        damaged: trials whose record is there and damaged.
    """

    todo: set[str]
    cached: int
    trials: list[Trial]
    recorded: dict[str, TrialRecord]
    damaged: list[Trial]


def remaining(plan: Plan, store: Store, rerun: str) -> Work:
    """What a run would still have to do, as far as can be told without reading every file."""
    have = {kind: store.ids(kind) for kind in KINDS} if rerun != "all" else {}
    joined = store.ids("trial") if rerun != "all" else set()
    recorded: dict[str, TrialRecord] = {}
    trials, damaged = [], []
    for trial in plan.trials:
        record = store.record("trial", trial.id) if trial.id in joined else None
        if record is None:
            trials.append(trial)
            if trial.id in joined:
                damaged.append(trial)
        else:
            recorded[trial.id] = TrialRecord.model_validate(record)

    def done(key: str) -> bool:
        return key in have.get(plan.nodes[key].kind, ())

    needed = {n for t in trials for n in t.parts}
    todo: set[str] = set()
    queue = [n for n in needed if not done(n)]
    while queue:
        key = queue.pop()
        if key not in todo:
            todo.add(key)
            parents = plan.nodes[key].parents.values()
            needed.update(parents)
            queue += [p for p in parents if not done(p)]
    shown = {n for t in plan.trials if t.id in recorded for n in t.parts}
    return Work(todo, len((needed | shown) - todo), trials, recorded, damaged)
