"""An actor of Ray that holds one slot. It imports little, so that it is there within a second."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.engine.backends.slot import Cargo, Ended, Outcome, Slot, Task, Zygote, memory_limit
from bench.engine.backends.zygote import Outfit

FOLLOW_S = 2.0
"""Seconds after which an actor gives a sign of life, with what has ended since the last one."""


@dataclass(frozen=True)
class Terms:
    """What an actor is started with.

    Attributes:
        gpu: whether a share of a GPU was granted.
        memory_gb: see the setting ``backend.worker_memory_gb``.
        blobs: pickled folder of large files.
        shared: whether the store is seen by path; None: look.
        store: its folder.
        uuid: by which the same store is known.
        data_root: folder of data sets; None if the run has none.
    """

    gpu: bool
    memory_gb: float | None
    blobs: bytes
    shared: bool | None
    store: str
    uuid: str
    data_root: str | None


@dataclass(frozen=True)
class Hello:
    """Where an actor runs.

    Attributes:
        node: the machine as Ray names it.
        host: its name.
        sees_store: whether it reads and writes the store by path.
        sees_data: whether it has the folder of data sets.
    """

    node: str
    host: str
    sees_store: bool
    sees_data: bool


@dataclass(frozen=True)
class News:
    """What has come of a bundle since it was last asked.

    Attributes:
        ended: jobs, in order.
        begun: the job that runs now, or ran when the bundle was lost.
        lost: why the rest is missing.
        over: whether the actor is free again.
    """

    ended: Sequence[Ended]
    begun: str | None
    lost: str | None
    over: bool


class RaySlot:
    """Runs one bundle at a time and can be asked about it meanwhile.

    Args:
        terms: what it is started with.
    """

    def __init__(self, terms: Terms) -> None:
        self._sees_store = _sees(terms) if terms.shared is None else terms.shared
        self._data_root = terms.data_root
        zygote = Zygote()
        zygote.start()
        # Ray has set the variable to what was granted; to nothing only where it was told so.
        outfit = Outfit(None if terms.gpu else "", terms.blobs if self._sees_store else None)
        self._slot = Slot(zygote, outfit, memory_limit(terms.memory_gb))
        self._outcome = Outcome(over=True)
        self._over = threading.Event()

    def hello(self) -> Hello:
        """Where this is and what it sees."""
        import ray

        node = str(ray.get_runtime_context().get_node_id())
        sees_data = self._data_root is None or Path(self._data_root).is_dir()
        return Hello(node, socket.gethostname(), self._sees_store, sees_data)

    def run(
        self, payload: bytes, tasks: tuple[Task, ...], digests: Sequence[str], *tensors: bytes
    ) -> News:
        """Start a bundle; Ray has moved what this machine cannot read from the store."""
        cargo = Cargo(payload, tasks, dict(zip(digests, tensors, strict=True)))
        self._outcome, self._over = Outcome(), threading.Event()
        words = (cargo, self._outcome, self._over)
        threading.Thread(target=self._run, args=words, daemon=True).start()
        return self.follow(0)

    def follow(self, have: int) -> News:
        """What has ended besides the first ``have`` jobs, after at most ``FOLLOW_S``."""
        self._over.wait(FOLLOW_S)
        outcome = self._outcome
        over = outcome.over  # before the rest is read: what ended last must not be missed
        return News(outcome.ended[have:], outcome.begun, outcome.lost if over else None, over)

    def _run(self, cargo: Cargo, outcome: Outcome, over: threading.Event) -> None:
        try:
            self._slot.run(cargo, outcome)
        finally:
            over.set()


def _sees(terms: Terms) -> bool:
    """Whether this machine has the same store under the same path, and may write there."""
    try:
        mark: Any = json.loads(Path(terms.store, "store.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    same = isinstance(mark, dict) and bool(terms.uuid) and mark.get("uuid") == terms.uuid
    return same and os.access(terms.store, os.W_OK)
