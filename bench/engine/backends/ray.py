"""Ray: this machine or a cluster that changes while it is used.

Ray starts actors, one a slot, that hold what they were granted until they are let go, and moves
bytes between machines. The driver owns dependencies and retries, and a supervisor within each actor
the deadlines: Ray has none, and would retry a job that runs out of memory for ever. An actor that
waits for its resources runs nothing, so waiting for other users costs no deadline.
"""

from __future__ import annotations

import math
import pickle
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.contract.secrets import in_one_line
from bench.engine.backends.cargo import pack, unpack
from bench.engine.backends.machines import Machines
from bench.engine.backends.ray_cluster import Watch, connect, leave
from bench.engine.backends.ray_slot import FOLLOW_S, Hello, News, RaySlot, Terms
from bench.engine.backends.slot import Ended
from bench.engine.messages import Blobs, Bundle, Returned
from bench.engine.seal import DamagedError
from bench.engine.settings import RayBackend, Resources

_KEPT_REFS = 64
_IDLE_S = 30.0
"""Seconds that a worker nobody has work for is kept: others may need the machine."""
_STARVED_S = 10.0
"""Seconds that a shape waits for its first worker before workers of other shapes make room."""
_SOON_S = 10.0
"""A bundle that is lost within this time of its start speaks against the machine."""
_PAUSE_S = 5.0
"""A driver that has not looked for so long has itself been stopped: it blames nobody at once."""
_LONGEST_WAIT_S = 0.5
_AGAIN_S = 5.0
"""Seconds between workers that Ray places, after one could not be started."""


@dataclass
class _Worker:
    """An actor as the driver knows it.

    Attributes:
        actor: its handle.
        shape: what it holds, or waits for.
        machine: where it is, or was sent; None where Ray chooses.
        ref: the answer that is awaited; None of one that is idle.
        since: moment of the question, or since when it is idle.
        hello: where it is and what it sees; None as long as it has not started.
        bundle: what it runs.
        started: moment at which the bundle was sent.
        ended: jobs of the bundle that have ended.
        begun: the job that ran when it last gave a sign of life.
        retiring: whether it is let go when it is idle.
    """

    actor: Any
    shape: Resources
    machine: str | None
    ref: Any
    since: float
    hello: Hello | None = None
    bundle: Bundle | None = None
    started: float = 0.0
    ended: list[Ended] = field(default_factory=list)
    begun: str | None = None
    retiring: bool = False

    @property
    def idle(self) -> bool:
        """Whether it could be sent a bundle."""
        return self.hello is not None and self.ref is None


