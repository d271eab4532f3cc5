"""What travels between the driver and its workers: plain data only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from bench.engine.graph import Reading
    from bench.engine.settings import Resources


def _one_cpu() -> Resources:
    # Who reads a store needs no settings, which take longer to load than the store itself.
    from bench.engine.settings import Resources

    return Resources(num_cpus=1, num_gpus=0)


@dataclass(frozen=True)
class Blob:
    """A file in the store's folder of large files, where it stands under its digest.

    Attributes:
        digest: SHA-256 of what it holds.
        size: its bytes.
    """

    digest: str
    size: int


@dataclass(frozen=True)
class Parcel:
    """A finished node's result as a worker needs it.

    Attributes:
        place: where it stands in the store, ``<kind>/<id>``.
        output: the JSON that the stage gave.
        digest: SHA-256 of its tensors; None if it has none.
        tensors: their bytes; None where they are a blob that the worker reads from the store.
    """

    place: str
    output: Mapping[str, Any]
    digest: str | None = None
    tensors: bytes | None = None


@dataclass(frozen=True)
class Job:
    """A node as it travels.

    Attributes:
        node: identity.
        kind: which stage.
        payload: what the stage works from.
        parents: role to the identity of that parent, which is an earlier job of the same bundle
            or among the bundle's parcels.
        configs: role to the payload of that parent.
        source: module to the digest of its code, as it was planned.
        texts: module to the digest of its text, as it was planned.
        readings: files that the node's components read, as they were planned.
        timeout_s: seconds it may run, from the moment it starts.
    """

    node: str
    kind: str
    payload: Mapping[str, Any]
    parents: Mapping[str, str]
    configs: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    readings: Mapping[str, Reading] = field(default_factory=dict)
    timeout_s: float = 1800.0


@dataclass(frozen=True)
class Bundle:
    """Jobs that one worker runs in one go, parents before children.

    Attributes:
        id: number of the bundle within the run.
        jobs: what to run, in order.
        parcels: identity to the result of every parent that is not a job of the bundle.
        groups: identities of jobs that are run as one vectorised program, group by group; the jobs
            of a group follow one another.
        resources: CPU threads and share of a GPU granted.
        data_root: folder of real data sets.
        packages: top-level packages that options may name.
        path: entries to add to ``sys.path`` for a user's own packages.
    """

    id: int
    jobs: tuple[Job, ...]
    parcels: Mapping[str, Parcel] = field(default_factory=dict)
    groups: tuple[tuple[str, ...], ...] = ()
    resources: Resources = field(default_factory=_one_cpu)
    data_root: str | None = None
    packages: tuple[str, ...] = ()
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Done:
    """What came of one job.

    Attributes:
        status: ``done``; ``failed``, ``diverged``, ``timeout``, ``crashed`` or ``oom``, which are
            results; ``damaged`` where a parent's stored result is not what was written; ``unfit``
            where the machine cannot run it as it was planned (other code, other files, no data).
        output: JSON of the stage.
        files: tensors and pictures by name; a large one as the blob that the worker has written
            where it sees the store.
        failure: type, message and traceback where the status is not ``done``.
        seconds: wall time in the worker.
        env: where it ran.
        damaged: role to what is wrong with the result of that parent.
    """

    status: str
    output: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes | Blob] = field(default_factory=dict)
    failure: Mapping[str, str] | None = None
    seconds: float = 0.0
    env: Mapping[str, Any] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Returned:
    """A bundle has come back.

    Attributes:
        bundle: its number.
        results: identity to what came of it, for every job that ended.
        begun: identity of the job that was running when the bundle was lost, if any.
        lost: why jobs are missing from ``results`` although none of them is to blame: the machine
            or its network is gone, or somebody else killed the worker. None where nothing was lost.
        host: where it ran; empty if it never started.
    """

    bundle: int
    results: Mapping[str, Done]
    begun: str | None = None
    lost: str | None = None
    host: str = ""


class Backend(Protocol):
    """Runs bundles. The driver owns order, budgets and retries; the back end owns machines,
    workers and deadlines.
    """

    enforces_deadlines: bool
    """Whether a job that does not want to stop can be stopped."""

    def watch(self) -> None:
        """Look at what machines there are now; cheap, called once a second or so."""

    def obstacle(self, asked: Resources) -> str | None:
        """Why no machine could ever run a job asking for this, or None if one could.

        Where machines may still join (``backend.max_workers`` is set) nothing is an obstacle.
        """

    def slots(self) -> int:
        """How many bundles of one CPU could run at once on the present machines; at least 1."""

    def room(self, asked: Resources) -> int:
        """How many bundles asking for this can be submitted now and start at once."""

    def want(self, waiting: Mapping[Resources, int]) -> None:
        """Say how many bundles of each shape wait, so that workers are started, held or let go."""

    def submit(self, bundle: Bundle) -> None:
        """Start a bundle; only as many as :meth:`room` allows."""

    def poll(self, timeout: float) -> Sequence[Returned]:
        """Bundles that have come back, after at most ``timeout`` seconds."""

    def left_out(self) -> Mapping[str, str]:
        """Machines that are given no more work, and why."""

    def close(self) -> None:
        """Stop everything within 10 seconds."""


class Blobs(Protocol):
    """The store's folder of large files, as workers and back ends see it."""

    root: Path

    def put(self, data: bytes) -> Blob:
        """Write a file under its digest, whole or not at all."""

    def get(self, digest: str) -> bytes:
        """What stands under a digest; raises DamagedError if it is absent or something else."""
