"""The driver owns the graph: what is ready, what fits, what is late, what is recorded."""

from __future__ import annotations

import dataclasses
import heapq
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, cast

from bench.contract import UserError
from bench.contract.record import Failure, Status, TrialRecord
from bench.contract.secrets import clean
from bench.engine.backends import Backend, lost
from bench.engine.components import CORE_PACKAGES
from bench.engine.graph import KINDS, Node, Plan, Trial
from bench.engine.join import join, unfinished
from bench.engine.messages import Parcel
from bench.engine.names import PICTURE
from bench.engine.seal import DamagedError
from bench.engine.settings import Settings
from bench.engine.store import Store
from bench.engine.work import RunOutcome, Work
from bench.engine.worker import Done, Job

_POLL_S = 0.5
_RETRIED = frozenset({"crashed", "oom"})
_MOST_REMADE = 3
"""Times that a result is made again in one run because it was found damaged."""


class Listener(Protocol):
    """Told what happens, in the driver's own thread."""

    def node(self, node: Node, status: str, seconds: float) -> None:
        """A node has ended."""

    def trial(self, record: TrialRecord, fresh: bool) -> None:
        """A trial has ended; ``fresh`` if it was joined just now."""

    def tick(self, running: int) -> None:
        """Nothing may have happened; time has passed."""


