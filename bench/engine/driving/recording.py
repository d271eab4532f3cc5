"""What is written of nodes and trials: the edge at which credentials are left out, once."""

from __future__ import annotations

import json
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from bench.contract.record import Failure, Status
from bench.contract.secrets import clean
from bench.engine.graph import Node, Plan, Trial
from bench.engine.messages import Done
from bench.engine.names import PICTURE
from bench.engine.records import Joiner, node_text, unfinished
from bench.engine.settings import Resources
from bench.engine.store import Store

_KEPT = 4096
"""Records of nodes that are kept to be joined; others are read back from the store."""


@dataclass(frozen=True)
class Failed:
    """How a node ended that has no result.

    Attributes:
        status: ``skipped`` where it never ran.
        failure: the reason.
        created_utc: when.
    """

    status: Status
    failure: Failure
    created_utc: str


@dataclass(frozen=True)
class Ended:
    """How a trial ended.

    Attributes:
        trial: which.
        status: of its record.
        reason: the sentence that says why it is not ``done``; empty: it is.
        damaged: its nodes whose results are damaged, so that it has not ended yet.
    """

    trial: Trial
    status: Status = "done"
    reason: str = ""
    damaged: frozenset[str] = frozenset()


class Recorder:
    """Writes results to the store.

    Args:
        plan: nodes and trials.
        store: the only place that is written.
        again: whether results are replaced that are there already (``rerun=all``).
        git: commit and dirtiness of the running source.
    """

    def __init__(self, plan: Plan, store: Store, again: bool, git: Mapping[str, Any]) -> None:
        self._plan, self._store, self._again, self._git = plan, store, again, git
        self._records: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._joiner = Joiner()
        self._plain: set[str] = set()
        """Attacks that are known to have no picture, until their trial is joined."""

    # ------------------------------------------------------------ nodes
    def done(self, node: Node, attempt: int, asked: Resources, done: Done) -> None:
        """Write the result of a node."""
        facts = self._facts(attempt, asked, done) | {"output": done.output}
        if self._again:
            self._store.remove(node.kind, node.id)
        self._store.put(node.kind, node.id, node_text(node, facts), done.files)
        self._keep(node.id, facts)
        if node.kind == "attack" and PICTURE not in done.files:
            self._plain.add(node.id)

    def failed(self, node: Node, attempt: int, asked: Resources, done: Done) -> Failed:
        """Write an attempt of a node that did not end well."""
        given = done.failure or {"type": "Unknown", "message": "no reason"}
        error = Failure(**clean(dict(given))).model_dump()
        facts = self._facts(attempt, asked, done) | {"error": error}
        self._store.put_failure(node.kind, node.id, node_text(node, facts))
        return stood(facts)

    def _facts(self, attempt: int, asked: Resources, done: Done) -> dict[str, Any]:
        return {
            "status": done.status,
            "attempt": attempt,
            "granted": {"num_cpus": asked.num_cpus, "num_gpus": asked.num_gpus},
            "seconds": round(done.seconds, 4),
            "created_utc": now(),
            "env": {**done.env, "git": self._git},
        }

    def forget(self, name: str) -> None:
        """The result of a node was set aside."""
        self._records.pop(name, None)
        self._plain.discard(name)

    def _keep(self, name: str, record: Mapping[str, Any]) -> None:
        self._records[name] = record
        self._records.move_to_end(name)
        while len(self._records) > _KEPT:
            self._records.popitem(last=False)

    # ------------------------------------------------------------ trials
    def trials(self, over: Sequence[Trial], failed: Mapping[str, Failed]) -> list[Ended]:
        """Write the records of trials whose nodes have all ended.

        Args:
            over: the trials.
            failed: nodes without a result, by identity.
        """
        broken = [trial for trial in over if any(part in failed for part in trial.parts)]
        rest = [trial for trial in over if not any(part in failed for part in trial.parts)]
        last = self._store.latest_failures("trial", [trial.id for trial in broken])
        data = {t.nodes["data"] for t in broken if t.nodes["data"] not in failed}
        known = self._known({part for trial in rest for part in trial.parts} | data)
        ended = [self._broken(trial, failed, known, last.get(trial.id)) for trial in broken]
        return ended + [self._joined(trial, known) for trial in rest]

    def _known(self, names: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """Records of nodes; those that are damaged are not among them."""
        found, absent = {}, defaultdict(list)
        for name in names:
            record = self._records.get(name)
            if record is None:
                absent[self._plan.nodes[name].kind].append(name)
            else:
                found[name] = record
        for kind, several in absent.items():
            for name, record in self._store.records(kind, several):
                found[name] = record
        for name, record in found.items():
            self._keep(name, record)
        return found

    def _broken(
        self,
        trial: Trial,
        failed: Mapping[str, Failed],
        known: Mapping[str, Mapping[str, Any]],
        last: Mapping[str, Any] | None,
    ) -> Ended:
        # The attack's own failure is the trial's; anything upstream makes it skipped.
        first = next(failed[part] for part in trial.parts if part in failed)
        why = failed.get(trial.nodes["attack"]) or Failed(
            "skipped", first.failure, first.created_utc
        )
        data = known.get(trial.nodes["data"])
        facts = data["output"] if data else {}
        text = unfinished(trial, why.status, why.failure, why.created_utc, facts)
        if last != json.loads(text):
            self._store.put_failure("trial", trial.id, text)
        return Ended(trial, why.status, sentence(why.failure))

    def _joined(self, trial: Trial, known: Mapping[str, Mapping[str, Any]]) -> Ended:
        attack = trial.nodes["attack"]
        picture = None
        if attack not in self._plain:
            picture = self._store.file("attack", attack, PICTURE)
        damaged = {part for part in trial.parts if part not in known}
        if f"attack/{attack}/{PICTURE}" in self._store.faults:
            damaged.add(attack)
        if damaged:
            return Ended(trial, damaged=frozenset(damaged))
        text = self._joiner.join(trial, {part: known[part] for part in trial.parts})
        if self._again:
            self._store.remove("trial", trial.id)
        files = {} if picture is None else {PICTURE: picture}
        self._store.put("trial", trial.id, text, files)
        return Ended(trial)


def stood(record: Mapping[str, Any]) -> Failed:
    """How a node ended, by the record of its last attempt."""
    return Failed(record["status"], Failure(**record["error"]), str(record["created_utc"]))


def sentence(failure: Failure) -> str:
    """What people are told."""
    own = failure.type != "Upstream"
    return f"{failure.type}: {failure.message}" if own else failure.message


def now() -> str:
    """The time, as records give it."""
    return _of_second(int(time.time()))


@lru_cache(maxsize=1)
def _of_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds")
