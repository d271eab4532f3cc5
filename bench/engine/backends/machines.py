"""Machines of a cluster: what each has, what is taken of it, and which are left out for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from bench.engine.settings import Resources

STRIKES = 3
"""Failures in a row, none of them a job's, after which a machine is left out."""
FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 1800.0
_SLACK = 1e-6
"""Shares of a GPU are sums of decimal fractions."""


@dataclass
class Machine:
    """One machine.

    Attributes:
        id: as the cluster names it.
        host: its name or address.
        cpus: what it has.
        gpus: what it has.
        used_cpus: what our workers there hold or wait for.
        used_gpus: the same.
        strikes: failures in a row.
        pause_s: seconds of its latest pause.
        until: moment at which its pause ends.
        reason: why it is left out.
    """

    id: str
    host: str
    cpus: float
    gpus: float
    used_cpus: float = 0.0
    used_gpus: float = 0.0
    strikes: int = 0
    pause_s: float = 0.0
    until: float = 0.0
    reason: str = ""

    def has(self, asked: Resources) -> bool:
        """Whether it could run this if it were idle."""
        return asked.num_cpus <= self.cpus + _SLACK and asked.num_gpus <= self.gpus + _SLACK

    def fits(self, asked: Resources) -> bool:
        """Whether this fits beside what our workers hold."""
        return (
            self.used_cpus + asked.num_cpus <= self.cpus + _SLACK
            and self.used_gpus + asked.num_gpus <= self.gpus + _SLACK
        )

    def take(self, asked: Resources, times: int = 1) -> None:
        """Count a worker that is started there; ``times=-1`` one that is gone."""
        self.used_cpus += times * asked.num_cpus
        self.used_gpus += times * asked.num_gpus


class Machines:
    """The machines that a cluster has now.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._all: dict[str, Machine] = {}

    def seen(self, machines: Iterable[Machine]) -> None:
        """Take in what the cluster says; what is known of those that stay is kept."""
        there = {machine.id: machine for machine in machines}
        for name in self._all.keys() - there.keys():
            del self._all[name]
        for name, machine in there.items():
            known = self._all.setdefault(name, machine)
            known.cpus, known.gpus = machine.cpus, machine.gpus

    def get(self, name: str | None) -> Machine | None:
        """A machine that is there."""
        return None if name is None else self._all.get(name)

    def all(self) -> list[Machine]:
        """Every machine that is there."""
        return list(self._all.values())

    def usable(self) -> list[Machine]:
        """Those that are not left out."""
        return [machine for machine in self._all.values() if not self._paused(machine)]

    def place(self, asked: Resources) -> Machine | None:
        """Where a worker is started: where most CPUs are left; on one with a GPU only last.

        A worker that needs no GPU keeps away from the machines that have some.
        """
        fitting = [machine for machine in self.usable() if machine.fits(asked)]
        wants_gpu = asked.num_gpus > 0
        return max(
            fitting,
            key=lambda m: (wants_gpu or m.gpus == 0, m.cpus - m.used_cpus),
            default=None,
        )

    def obstacle(self, asked: Resources) -> str | None:
        """Why no machine could run this, as the end of a sentence."""
        if any(machine.has(asked) for machine in self._all.values()):
            return None
        cpus = sum(machine.cpus for machine in self._all.values())
        gpus = sum(machine.gpus for machine in self._all.values())
        reason = f"the back end has {cpus:g} CPUs and {gpus:g} GPUs"
        if len(self._all) > 1:
            shapes = {(m.cpus, m.gpus): f"{m.cpus:g} and {m.gpus:g}" for m in self._all.values()}
            listed = ", ".join(shapes[shape] for shape in sorted(shapes))
            reason += f", on machines with (CPUs and GPUs) {listed}"
        return f"{reason}; for a cluster that grows on demand set backend.max_workers"

    # ------------------------------------------------------------ left out
    def failed(self, name: str | None, reason: str) -> None:
        """A worker there has failed, and no job is to blame."""
        machine = self.get(name)
        if machine is None:
            return
        machine.strikes += 1
        machine.reason = reason
        if machine.strikes >= STRIKES:
            longer = min(LONGEST_PAUSE_S, 2 * machine.pause_s)
            machine.pause_s = max(FIRST_PAUSE_S, longer)
            machine.until = self._clock() + machine.pause_s
            machine.strikes = STRIKES - 1  # afterwards it has one try

    def worked(self, name: str | None) -> None:
        """A bundle has come back from there."""
        machine = self.get(name)
        if machine is not None:
            machine.strikes, machine.pause_s, machine.until = 0, 0.0, 0.0

    def left_out(self) -> Mapping[str, str]:
        """Host to the reason, of those that are given no work now."""
        return {m.host: m.reason for m in self._all.values() if self._paused(m)}

    def _paused(self, machine: Machine) -> bool:
        return self._clock() < machine.until