class Ray:
    """Resident workers on a Ray cluster, a private one on this machine unless another is named.

    Args:
        options: ``backend`` settings.
        blobs: the store's folder of large files.
        store_uuid: by which a worker knows that it sees the same store.
        store_root: folder of the store.
        data_root: folder of data sets.

    Raises:
        UserError: the cluster cannot be reached.
    """

    enforces_deadlines = True

    def __init__(
        self,
        options: RayBackend,
        blobs: Blobs,
        store_uuid: str,
        store_root: Path,
        data_root: Path | None = None,
    ) -> None:
        self._options, self._blobs = options, blobs
        shared = None if options.shared_store == "auto" else options.shared_store
        # A folder that the driver itself does not have is looked for by nobody.
        data = str(data_root.resolve()) if data_root is not None and data_root.is_dir() else None
        self._terms = Terms(
            False,
            options.worker_memory_gb,
            pickle.dumps(blobs),
            shared,
            str(store_root.resolve()),
            store_uuid,
            data,
        )
        self._ray = connect(options)
        self._class = self._ray.remote(RaySlot)
        self._watch = Watch(self._ray, options.address)
        self._watch.start()
        self._machines = Machines()
        self._machines.seen(self._watch.machines())
        self._workers: list[_Worker] = []
        self._waiting: Counter[Resources] = Counter()
        self._starved: dict[Resources, float] = {}
        self._refs: OrderedDict[str, Any] = OrderedDict()
        self._returned: list[Returned] = []
        self._polled = time.monotonic()
        self._not_before = 0.0

    # ------------------------------------------------------------ what there is
    def watch(self) -> None:
        """Take in machines that have joined or left.

        Raises:
            UserError: the head of the cluster is gone.
        """
        self._machines.seen(self._watch.machines())
        for worker in list(self._workers):
            if worker.machine is not None and self._machines.get(worker.machine) is None:
                self._give_up(worker, "its machine has left the cluster")
        self._adjust()

    def obstacle(self, asked: Resources) -> str | None:
        """Why no machine could ever run this; where more may join nothing is an obstacle."""
        return None if self._options.max_workers else self._machines.obstacle(asked)

    def slots(self) -> int:
        """CPUs of the machines that are there; at least 1."""
        cpus = sum(int(machine.cpus) for machine in self._machines.usable())
        return max(1, min(cpus, self._options.max_workers or cpus))

    def room(self, asked: Resources) -> int:
        """Workers of this shape that are idle."""
        return sum(1 for _ in self._idle(asked))

    def left_out(self) -> Mapping[str, str]:
        """Machines on which workers fail, for now."""
        return self._machines.left_out()

    def _idle(self, asked: Resources) -> Iterator[_Worker]:
        usable = {machine.id for machine in self._machines.usable()}
        for worker in self._workers:
            if worker.idle and worker.shape == asked and worker.machine in usable:
                yield worker

    # ------------------------------------------------------------ workers come and go
    def want(self, waiting: Mapping[Resources, int]) -> None:
        """Start workers for what waits, and let go of those that nobody waits for."""
        self._waiting = Counter(waiting)
        self._gather(0.0)
        self._adjust()

    def _adjust(self) -> None:
        now = time.monotonic()
        usable = {machine.id for machine in self._machines.usable()}
        for worker in list(self._workers):
            out = worker.machine is not None and worker.machine not in usable
            unused = now - worker.since > _IDLE_S
            no_work = not self._waiting[worker.shape]
            if worker.bundle is None and (out or worker.retiring or (no_work and unused)):
                self._let_go(worker)
        for shape in sorted(+self._waiting, key=self._turn):
            own = [worker for worker in self._workers if worker.shape == shape]
            missing = self._waiting[shape] - sum(worker.bundle is None for worker in own)
            while missing > 0 and self._start(shape):
                own.append(self._workers[-1])
                missing -= 1
            if own:
                self._starved.pop(shape, None)
            if missing > 0:
                self._make_room(shape, now, starved=not own)

    def _turn(self, shape: Resources) -> tuple[bool, float, int]:
        """What waits longest without a single worker is served first, then what is rarest."""
        starved = time.monotonic() - self._starved.get(shape, math.inf) > _STARVED_S
        return not starved, -shape.num_gpus, -shape.num_cpus

    def _start(self, shape: Resources) -> bool:
        """Start one more worker; whether there was a place for it."""
        most = self._options.max_workers
        if most is not None and len(self._workers) >= most:
            return False
        machine = self._machines.place(shape)
        if machine is None and (most is None or time.monotonic() < self._not_before):
            return False
        options: dict[str, Any] = {
            "num_cpus": shape.num_cpus,
            "num_gpus": shape.num_gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
        }
        if machine is not None:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(machine.id, soft=False)
            machine.take(shape)
        actor = self._class.options(**options).remote(replace(self._terms, gpu=shape.num_gpus > 0))
        where = None if machine is None else machine.id
        now = time.monotonic()
        self._workers.append(_Worker(actor, shape, where, actor.hello.remote(), now))
        return True

    def _make_room(self, shape: Resources, now: float, starved: bool) -> None:
        """Let go of workers of other shapes: idle ones at once, others when a shape has none."""
        for worker in list(self._workers):
            if worker.bundle is None and worker.shape != shape and not self._waiting[worker.shape]:
                self._let_go(worker)
        if not starved or now - self._starved.setdefault(shape, now) < _STARVED_S:
            return
        for machine in self._machines.usable():
            there = [worker for worker in self._workers if worker.machine == machine.id]
            there.sort(key=lambda worker: (not worker.retiring, worker.bundle is not None))
            rest = replace(machine)
            for worker in there if machine.has(shape) else ():
                rest.take(worker.shape, -1)
                worker.retiring = True
                if rest.fits(shape):
                    return

    def _let_go(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        machine = self._machines.get(worker.machine)
        if machine is not None:
            machine.take(worker.shape, -1)
        with suppress(Exception):  # it may be gone already
            self._ray.kill(worker.actor)

    # ------------------------------------------------------------ bundles
    def submit(self, bundle: Bundle) -> None:
        """Send a bundle to an idle worker; one that loads data to where the data are."""
        loads = any(job.kind == "data" for job in bundle.jobs)
        worker = max(
            self._idle(bundle.resources),
            key=lambda w: w.hello is not None and (not loads or w.hello.sees_data),
        )
        cargo = pack(bundle)
        sees = worker.hello is not None and worker.hello.sees_store
        refs = {} if sees else self._tensors(bundle)
        worker.bundle, worker.ended, worker.begun = bundle, [], None
        worker.started = worker.since = time.monotonic()
        worker.ref = worker.actor.run.remote(cargo.payload, cargo.tasks, list(refs), *refs.values())

    def _tensors(self, bundle: Bundle) -> dict[str, Any]:
        """References to what a worker cannot read from the store, by digest."""
        refs = {}
        for parcel in bundle.parcels.values():
            digest = parcel.digest
            if digest is None or parcel.tensors is not None:
                continue
            if digest not in self._refs:
                try:
                    self._refs[digest] = self._ray.put(self._blobs.get(digest))
                except DamagedError:  # the worker says that it was not sent along
                    continue
            self._refs.move_to_end(digest)
            refs[digest] = self._refs[digest]
        while len(self._refs) > _KEPT_REFS:
            self._refs.popitem(last=False)
        return refs

    def poll(self, timeout: float) -> Sequence[Returned]:
        """Bundles that have come back; after :meth:`close` also what had ended of the others."""
        self._gather(0.0 if self._returned else min(timeout, _LONGEST_WAIT_S))
        self._silent()
        returned, self._returned = self._returned, []
        return returned

    def _gather(self, timeout: float) -> None:
        """Take in what workers have answered, new ones too."""
        asked = {worker.ref: worker for worker in self._workers if worker.ref is not None}
        if not asked:
            return
        ready, rest = self._ray.wait(list(asked), num_returns=1, timeout=timeout)
        if ready and rest:
            ready += self._ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        for ref in ready:
            self._answered(asked[ref])

    def _answered(self, worker: _Worker) -> None:
        try:
            answer = self._ray.get(worker.ref)
        except self._ray.exceptions.OutOfMemoryError as error:
            self._out_of_memory(worker, error)
            return
        except Exception as error:  # Ray's errors have no ancestor of their own
            self._refs.clear()  # what it could not get may be among them
            self._give_up(worker, f"{type(error).__name__}: {in_one_line(error)}")
            return
        worker.since = time.monotonic()
        if isinstance(answer, Hello):
            self._welcome(worker, answer)
            return
        news: News = answer
        worker.ended += news.ended
        worker.begun = news.begun
        if news.over:
            worker.ref = None
            self._back(worker, news.lost)
        else:
            worker.ref = worker.actor.follow.remote(len(worker.ended))

    def _welcome(self, worker: _Worker, hello: Hello) -> None:
        if worker.machine is None:
            machine = self._machines.get(hello.node)
            if machine is None:  # it has joined since the last look: ask until it is known
                worker.ref = worker.actor.hello.remote()
                return
            machine.take(worker.shape)
            worker.machine = machine.id
        worker.hello, worker.ref = hello, None

    def _back(self, worker: _Worker, lost: str | None) -> None:
        """A bundle is over: hand in what came of it."""
        bundle = worker.bundle
        assert bundle is not None
        try:
            results = unpack(worker.ended)
        except Exception as error:  # what other code has pickled
            results, lost = (
                {},
                f"its answer cannot be read ({type(error).__name__}: {in_one_line(error)})",
            )
        unfit = [done for done in results.values() if done.status == "unfit"]
        soon = time.monotonic() - worker.started < _SOON_S
        if unfit:
            self._machines.failed(worker.machine, (unfit[0].failure or {}).get("message", ""))
        elif lost and soon and not results:
            self._machines.failed(worker.machine, lost)
        elif not lost:
            self._machines.worked(worker.machine)
        host = worker.hello.host if worker.hello else ""
        self._returned.append(Returned(bundle.id, results, worker.begun, lost, host))
        worker.bundle, worker.ended, worker.begun = None, [], None

    def _give_up(self, worker: _Worker, reason: str) -> None:
        """Part with a worker that is gone, or silent; what it ran is lost, not failed."""
        if worker.bundle is not None:
            self._back(worker, reason)
        elif worker.hello is None:
            self._machines.failed(worker.machine, f"a worker could not be started: {reason}")
            self._not_before = time.monotonic() + _AGAIN_S  # where Ray chose, it would at once
        self._let_go(worker)

    def _out_of_memory(self, worker: _Worker, error: Exception) -> None:
        """Ray has killed a worker because its machine's memory was nearly full."""
        if worker.bundle is not None and worker.begun is not None:
            worker.ended.append(Ended(worker.begun, "oom", None, in_one_line(error)))
            worker.begun = None
        self._give_up(worker, "its machine ran out of memory")

    def _silent(self) -> None:
        """Part with workers that should have given a sign of life."""
        now = time.monotonic()
        pause, self._polled = now - self._polled, now
        limit = self._options.silent_s + FOLLOW_S
        for worker in list(self._workers):
            if worker.bundle is None:
                continue
            if pause > _PAUSE_S:
                worker.since = max(worker.since, now - limit + _PAUSE_S)
            elif now - worker.since > limit:
                reason = f"its worker gave no sign of life for {now - worker.since:.0f} s"
                self._give_up(worker, reason)

    def close(self) -> None:
        """End every worker and leave the cluster."""
        self._watch.stop()
        for worker in self._workers:
            if worker.bundle is not None:
                self._back(worker, "the run was stopped")
        leave(self._ray, [worker.actor for worker in self._workers])
        self._workers = []
