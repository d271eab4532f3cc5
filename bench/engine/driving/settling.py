"""What becomes of the graph when a node ends: who may start, who never will, which trials end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from bench.contract.errors import UserError
from bench.contract.record import Failure
from bench.engine.driving.bundles import dispatch_order
from bench.engine.driving.ready import Ready
from bench.engine.driving.recording import Ended, Failed, Recorder, now, stood
from bench.engine.driving.sending import Sender
from bench.engine.driving.states import ABSENT, DONE, FAILED, READY, States
from bench.engine.driving.work import RunOutcome, Work
from bench.engine.graph import KINDS, Plan
from bench.engine.messages import Done
from bench.engine.settings import Resources, Settings
from bench.engine.store import Store

_RETRIED = frozenset({"crashed", "oom"})
_MOST_REMADE = 3
"""Times that a result is made again in one run because it was found damaged."""


@dataclass(frozen=True)
class Told:
    """Something that listeners are to be told.

    Attributes:
        node: number of a node that has ended; None: a trial has.
        trial: identity of the trial.
        status: how it ended.
        seconds: how long the node took.
    """

    node: int | None
    trial: str
    status: str
    seconds: float = 0.0


class Settling:
    """The graph while a run goes on.

    Args:
        plan: nodes and trials.
        work: what is left of it.
        store: the only place that is written.
        settings: resources and retries.
        recorder: writes results.
        sender: remembers what was read to be sent.
        outcome: the account of the run.

    Attributes:
        nodes: of the plan, by number.
        states: how far they are.
        ready: those that may start.
        order: of every node, its place in the order of dispatch.
        news: what listeners have not been told yet.
    """

    def __init__(
        self,
        plan: Plan,
        work: Work,
        store: Store,
        settings: Settings,
        recorder: Recorder,
        sender: Sender,
        outcome: RunOutcome,
    ) -> None:
        self._plan, self._store, self._settings = plan, store, settings
        self._recorder, self._sender, self._outcome = recorder, sender, outcome
        self.nodes = list(plan.nodes.values())
        self.states = States(plan, work.todo, work.trials)
        self.order = dispatch_order(self.nodes, self.states.place)
        self.ready = Ready(self.order)
        self.news: list[Told] = []
        self._todo = set(work.todo)
        self._failed: dict[str, Failed] = {}
        self._attempts: Counter[int] = Counter()
        self._grants: dict[int, Resources] = {}
        self._remade: Counter[int] = Counter()
        self._over = [n for n, lacking in enumerate(self.states.lacking) if not lacking]
        for trial in work.damaged:
            self.set_aside("trial", trial.id)
        if settings.rerun == "never":
            self._recall()
        for number in self.states.first():
            self.queue(number)

    def _recall(self) -> None:
        """Failures of earlier runs are results: they stand until ``rerun=failed``."""
        for kind in KINDS:
            keys = self._store.failures(kind) & self._todo
            for key, record in self._store.latest_failures(kind, sorted(keys)).items():
                number = self.states.place[key]
                if self.stands(record):
                    self.fail(number, stood(record))
                elif record["status"] == "oom":
                    granted = record.get("granted")
                    self._enlarge(number, Resources(**granted) if granted else self.asks(number))

    def stands(self, record: Mapping[str, object]) -> bool:
        """Whether a recorded failure is final."""
        error, granted = record["error"], record.get("granted")
        # A user's mistake (a missing file, say) may have been mended since.
        if isinstance(error, dict) and error["type"] == UserError.__name__:
            return False
        # The driver may have been killed between a worker's death and the next attempt.
        asked = Resources.model_validate(granted) if granted else None
        attempt = record["attempt"]
        assert isinstance(attempt, int)
        return not self._retried(str(record["status"]), attempt, asked)

    def _retried(self, status: str, attempt: int, asked: Resources | None) -> bool:
        if status == "oom" and asked is not None and larger(asked) is not None:
            return True
        return status in _RETRIED and attempt <= self._settings.retries

    def asks(self, number: int) -> Resources:
        """What a node needs of a machine."""
        return self._grants.get(number) or self._settings.resource(self.nodes[number].kind)

    def tried(self, number: int) -> bool:
        """Whether a node has failed before, or what it reads was damaged."""
        return number in self._attempts or number in self._remade

    def queue(self, number: int) -> None:
        """Let a node start that lacks nothing."""
        if self.states.state[number] == FAILED:
            return
        self.states.state[number] = READY
        self.ready.add(number, self.asks(number), self.nodes[number].replica)

    def again(self, number: int) -> None:
        """Put a node back that did not end: it starts as soon as it lacks nothing."""
        if self.states.state[number] not in (DONE, FAILED) and self.states.wait(number):
            self.queue(number)

    # ------------------------------------------------------------ after a node
    def finish(self, number: int, done: Done, asked: Resources) -> bool:
        """Record what came of a node; returns whether that is final."""
        node = self.nodes[number]
        attempt = self._attempts[number] + 1
        self._outcome.compute_s += done.seconds
        if done.status == "done":
            self._recorder.done(node, attempt, asked, done)
            self._outcome.computed[node.kind] += 1
            self.settle(number)
        else:
            failed = self._recorder.failed(node, attempt, asked, done)
            self._attempts[number] = attempt
            if self._retried(done.status, attempt, asked):
                if done.status == "oom":
                    self._enlarge(number, asked)
                self.again(number)
                return False
            self.fail(number, failed)
        self.news.append(Told(number, "", done.status, done.seconds))
        return True

    def _enlarge(self, number: int, asked: Resources) -> None:
        more = larger(asked)
        if more is not None:
            self._grants[number] = more

    def settle(self, number: int) -> None:
        """A node has a result: who waited for it may start."""
        for child in self.states.done(number):
            self.queue(child)
        self._over += self.states.ended(number)

    def fail(self, number: int, failed: Failed) -> None:
        """Mark a node and all that depend on it; each dependent trial ends with the reason.

        Of several reasons that of the node stands that comes first in the plan, whichever failed
        first.
        """
        pending = [(number, failed)]
        while pending:
            number, failed = pending.pop()
            node, failure = self.nodes[number], failed.failure
            known = self._failed.get(node.id)
            if known is not None and not self._is_earlier(failure, known.failure):
                continue
            self._failed[node.id] = failed
            upstream = Failure(
                type="Upstream",
                message=failure.message
                if failure.type == "Upstream"
                else f"{node.label} ended in {failed.status}: {failure.message}",
                node=failure.node or node.id,
            )
            skipped = Failed("skipped", upstream, failed.created_utc)
            pending += [
                (child, skipped)
                for child in self.states.children(number)
                if self.states.state[child] not in (DONE, ABSENT)
            ]
            if known is None:
                self.states.state[number] = FAILED
                self.ready.remove(number)
                self._over += self.states.ended(number)

    def _is_earlier(self, failure: Failure, known: Failure) -> bool:
        """Whether what a node is skipped for comes before what it was skipped for until now."""
        places = [self.states.place.get(f.node, -1) for f in (failure, known)]
        return failure.type == known.type == "Upstream" and places[0] < places[1]

    # ------------------------------------------------------------ what is damaged is made again
    def set_aside(self, kind: str, key: str, reason: str = "") -> None:
        """Move a result out of the way, if it is there."""
        if not self._store.has(kind, key):
            return
        place = f"{kind}/{key}"
        faults = [
            f"{name.removeprefix(place).lstrip('/') or 'record'}: {why}"
            for name, why in self._store.faults.items()
            if name == place or name.startswith(f"{place}/")
        ]
        reason = reason or "; ".join(faults) or "it is damaged"
        moved = self._store.set_aside(kind, key, reason)
        self._outcome.set_aside.append((place, moved, reason))

    def remake(self, damaged: Mapping[str, str], child: int) -> None:
        """Set results aside, make them again, and then run the node that needs them.

        What is in order in the store was damaged on its way, or has been made again meanwhile.

        Args:
            damaged: what is wrong with the results that it reads, by identity.
            child: the node.
        """
        if self.states.state[child] == FAILED:
            return
        bad = []
        for key, reason in damaged.items():
            self._sender.forget(key)
            if not self._store.intact(self._plan.nodes[key].kind, key):
                bad.append((key, reason))
        for key, reason in bad:
            self._make_again(self.states.place[key], reason)
        if not bad:
            self._remade[child] += 1
            if self._remade[child] > _MOST_REMADE:
                what = "; ".join(damaged.values())
                message = f"What it was sent was damaged {_MOST_REMADE} times: {what}"
                failure = Failure(type="Damaged", message=message, node=self.nodes[child].id)
                self.fail(child, Failed("crashed", failure, now()))
        self.again(child)

    def _make_again(self, number: int, reason: str) -> None:
        """Schedule a node once more, with those above it that are not there either."""
        if self.states.state[number] not in (DONE, ABSENT):
            return
        node = self.nodes[number]
        for child in self.states.undo(number):
            self.ready.remove(child)
        self._remade[number] += 1
        if self._remade[number] > _MOST_REMADE:
            message = f"{node.label} was made {_MOST_REMADE} times and damaged each time: {reason}"
            failure = Failure(type="Damaged", message=message, node=node.id)
            self.fail(number, Failed("crashed", failure, now()))
            return
        if node.id not in self._todo:
            self._todo.add(node.id)
            self._outcome.cached -= 1
        self.set_aside(node.kind, node.id, reason)
        self._recorder.forget(node.id)
        self._sender.forget(node.id)
        for parent in self.states.parents(number):
            if not self._store.has(self.nodes[parent].kind, self.nodes[parent].id):
                self._make_again(parent, "")
        self.again(number)

    # ------------------------------------------------------------ after a trial
    def end_trials(self) -> None:
        """Write the trials whose nodes have all ended since the last call."""
        while self._over:
            over = [n for n in dict.fromkeys(self._over) if not self.states.lacking[n]]
            self._over = []
            trials = self.states.trials
            numbers = {trials[n].id: n for n in over}
            for ended in self._recorder.trials([trials[n] for n in over], self._failed):
                self._end(numbers[ended.trial.id], ended)

    def _end(self, number: int, ended: Ended) -> None:
        if ended.damaged:
            for key in sorted(ended.damaged):
                self._make_again(self.states.place[key], "")
            return
        self.states.close(number)
        self._outcome.statuses[ended.trial.id] = ended.status
        if ended.reason:
            self._outcome.reasons[ended.reason] += 1
        self.news.append(Told(None, ended.trial.id, ended.status))


def larger(asked: Resources) -> Resources | None:
    """Twice the share of a GPU, at most a whole one; None where there is no larger share."""
    if not 0 < asked.num_gpus < 1:
        return None
    return asked.model_copy(update={"num_gpus": min(1.0, 2 * asked.num_gpus)})
