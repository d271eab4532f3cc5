"""What a run has still to do, and what it did."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.contract.record import TrialRecord
from bench.engine.graph import KINDS, Plan, Trial
from bench.engine.store import Store

_AT_ONCE = 500
"""Records that one query of the store gives."""

End = Literal["ended", "interrupted", "stalled", "broken"]
"""How a run ends: nothing was left to do; it was stopped from outside; no machine could run what
was left; the back end failed."""


@dataclass
class RunOutcome:
    """What a run did.

    Attributes:
        store: where its records are.
        trials: identities of all trials of the plan, in grid order.
        statuses: how each trial ended that did, those recorded before included.
        computed: nodes run now, by kind.
        cached: nodes that were needed and recorded already.
        elsewhere: nodes that another driver of the same store ran meanwhile.
        compute_s: the nodes' own wall time, summed.
        state: how it ended.
        reason: why it is ``stalled`` or ``broken``, a sentence.
        reasons: number of trials that a failure cost, by its sentence.
        losses: how often a node was lost with its machine, by reason; no result of any trial.
        machines: machines that were given no more work, and why.
        left_open: nodes that were lost so often that they are not tried again, and why.
        set_aside: place of damaged results, where they lie now, and what was wrong with them.
    """

    store: Store
    trials: Sequence[str]
    statuses: dict[str, str] = field(default_factory=dict)
    computed: Counter[str] = field(default_factory=Counter)
    cached: int = 0
    elsewhere: int = 0
    compute_s: float = 0.0
    state: End = "ended"
    reason: str = ""
    reasons: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)
    machines: dict[str, str] = field(default_factory=dict)
    left_open: dict[str, str] = field(default_factory=dict)
    set_aside: list[tuple[str, Path, str]] = field(default_factory=list)

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped from outside."""
        return self.state == "interrupted"

    @property
    def records(self) -> list[TrialRecord]:
        """Records of the trials that have ended, in grid order, read from the store."""
        return list(self.read())

    def read(self) -> Iterator[TrialRecord]:
        """The same, a few in memory at a time."""
        ended = (key for key in self.trials if key in self.statuses)
        while keys := list(itertools.islice(ended, _AT_ONCE)):
            well = [key for key in keys if self.statuses[key] == "done"]
            others = [key for key in keys if self.statuses[key] != "done"]
            texts = dict(self.store.texts("trial", well))
            failed = self.store.latest_failures("trial", others)
            for key in keys:
                if key in texts:
                    yield TrialRecord.model_validate_json(texts[key])
                elif key in failed:
                    yield TrialRecord.model_validate(failed[key])

    def count(self, *statuses: str) -> int:
        """Trials that ended in one of ``statuses``."""
        return sum(status in statuses for status in self.statuses.values())


@dataclass
class Work:
    """What is left to do of a plan, given a store.

    Attributes:
        todo: identities of nodes to run.
        cached: nodes that trials need and that are recorded.
        trials: trials not yet recorded as done.
        recorded: identities of the trials that are.
        damaged: trials whose record is there and damaged.
    """

    todo: set[str]
    cached: int
    trials: list[Trial]
    recorded: set[str]
    damaged: list[Trial]


def remaining(plan: Plan, store: Store, rerun: str) -> Work:
    """What a run would still have to do, as far as can be told without reading every file."""
    have = {kind: store.ids(kind) for kind in KINDS} if rerun != "all" else {}
    there = store.ids("trial") if rerun != "all" else set()
    joined = [trial.id for trial in plan.trials if trial.id in there]
    recorded = set(store.sound("trial", joined))
    trials = [trial for trial in plan.trials if trial.id not in recorded]
    damaged = [trial for trial in trials if trial.id in there]

    def done(key: str) -> bool:
        return key in have.get(plan.nodes[key].kind, ())

    needed = {n for t in trials for n in t.parts}
    todo: set[str] = set()
    queue = [n for n in needed if not done(n)]
    while queue:
        key = queue.pop()
        if key not in todo:
            todo.add(key)
            parents = plan.nodes[key].above
            needed.update(parents)
            queue += [p for p in parents if not done(p)]
    shown = {n for t in plan.trials if t.id in recorded for n in t.parts}
    return Work(todo, len((needed | shown) - todo), trials, recorded, damaged)