class Driver:
    """Runs what remains of a plan on a back end and writes every result.

    Args:
        plan: nodes and trials.
        store: the only place that is written.
        backend: where tasks run.
        settings: deadlines, resources, retries.
        listeners: told what happens.
        git: commit and dirtiness of the running source.
        path: extra ``sys.path`` entries for workers.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        backend: Backend,
        settings: Settings,
        listeners: Sequence[Listener] = (),
        git: Mapping[str, Any] | None = None,
        path: tuple[str, ...] = (),
    ) -> None:
        self.plan = plan
        self.store = store
        self.backend = backend
        self.settings = settings
        self.listeners = listeners
        self.git = dict(git or {})
        self.path = path
        self.outcome = RunOutcome()
        self._records: dict[str, Mapping[str, Any]] = {}
        self._failed: dict[str, tuple[Status, Failure, str]] = {}
        self._remade: Counter[str] = Counter()

    # ------------------------------------------------------------ before
    def check_resources(self, todo: Iterable[str]) -> None:
        """Refuse requests that would wait for ever.

        Raises:
            UserError: a node asks for more than the back end has.
        """
        for kind in sorted({self.plan.nodes[key].kind for key in todo}):
            asked = self.settings.resource(kind)
            if not self.backend.capacity.fits(asked):
                have = self.backend.capacity
                raise UserError(
                    f"Setting 'resources.{kind}': {asked.num_cpus} CPUs and {asked.num_gpus:g} "
                    f"GPUs were asked for, the back end has {have.cpus:g} CPUs and {have.gpus:g} "
                    f"GPUs; ask for less or name a larger cluster with backend.address=."
                )

    # ------------------------------------------------------------ the loop
    def run(self, work: Work) -> RunOutcome:
        """Run until nothing is left of ``work``; Ctrl-C keeps what is recorded."""
        self.check_resources(work.todo)
        self._open(work)
        try:
            self._loop()
        except KeyboardInterrupt:
            self.outcome.interrupted = True
        order = {t.id: i for i, t in enumerate(self.plan.trials)}
        self.outcome.records.sort(key=lambda r: order[r.trial_id])
        return self.outcome

    def _open(self, work: Work) -> None:
        self.outcome.cached = work.cached
        for record in work.recorded.values():
            self._tell(record, fresh=False)
        for trial in work.damaged:
            self._set_aside("trial", trial.id)
        self._rank = {key: i for i, key in enumerate(self.plan.nodes)}
        self._waiting: dict[str, set[str]] = {}
        self._children: dict[str, list[str]] = defaultdict(list)
        self._ready: list[tuple[int, str]] = []
        self._running: dict[str, tuple[float, int]] = {}
        self._attempts: dict[str, int] = defaultdict(int)
        self._todo = set(work.todo)
        self._open_trials: dict[str, set[str]] = {}
        self._trials_of: dict[str, list[Trial]] = defaultdict(list)
        for key in self.plan.nodes:
            if key not in work.todo:
                continue
            parents = {p for p in self.plan.nodes[key].parents.values() if p in work.todo}
            self._waiting[key] = parents
            for parent in parents:
                self._children[parent].append(key)
        settled = []
        for trial in work.trials:
            needs = set(trial.parts) & work.todo
            self._open_trials[trial.id] = needs
            for key in needs:
                self._trials_of[key].append(trial)
            if not needs:
                settled.append(trial)
        if self.settings.rerun == "never":
            self._recall(work.todo)
        for key, parents in self._waiting.items():
            if not parents and key not in self._failed:
                heapq.heappush(self._ready, (self._rank[key], key))
        for trial in settled:
            self._end(trial)

    def _recall(self, todo: set[str]) -> None:
        """Failures of earlier runs are results: they stand until ``rerun=failed``."""
        for kind in KINDS:
            for key in self.store.failures(kind) & todo:
                found = self.store.failure(kind, key)
                if found is not None and self._stands(found):
                    self._settle_failure(
                        key, found["status"], Failure(**found["error"]), found["created_utc"]
                    )

    def _stands(self, failed: Mapping[str, Any]) -> bool:
        """Whether a recorded failure is final."""
        # A user's mistake (a missing file, say) may have been mended since.
        if failed["error"]["type"] == UserError.__name__:
            return False
        # The driver may have been killed between a worker's death and the next attempt.
        return not self._retried(str(failed["status"]), int(failed["attempt"]))

    def _retried(self, status: str, attempt: int) -> bool:
        return status in _RETRIED and attempt <= self.settings.retries

    def _loop(self) -> None:
        while self._ready or self._running:
            self._launch()
            ended = [
                (key, done, *self._running.pop(key)) for key, done in self.backend.poll(_POLL_S)
            ]
            # Workers go on while the driver writes.
            self._launch()
            for item in ended:
                self._finish(*item)
            self._late()
            for listener in self.listeners:
                listener.tick(len(self._running))

    def _launch(self) -> None:
        used = [self.settings.resource(self.plan.nodes[k].kind) for k in self._running]
        cpus = self.backend.capacity.cpus - sum(r.num_cpus for r in used)
        gpus = self.backend.capacity.gpus - sum(r.num_gpus for r in used)
        later = []
        while self._ready and cpus >= 1:
            if not self.backend.enforces_deadlines and self._running:
                break
            rank, key = heapq.heappop(self._ready)
            if key in self._failed:
                continue
            asked = self.settings.resource(self.plan.nodes[key].kind)
            if asked.num_cpus > cpus or asked.num_gpus > gpus:
                later.append((rank, key))
                continue
            cpus -= asked.num_cpus
            gpus -= asked.num_gpus
            self._submit(key)
        for item in later:
            heapq.heappush(self._ready, item)

    def _submit(self, key: str) -> None:
        node = self.plan.nodes[key]
        asked = self.settings.resource(node.kind)
        root = self.settings.data_root
        self._attempts[key] += 1
        parents, damaged = {}, {}
        for role, parent in node.parents.items():
            try:
                parents[role] = self.backend.parent(self._parcel(parent))
            except DamagedError as error:
                damaged[parent] = str(error)
        if damaged:
            self._remake(damaged, key)
            return
        task = Job(
            key,
            node.kind,
            node.payload,
            parents,
            {role: self.plan.nodes[p].payload for role, p in node.parents.items()},
            source=node.identity["source"],
            texts=node.texts,
            readings=node.readings,
            threads=asked.num_cpus,
            gpus=asked.num_gpus,
            data_root=None if root is None else str(root.resolve()),
            packages=(*CORE_PACKAGES, *self.settings.plugins),
            path=self.path,
        )
        self._running[key] = (time.monotonic(), self._attempts[key])
        self.backend.submit(task, asked)

    def _parcel(self, key: str) -> Parcel:
        parcel = self.store.parcel(self.plan.nodes[key].kind, key)
        if parcel.digest is None or parcel.tensors is not None:
            return parcel
        return dataclasses.replace(parcel, tensors=self.store.blobs.get(parcel.digest))

    def _late(self) -> None:
        if not self.backend.enforces_deadlines:
            return
        now = time.monotonic()
        for key, (started, attempt) in list(self._running.items()):
            limit = self.settings.timeout(self.plan.nodes[key].kind)
            if now - started > limit:
                self.backend.cancel(key)
                message = f"Stopped after {limit:g} s; raise timeout_s.{self.plan.nodes[key].kind}."
                del self._running[key]
                self._finish(key, lost("Timeout", message, "timeout"), started, attempt)

    # ------------------------------------------------------------ after a node
    def _finish(self, key: str, done: Done, started: float, attempt: int) -> None:
        node = self.plan.nodes[key]
        if done.status == "damaged":
            self._remake({node.parents[r]: why for r, why in done.damaged.items()}, key)
            return
        seconds = done.seconds or time.monotonic() - started
        record = {
            "kind": node.kind,
            "id": key,
            "label": node.label,
            "identity": clean(node.identity),
            "status": done.status,
            "attempt": attempt,
            "seconds": round(seconds, 4),
            "created_utc": _now(),
            "env": {**done.env, "git": self.git},
        }
        self.outcome.compute_s += seconds
        if done.status == "done":
            record["output"] = clean(done.output)
            if self.settings.rerun == "all":
                self.store.remove(node.kind, key)
            self.store.put(node.kind, key, record, done.files)
            self._records[key] = record
            self.outcome.computed[node.kind] += 1
            self._settle(key)
        else:
            failure = Failure(**clean(done.failure or {"type": "Unknown", "message": "no reason"}))
            record["error"] = failure.model_dump()
            self.store.put_failure(node.kind, key, record)
            if self._retried(done.status, attempt):
                heapq.heappush(self._ready, (self._rank[key], key))
                return
            self._settle_failure(
                key, cast(Status, done.status), failure, str(record["created_utc"])
            )
        for listener in self.listeners:
            listener.node(node, done.status, seconds)

    # ------------------------------------------------------------ what is damaged is made again
    def _set_aside(self, kind: str, key: str, reason: str = "") -> None:
        if not self.store.has(kind, key):
            return
        place = f"{kind}/{key}"
        faults = [why for p, why in self.store.faults.items() if f"{p}/".startswith(f"{place}/")]
        reason = reason or "; ".join(faults) or "it is damaged"
        new = self.store.set_aside(kind, key, reason)
        self.outcome.set_aside.append((self.store.root / place, new, reason))

    def _remake(self, damaged: Mapping[str, str], child: str) -> None:
        """Set results aside, make them again, and then run the node that needs them.

        What is in order in the store was damaged on its way, or has been made again meanwhile.
        """
        kinds = {key: self.plan.nodes[key].kind for key in damaged}
        for key, kind in kinds.items():
            self.backend.forget(f"{kind}/{key}")
        bad = {key for key, kind in kinds.items() if not self.store.intact(kind, key)}
        self._attempts[child] -= 1
        self._waiting[child] = set(bad)
        for key in bad:
            self._children[key].append(child)
            self._make_again(key, damaged[key])
        if bad:
            return
        self._remade[child] += 1
        if self._remade[child] > _MOST_REMADE:
            what = "; ".join(damaged.values())
            message = f"What it was sent was damaged {_MOST_REMADE} times: {what}"
            failure = Failure(type="Damaged", message=message, node=child)
            self._settle_failure(child, "crashed", failure, _now())
        else:
            heapq.heappush(self._ready, (self._rank[child], child))

    def _make_again(self, key: str, reason: str) -> None:
        """Schedule a node once more, with those above it that are not there either."""
        node = self.plan.nodes[key]
        ready = any(waiting == key for _, waiting in self._ready)
        if ready or self._waiting.get(key) or key in self._running:
            return
        self._remade[key] += 1
        if self._remade[key] > _MOST_REMADE:
            message = f"{node.label} was made {_MOST_REMADE} times and damaged each time: {reason}"
            failure = Failure(type="Damaged", message=message, node=key)
            self._settle_failure(key, "crashed", failure, _now())
            return
        if key not in self._todo:
            self._todo.add(key)
            self.outcome.cached -= 1
        self._records.pop(key, None)
        self._set_aside(node.kind, key, reason)
        self.backend.forget(f"{node.kind}/{key}")
        kinds = {p: self.plan.nodes[p].kind for p in node.parents.values()}
        absent = {p for p, kind in kinds.items() if not self.store.has(kind, p)}
        self._waiting[key] = absent
        for parent in absent:
            self._children[parent].append(key)
            self._make_again(parent, "")
        if not absent:
            heapq.heappush(self._ready, (self._rank[key], key))

    def _settle(self, key: str) -> None:
        for child in self._children.pop(key, ()):
            self._waiting[child].discard(key)
            if not self._waiting[child] and child not in self._failed:
                heapq.heappush(self._ready, (self._rank[child], child))
        self._settle_trials(key)

    def _settle_failure(self, key: str, status: Status, failure: Failure, created: str) -> None:
        """Mark a node and all that depend on it; each dependent trial ends with the reason."""
        if key in self._failed:
            return
        self._failed[key] = (status, failure, created)
        upstream = Failure(
            type="Upstream",
            message=failure.message
            if failure.type == "Upstream"
            else f"{self.plan.nodes[key].label} ended in {status}: {failure.message}",
            node=failure.node or key,
        )
        for child in self._children.pop(key, ()):
            self._settle_failure(child, "skipped", upstream, created)
        self._settle_trials(key)

    def _settle_trials(self, key: str) -> None:
        for trial in self._trials_of.pop(key, ()):
            waiting = self._open_trials[trial.id]
            waiting.discard(key)
            if not waiting:
                self._end(trial)

    # ------------------------------------------------------------ after a trial
    def _node_record(self, key: str) -> Mapping[str, Any] | None:
        """The record of a node; None where it is damaged."""
        if key not in self._records:
            record = self.store.record(self.plan.nodes[key].kind, key)
            if record is None:
                return None
            self._records[key] = record
        return self._records[key]

    def _end(self, trial: Trial) -> None:
        broken = [self._failed[n] for n in trial.parts if n in self._failed]
        if broken:
            # The attack's own failure is the trial's; anything upstream makes it skipped.
            own = self._failed.get(trial.nodes["attack"])
            status, failure, created = own or ("skipped", broken[0][1], broken[0][2])
            data = trial.nodes["data"]
            known = None if data in self._failed else self._node_record(data)
            facts = known["output"] if known else {}
            record = _without_secrets(unfinished(trial, status, failure, created, facts))
            last = self.store.failure("trial", trial.id)
            if last != record.model_dump():
                self.store.put_failure("trial", trial.id, record.model_dump())
        else:
            nodes = {n: self._node_record(n) for n in trial.parts}
            attack = trial.nodes["attack"]
            picture = self.store.file("attack", attack, PICTURE)
            damaged = {n for n, node in nodes.items() if node is None}
            if f"attack/{attack}/{PICTURE}" in self.store.faults:
                damaged.add(attack)
            if damaged:
                self._open_trials[trial.id] = damaged
                for key in damaged:
                    self._trials_of[key].append(trial)
                    self._make_again(key, "")
                return
            parts = {n: node for n, node in nodes.items() if node is not None}
            record = _without_secrets(join(trial, parts))
            files = {} if picture is None else {PICTURE: picture}
            if self.settings.rerun == "all":
                self.store.remove("trial", trial.id)
            self.store.put("trial", trial.id, record.model_dump(), files)
        self._tell(record, fresh=True)

    def _tell(self, record: TrialRecord, fresh: bool) -> None:
        self.outcome.records.append(record)
        for listener in self.listeners:
            listener.trial(record, fresh)


def _without_secrets(record: TrialRecord) -> TrialRecord:
    """The record that leaves: options may hold a URI with a password."""
    whole = record.model_dump()
    kept = clean(whole)
    return record if kept == whole else TrialRecord.model_validate(kept)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
