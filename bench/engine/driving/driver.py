"""The driver owns the graph: what is ready, what goes together, what is lost, what is recorded."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from bench.contract import UserError
from bench.contract.secrets import in_one_line, redacted
from bench.engine.driving.bundles import Bundler, Choice
from bench.engine.driving.losses import Losses
from bench.engine.driving.pace import Pace
from bench.engine.driving.recording import Recorder
from bench.engine.driving.sending import ParentsDamagedError, Sender
from bench.engine.driving.settling import Settling
from bench.engine.driving.sharing import Sharing
from bench.engine.driving.states import FAILED, LEFT, RESTING
from bench.engine.driving.stopping import Stop
from bench.engine.driving.work import End, RunOutcome, Work
from bench.engine.graph import Node, Plan
from bench.engine.messages import Backend, Done, Returned
from bench.engine.settings import Settings
from bench.engine.store import Claims, Store

_POLL_S = 0.5
_IDLE_S = 0.05
"""How long to wait for a worker, and where none has anything to do."""
_LOOK_S = 1.0
"""How often machines and other drivers are looked at."""


class Listener(Protocol):
    """Told what happens, in the driver's own thread, after it has been written."""

    def node(self, node: Node, status: str, seconds: float) -> None:
        """A node has ended; ``elsewhere`` if another driver ran it."""

    def trial(self, key: str, status: str, fresh: bool) -> None:
        """A trial has ended; ``fresh`` if it was joined just now."""

    def tick(self, running: int) -> None:
        """Nothing may have happened; time has passed."""


class _EndError(Exception):
    """The run cannot go on; what is recorded stays."""

    def __init__(self, state: End, reason: str) -> None:
        super().__init__(reason)
        self.state: End = state


