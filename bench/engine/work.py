"""What a run has still to do, and what it did."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from bench.contract.record import TrialRecord
from bench.engine.graph import KINDS, Plan, Trial
from bench.engine.store import Store


@dataclass
class RunOutcome:
    """What a run did.

    Attributes:
        computed: nodes run now, by kind.
        cached: nodes that were needed and recorded already.
        records: trial records in grid order.
        compute_s: the nodes' own wall time, summed.
        interrupted: whether it was stopped from outside.
        set_aside: where damaged results lay, where they lie now, and what was wrong with them.
    """

    computed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    cached: int = 0
    records: list[TrialRecord] = field(default_factory=list)
    compute_s: float = 0.0
    interrupted: bool = False
    set_aside: list[tuple[Path, Path, str]] = field(default_factory=list)

    def count(self, *statuses: str) -> int:
        """Trials that ended in one of ``statuses``."""
        return sum(r.status in statuses for r in self.records)


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
    planned = (trial.id for trial in plan.trials if trial.id in joined)
    records = dict(store.records("trial", planned))
    for trial in plan.trials:
        record = records.get(trial.id)
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
