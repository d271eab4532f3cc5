"""This machine without Ray."""

from __future__ import annotations

import os
import pickle
import queue
import random
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench.engine.backends.cargo import pack, unpack
from bench.engine.backends.slot import Outcome, Slot, Zygote, memory_limit
from bench.engine.backends.zygote import Outfit
from bench.engine.messages import Blobs, Bundle, Done, Returned
from bench.engine.settings import LocalBackend, Resources
from bench.engine.worker import execute

_ONE_AT_A_TIME = threading.Lock()
_ZYGOTE = Zygote()
"""One for all runs of this process: its imports are done once."""
_ENDS_IN_S = 5.0
_NO_SHARE = 1e-6
"""Shares of a GPU are sums of decimal fractions: what is left below this is nothing."""


class InProcess:
    """One bundle at a time, in the driver's own process: the simplest thing that works.

    That holds for all runs of the process: libraries draw random numbers from one generator, and a
    job of another thread would change what they give. It cannot stop a job, so deadlines are not
    enforced.

    Args:
        blobs: the store's folder of large files.
    """

    enforces_deadlines = False

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._waiting: deque[Bundle] = deque()
        self._stopped: list[Returned] = []

    def watch(self) -> None:
        """Nothing changes here."""

    def obstacle(self, asked: Resources) -> str | None:
        """One process can run everything, with as many threads as are asked for."""
        return None

    def slots(self) -> int:
        """One."""
        return 1

    def room(self, asked: Resources) -> int:
        """One bundle at a time."""
        return 0 if self._waiting else 1

    def want(self, waiting: Mapping[Resources, int]) -> None:
        """There are no workers to start."""

    def submit(self, bundle: Bundle) -> None:
        """Keep a bundle; :meth:`poll` runs it."""
        self._waiting.append(bundle)

    def poll(self, timeout: float) -> Sequence[Returned]:
        """Run one bundle to its end.

        Raises:
            KeyboardInterrupt: Ctrl-C; the next call gives what of the bundle had ended.
        """
        stopped, self._stopped = self._stopped, []
        if stopped or not self._waiting:
            return stopped
        bundle = self._waiting.popleft()
        results: dict[str, Done] = {}
        host = socket.gethostname()

        def tell(what: str, nodes: tuple[str, ...], done: Done | None) -> None:
            if done is not None:
                results[nodes[0]] = done

        try:
            with _ONE_AT_A_TIME, _own_randomness():
                execute(bundle, tell, self._blobs)
        except KeyboardInterrupt:
            self._stopped = [Returned(bundle.id, results, lost="it was interrupted", host=host)]
            raise
        return [Returned(bundle.id, results, host=host)]

    def left_out(self) -> Mapping[str, str]:
        """There is only this machine."""
        return {}

    def close(self) -> None:
        """Nothing to stop."""
        self._waiting.clear()


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Leave the global generators of random numbers as they were: this process is the user's."""
    import numpy
    import torch

    states = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        numpy.random.set_state(states[1])
        torch.set_rng_state(states[2])