class Driver:
    """Runs what remains of a plan on a back end and writes every result.

    Args:
        plan: nodes and trials.
        store: the only place that is written.
        backend: where nodes run.
        settings: deadlines, resources, retries.
        claims: what this driver runs, for others on the same store to see.
        pace: how long nodes take.
        listeners: told what happens.
        git: commit and dirtiness of the running source.
        path: extra ``sys.path`` entries for workers.
        stop: how the run is ended from outside.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        backend: Backend,
        settings: Settings,
        claims: Claims,
        pace: Pace,
        listeners: Sequence[Listener] = (),
        git: Mapping[str, Any] | None = None,
        path: tuple[str, ...] = (),
        stop: Stop | None = None,
    ) -> None:
        self._plan, self._store, self._backend = plan, store, backend
        self._settings, self._claims, self._pace = settings, claims, pace
        self._listeners = listeners
        self._stop = stop or Stop()
        self._recorder = Recorder(plan, store, settings.rerun == "all", dict(git or {}))
        self._sender = Sender(plan, store, settings, path)
        self._losses = Losses(settings.infrastructure)
        self.outcome = RunOutcome(store, [trial.id for trial in plan.trials])
        self._running: dict[int, Choice] = {}
        self._sent = 0
        self._slots = 1
        self._looked = self._moved = time.monotonic()

    # ------------------------------------------------------------ before
    def check_resources(self, todo: Iterable[str]) -> None:
        """Refuse requests that would wait for ever.

        Raises:
            UserError: a node asks for more than any machine has, or may ever have.
        """
        for kind in sorted({self._plan.nodes[key].kind for key in todo}):
            asked = self._settings.resource(kind)
            obstacle = self._backend.obstacle(asked)
            if obstacle is not None:
                raise UserError(
                    f"Setting 'resources.{kind}': {asked.num_cpus} CPUs and {asked.num_gpus:g} "
                    f"GPUs were asked for: {obstacle.rstrip('.')}; ask for less or name a larger "
                    "cluster with backend.address=."
                )

    # ------------------------------------------------------------ the loop
    def run(self, work: Work) -> RunOutcome:
        """Run until nothing is left of ``work``; what is recorded is kept however it ends.

        Raises:
            UserError: the store cannot be written, or a request can never be met.
        """
        self.check_resources(work.todo)
        gc.freeze()  # the plan stays: looking through it again and again finds nothing to free
        try:
            self._open(work)
            while self._running or self._waits():
                self._turn()
        except KeyboardInterrupt:
            self.outcome.state = "interrupted"
            self._keep_what_ended()
        except _EndError as error:
            self.outcome.state, self.outcome.reason = error.state, str(error)
            self._keep_what_ended()
        finally:
            gc.unfreeze()
        return self.outcome

    def _keep_what_ended(self) -> None:
        """Stop the workers, and write what had ended of the bundles that they were at."""
        with suppress(_EndError, KeyboardInterrupt):
            with self._machines():
                returned = list(self._backend.poll(0))
                self._backend.close()
                returned += self._backend.poll(0)
            if returned:
                with self._writing():
                    for bundle in returned:
                        self._take_results(self._running.pop(bundle.bundle), bundle)

    def _open(self, work: Work) -> None:
        self.outcome.cached = work.cached
        for key in self.outcome.trials:
            if key in work.recorded:
                self.outcome.statuses[key] = "done"
                for listener in self._listeners:
                    listener.trial(key, "done", fresh=False)
        with self._stop.held_back(), self._store.batch():
            graph = self._graph = Settling(
                self._plan,
                work,
                self._store,
                self._settings,
                self._recorder,
                self._sender,
                self.outcome,
            )
            graph.end_trials()
        self._sharing = Sharing(
            graph, self._store, self._claims, self._settings.rerun == "all", self.outcome
        )
        self._bundler = Bundler(
            graph.nodes,
            graph.states,
            graph.ready,
            graph.order,
            self._pace,
            graph.asks,
            lambda number: graph.tried(number) or self._losses.often(number) > 1,
        )
        self._tell()
        if graph.ready:
            self._look()
            # Workers take seconds to start: those for what comes after the first nodes too.
            asked = Counter(
                graph.asks(n) for n, node in enumerate(graph.nodes) if node.id in work.todo
            )
            with self._machines():
                self._backend.want({key: asked[key] for key in graph.ready.waiting()})

    def _waits(self) -> bool:
        """Whether something is left that does not run yet."""
        return bool(self._graph.ready or len(self._sharing) or len(self._losses))

    def _turn(self) -> None:
        """Look around, take what has come back, write it, and send what may start."""
        if time.monotonic() - self._looked >= _LOOK_S:
            self._look()
        for number in self._losses.due():
            self._graph.again(number)
        with self._machines():
            # Although nothing runs: it is here that a back end learns that its workers are up.
            returned = self._backend.poll(_POLL_S if self._running else 0)
        if returned:
            with self._writing():
                for bundle in returned:
                    self._take_back(bundle)
                selected = self._select()
                chosen = self._sharing.claim(selected)
        else:
            selected, chosen = self._next()
        while selected:
            for choice in chosen:
                self._send(choice)
            selected, chosen = self._next()
        with self._machines():
            self._backend.want(self._graph.ready.waiting())
        for listener in self._listeners:
            listener.tick(len(self._running))
        if self._running:
            self._moved = time.monotonic()
        else:
            self._idle()

    def _next(self) -> tuple[list[Choice], list[Choice]]:
        """What can start now, and what of it is for this driver to run."""
        selected = self._select()
        if not selected:
            return [], []
        chosen = self._sharing.claim(selected)
        if self._graph.news:  # of nodes that another driver had recorded
            with self._writing():
                pass
        return selected, chosen

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, which Ctrl-C does not cut; at its end, trials that are over are joined.

        Listeners are told afterwards: what they hear of can be read.
        """
        with self._stop.held_back():
            with self._store.batch():
                yield
                self._graph.end_trials()
            self._tell()

    @contextmanager
    def _machines(self) -> Iterator[None]:
        """What fails inside is the back end: no result, and no mistake of the program's."""
        try:
            yield
        except UserError as error:
            raise _EndError("broken", str(error)) from error
        except Exception as error:
            reason = f"The back end failed ({type(error).__name__}: {in_one_line(error)})."
            raise _EndError("broken", reason) from error

    def _tell(self) -> None:
        news, self._graph.news = self._graph.news, []
        for told in news:
            if told.node is None:
                for listener in self._listeners:
                    listener.trial(told.trial, told.status, fresh=True)
            else:
                node = self._graph.nodes[told.node]
                self._pace.ended(node, told.seconds if told.status == "done" else None)
                for listener in self._listeners:
                    listener.node(node, told.status, told.seconds)

    # ------------------------------------------------------------ once a second
    def _look(self) -> None:
        self._looked = time.monotonic()
        with self._machines():
            self._backend.watch()
            self._slots = max(1, self._backend.slots())
            self.outcome.machines |= self._backend.left_out()
        if len(self._sharing):
            with self._writing():
                self._sharing.look()

    def _idle(self) -> None:
        """Nothing runs: wait, but not for ever for machines that are not there."""
        now = time.monotonic()
        patience = self._settings.infrastructure.patience_s
        if len(self._sharing) or len(self._losses):
            self._moved = now
        waiting = self._graph.ready.waiting()
        if waiting and now - self._moved > patience:
            with self._machines():
                reasons = [why for asked in waiting if (why := self._backend.obstacle(asked))]
                reasons += [f"'{k}' is left out: {v}" for k, v in self._backend.left_out().items()]
            why = reasons[0] if reasons else "no machine has room for them"
            raise _EndError(
                "stalled", f"{sum(waiting.values())} nodes waited for {patience:g} s: {why}"
            )
        if self._waits():
            time.sleep(_IDLE_S)

    # ------------------------------------------------------------ out and back
    def _select(self) -> list[Choice]:
        """Bundles that can start now, all with one request."""
        for asked in self._graph.ready.waiting():
            with self._machines():
                room = self._backend.room(asked)
            if room > 0:
                return self._bundler.choose(asked, room, self._slots)
        return []

    def _send(self, choice: Choice) -> None:
        nodes = [self._graph.nodes[number] for number in choice.nodes]
        try:
            bundle = self._sender.bundle(self._sent, choice, [node.id for node in nodes])
        except ParentsDamagedError as error:
            with self._writing():
                self._sharing.release(choice.nodes)
                for number, node in zip(choice.nodes, nodes, strict=True):
                    read = set(node.parents.values())
                    bad = {key: why for key, why in error.reasons.items() if key in read}
                    self._graph.remake(bad, number) if bad else self._graph.again(number)
            return
        self._running[self._sent] = choice
        self._sent += 1
        with self._machines():
            self._backend.submit(bundle)

    def _take_back(self, returned: Returned) -> None:
        """Write what came of a bundle; what is missing is sent again, or left out."""
        choice = self._running.pop(returned.bundle)
        missing = self._take_results(choice, returned)
        lost = returned.lost
        if lost is None and missing and not returned.results:
            lost = "A worker came back without a result."
        # Nobody but the node that ran can be to blame; if none did, all are charged.
        ran = [n for n in missing if self._graph.nodes[n].id == returned.begun] or missing
        for number in missing:
            self._graph.again(number)
            if lost is not None and number in ran and number in self._graph.ready:
                self._graph.ready.remove(number)
                self._lose(number, lost)
        self._sharing.release(choice.nodes)

    def _take_results(self, choice: Choice, returned: Returned) -> list[int]:
        """Write what came of a bundle; returns the nodes of which nothing did."""
        missing = []
        for number in choice.nodes:
            done = returned.results.get(self._graph.nodes[number].id)
            if self._graph.states.state[number] == FAILED:
                continue  # a parent of it failed, in this very bundle
            if done is None:
                missing.append(number)
            else:
                self._take(number, done, choice, returned.host)
        return missing

    def _take(self, number: int, done: Done, choice: Choice, host: str) -> None:
        if done.status == "damaged":
            parents = self._graph.nodes[number].parents
            self._graph.remake({parents[role]: why for role, why in done.damaged.items()}, number)
        elif done.status == "unfit":
            message = (done.failure or {}).get("message", "it cannot run it as planned")
            self._lose(number, redacted(message), unfit_on=host)
        else:
            self._graph.finish(number, done, choice.asked)

    def _lose(self, number: int, reason: str, unfit_on: str | None = None) -> None:
        again = self._losses.lost(number, unfit_on)
        self._graph.states.state[number] = RESTING if again else LEFT
        self.outcome.losses[reason] += 1
        if not again:
            node = self._graph.nodes[number]
            self.outcome.left_open[f"{node.kind} {node.label}"] = reason
