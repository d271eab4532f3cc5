"""Where tasks run: in this process, in processes of their own, or on Ray."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bench.engine.messages import Parcel
from bench.engine.settings import RayBackend, Resources, Settings
from bench.engine.worker import Done, Job


@dataclass(frozen=True)
class Capacity:
    """What a back end can run at once."""

    cpus: float
    gpus: float

    def fits(self, asked: Resources) -> bool:
        """Whether one task asking for this could ever start."""
        return asked.num_cpus <= self.cpus and asked.num_gpus <= self.gpus


class Backend(Protocol):
    """Runs tasks; the driver owns the order, the deadlines and the retries."""

    capacity: Capacity
    enforces_deadlines: bool
    """Whether :meth:`cancel` can stop a task that does not want to stop."""

    def parent(self, parcel: Parcel) -> Any:
        """How a parent's result is handed to a task."""

    def forget(self, place: str) -> None:
        """A result was set aside and will be made again: do not hand it out from memory."""

    def submit(self, task: Job, resources: Resources) -> None:
        """Start a task; the driver submits only what fits."""

    def poll(self, timeout: float) -> Sequence[tuple[str, Done]]:
        """Node identities and results of tasks that have ended, after at most ``timeout`` s."""

    def cancel(self, node: str) -> None:
        """Stop a task by force; it will not be polled any more."""

    def close(self) -> None:
        """Stop everything."""


def lost(kind: str, message: str, status: str = "crashed") -> Done:
    """The result of a task whose worker died."""
    return Done(status, failure={"type": kind, "message": message, "traceback": ""})


def slots_of(settings: Settings) -> int:
    """How many nodes of one CPU the back end of these settings runs at once on this machine."""
    if isinstance(settings.backend, RayBackend) or settings.backend.isolate:
        return settings.backend.num_cpus or os.cpu_count() or 1
    return 1


def open_backend(settings: Settings) -> Backend:
    """The back end that the settings name.

    Raises:
        UserError: a cluster that cannot be reached.
    """
    if isinstance(settings.backend, RayBackend):
        from bench.engine.backends.ray import Ray

        return Ray(settings.backend)
    from bench.engine.backends.local import InProcess, Isolated

    return Isolated(settings.backend) if settings.backend.isolate else InProcess()