class Isolated:
    """Worker processes on this machine: a crash or a deadline ends one job only.

    Args:
        options: ``backend`` settings: how many CPUs and GPUs are shared out.
        blobs: the store's folder of large files.
    """

    enforces_deadlines = True

    def __init__(self, options: LocalBackend, blobs: Blobs) -> None:
        self._cpus = self._free = options.num_cpus
        self._devices = dict.fromkeys(_devices(options.num_gpus), 1.0)
        """Share of every GPU that is free."""
        self._memory = memory_limit(options.worker_memory_gb)
        self._blobs = pickle.dumps(blobs)
        self._idle: dict[tuple[str, ...], list[Slot]] = defaultdict(list)
        self._running: dict[int, tuple[Slot, threading.Thread]] = {}
        self._returned: queue.SimpleQueue[tuple[Bundle, Outcome, tuple[str, ...]]]
        self._returned = queue.SimpleQueue()
        _ZYGOTE.start()

    def watch(self) -> None:
        """This machine does not change."""

    def obstacle(self, asked: Resources) -> str | None:
        """Whether it asks for more than this machine has to share out."""
        gpus = len(self._devices)
        if asked.num_cpus <= self._cpus and asked.num_gpus <= gpus:
            return None
        return (
            f"the back end has {self._cpus} CPUs and {gpus} GPUs "
            "(backend.num_cpus, backend.num_gpus)"
        )

    def slots(self) -> int:
        """CPUs that are shared out."""
        return self._cpus

    def room(self, asked: Resources) -> int:
        """How many times this fits into what is free."""
        by_cpu = self._free // asked.num_cpus
        if not asked.num_gpus:
            return by_cpu
        if asked.num_gpus < 1:
            shares = (int((free + _NO_SHARE) / asked.num_gpus) for free in self._devices.values())
            return min(by_cpu, sum(shares))
        whole = sum(free > 1 - _NO_SHARE for free in self._devices.values())
        return min(by_cpu, int(whole / asked.num_gpus))

    def want(self, waiting: Mapping[Resources, int]) -> None:
        """Workers start in milliseconds: there is nothing to prepare."""

    def submit(self, bundle: Bundle) -> None:
        """Start a bundle in a worker that is idle, or a new one."""
        asked = bundle.resources
        devices = self._take(asked.num_gpus)
        self._free -= asked.num_cpus
        idle = self._idle[devices]
        slot = idle.pop() if idle else self._new(devices)
        thread = threading.Thread(target=self._run, args=(slot, bundle, devices), daemon=True)
        self._running[bundle.id] = slot, thread
        thread.start()

    def poll(self, timeout: float) -> Sequence[Returned]:
        """Bundles that have come back; after :meth:`close` also what had ended of the others."""
        returned: list[Returned] = []
        until = time.monotonic() + timeout
        while self._running:
            wait = 0.0 if returned else max(0.0, until - time.monotonic())
            try:
                bundle, outcome, devices = self._returned.get(timeout=wait or None, block=wait > 0)
            except queue.Empty:
                break
            slot, _ = self._running.pop(bundle.id)
            self._idle[devices].append(slot)
            self._free += bundle.resources.num_cpus
            for device in devices:
                self._devices[device] += min(1.0, bundle.resources.num_gpus)
            results = unpack(outcome.ended)
            host = socket.gethostname()
            returned.append(Returned(bundle.id, results, outcome.begun, outcome.lost, host))
        return returned

    def left_out(self) -> Mapping[str, str]:
        """There is only this machine."""
        return {}

    def close(self) -> None:
        """Kill the workers."""
        for slot in [*(slot for slots in self._idle.values() for slot in slots)]:
            slot.close()
        for slot, _ in self._running.values():
            slot.close()
        until = time.monotonic() + _ENDS_IN_S
        for _, thread in self._running.values():
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, slot: Slot, bundle: Bundle, devices: tuple[str, ...]) -> None:
        outcome = Outcome()
        try:
            slot.run(pack(bundle), outcome)
        finally:
            self._returned.put((bundle, outcome, devices))

    def _new(self, devices: tuple[str, ...]) -> Slot:
        return Slot(_ZYGOTE, Outfit(",".join(devices), self._blobs), self._memory)

    def _take(self, gpus: float) -> tuple[str, ...]:
        """The GPUs for a bundle, with their share taken: the fullest one that has room."""
        if not gpus:
            return ()
        share = min(1.0, gpus)
        fitting = [name for name, free in self._devices.items() if free > share - _NO_SHARE]
        fitting.sort(key=lambda name: self._devices[name])
        taken = tuple(fitting[: max(1, round(gpus))])
        for name in taken:
            self._devices[name] -= share
        return taken


def _devices(gpus: int) -> list[str]:
    """Names of the GPUs that are shared out, as ``CUDA_VISIBLE_DEVICES`` writes them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name for name in (visible or "").split(",") if name]
    return names[:gpus] if names else [str(number) for number in range(gpus)]
