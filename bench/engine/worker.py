"""A worker runs bundles of nodes: every job has a result, and only Ctrl-C ends the worker."""

from __future__ import annotations

import gc
import json
import os
import random
import socket
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contract import UserError
from bench.engine.failures import LONGEST_MESSAGE, UnfitError, message_of, status_of, trace_of
from bench.engine.messages import Blob, Blobs, Bundle, Done, Job, Parcel
from bench.engine.names import TENSORS
from bench.engine.recent import Recent
from bench.engine.seal import DamagedError, digest_of
from bench.engine.store.blobs import SMALL

if TYPE_CHECKING:
    from bench.engine.stages.result import Machine, Result

_RECENT: Recent[Result] = Recent(256 * 2**20)
"""Results that were read for earlier bundles of this process."""

_TEXTS_HOLD_S = 1.0
"""Seconds for which the text of a module is taken to be what it was."""

Tell = Callable[[str, tuple[str, ...], Done | None], None]
"""Called with ``started`` and the jobs that start now, all at once where they are one program; with
``ended``, one job and what came of it."""


def execute(
    bundle: Bundle,
    tell: Tell,
    blobs: Blobs | None,
    ended: Mapping[str, Done] | None = None,
    alone: bool = False,
) -> None:
    """Run the jobs of a bundle in order.

    A job whose parent is a job of this bundle that did not end in ``done`` is not run and not told
    of.

    Args:
        bundle: jobs and the results they read.
        tell: told what starts and what ends.
        blobs: the store's folder of large files; None where this machine does not see it.
        ended: jobs that ended in another process before; those that are not ``done`` have failed.
        alone: run the jobs of groups one by one.
    """
    for entry in bundle.path:
        if entry not in sys.path:
            sys.path.append(entry)
    _limit_threads(bundle.resources.num_cpus)
    share_memory(bundle.resources.num_gpus)
    run = _Run(bundle, tell, blobs)
    for node, done in (ended or {}).items():
        run.keep(node, done)
    for jobs in _together(bundle, alone):
        run.jobs([job for job in jobs if job.node not in (ended or {})])
    if bundle.resources.num_gpus:
        give_back()


def _together(bundle: Bundle, alone: bool) -> Iterator[Sequence[Job]]:
    """The jobs in order, those of a group at once."""
    group_of = {} if alone else {node: group for group in bundle.groups for node in group}
    jobs = list(bundle.jobs)
    while jobs:
        group = group_of.get(jobs[0].node, (jobs[0].node,))
        size = next((i for i, job in enumerate(jobs) if job.node not in group), len(jobs))
        yield jobs[:size]
        del jobs[:size]


class _Run:
    """One pass over a bundle."""

    def __init__(self, bundle: Bundle, tell: Tell, blobs: Blobs | None) -> None:
        self.bundle, self.tell, self.blobs = bundle, tell, blobs
        self.own = {job.node for job in bundle.jobs}
        self.made: dict[str, Parcel] = {}
        """Results of this bundle's jobs that ended in ``done``."""
        self._same: dict[str, str] = {}
        """Digests of texts that were as planned when they were last looked at, at ``_looked``."""
        self._looked = 0.0
        gpus = bundle.resources.num_gpus
        self.device = "cuda:0" if gpus else "cpu"

    def machine(self) -> Machine:
        """Where the stages run."""
        from bench.engine.stages.result import Machine

        root = Path(self.bundle.data_root) if self.bundle.data_root else None
        return Machine(self.device, root, self.bundle.packages)

    def keep(self, node: str, done: Done) -> None:
        """Remember a result for the jobs that read it."""
        if done.status != "done":
            return
        tensors = done.files.get(TENSORS)
        if isinstance(tensors, Blob):
            self.made[node] = Parcel(node, done.output, tensors.digest)
        else:
            digest = None if tensors is None else digest_of(tensors)
            self.made[node] = Parcel(node, done.output, digest, tensors)

    def jobs(self, jobs: Sequence[Job]) -> None:
        """Run jobs that follow one another: as one program where they are a group that can be."""
        jobs = [j for j in jobs if all(p in self.made for p in j.parents.values() if p in self.own)]
        if len(jobs) > 1:
            jobs = self._group(jobs)
        for job in jobs:
            self.tell("started", (job.node,), None)
            started = time.perf_counter()
            self._end(job, self._one(job), time.perf_counter() - started)

    def _end(self, job: Job, done: Done, seconds: float) -> None:
        self.keep(job.node, done)
        files = {name: self._written(data) for name, data in done.files.items()}
        done = replace(done, files=files, seconds=seconds, env=self.env())
        self.tell("ended", (job.node,), done)

    def env(self) -> dict[str, Any]:
        """Facts of this process."""
        return env_of(self.bundle)

    def _one(self, job: Job) -> Done:
        from bench.engine.stages import run

        try:
            _begin(job)
            self._check(job)
            parents, damaged = self._parents(job)
            if damaged:
                return Done("damaged", damaged=damaged)
            result = run(job.kind, job.payload, parents, self.machine())
            return self._done(job, result)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return self._failed(job, error)

    def _group(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Run jobs as one program; gives those that are to be run one by one."""
        from bench.engine.stages import run_many

        nodes = tuple(job.node for job in jobs)
        self.tell("started", nodes, None)
        started = time.perf_counter()
        try:
            _begin(jobs[0])
            for job in jobs:
                self._check(job)
            read = [self._parents(job) for job in jobs]
            if any(damaged for _, damaged in read):
                return jobs
            parents = [results for results, _ in read]
            payloads = [job.payload for job in jobs]
            results = run_many(jobs[0].kind, payloads, parents, self.machine())
        except KeyboardInterrupt:
            raise
        except BaseException:  # one of them is to blame, and alone it says so itself
            return jobs
        seconds = (time.perf_counter() - started) / len(jobs)
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, BaseException):
                done = self._failed(job, result)
            else:
                try:
                    done = self._done(job, result)
                except Exception as error:
                    done = self._failed(job, error)
            self._end(job, done, seconds)
        return ()

    def _done(self, job: Job, result: Result) -> Done:
        from bench.engine.stages.result import encode

        self._check_files(job)  # it may have changed while it was read
        output = json.loads(json.dumps(result.output, allow_nan=False))
        return Done("done", output=output, files=encode(result))

    def _failed(self, job: Job, error: BaseException) -> Done:
        status = status_of(error)
        message = message_of(error)
        trace = "" if isinstance(error, UserError) else trace_of(error)
        reason = self._missing(job, error) if status == "failed" else None
        if reason:
            status, message = "unfit", f"{reason} ({message})"
        failure = {
            "type": "Unfit" if status == "unfit" else type(error).__name__,
            "message": message[:LONGEST_MESSAGE],
            "traceback": trace,
        }
        return Done(status, failure=failure)

    def _missing(self, job: Job, error: BaseException) -> str | None:
        """What this machine lacks that explains a failure."""
        host, root = socket.gethostname(), self.bundle.data_root
        if job.kind == "data" and root and isinstance(error, UserError | OSError):
            if not Path(root).is_dir():
                return f"Host '{host}' does not have the folder of data sets '{root}'"
        elif self.bundle.resources.num_gpus:
            import torch

            if not torch.cuda.is_available():
                return f"Host '{host}' offers a GPU that CUDA cannot use"
        return None

    # ------------------------------------------------------------ what goes in and out
    def _parents(self, job: Job) -> tuple[dict[str, Result], dict[str, str]]:
        """Results of the parents, and what is wrong with those that are damaged."""
        results, damaged = {}, {}
        for role, node in job.parents.items():
            parcel = self.made.get(node) or self.bundle.parcels.get(node)
            if parcel is None:
                damaged[role] = "it was not sent along"
                continue
            try:
                result = self._result(node, parcel)
            except DamagedError as error:
                damaged[role] = f"{parcel.place}: {error.reason}"
            else:
                results[role] = replace(result, config=job.configs[role])
        return results, damaged

    def _result(self, node: str, parcel: Parcel) -> Result:
        from bench.engine.stages.result import decode

        key = (node, parcel.digest)
        kept = _RECENT.get(key)
        if kept is None:
            data = self._tensors(parcel)
            kept = decode(parcel.output, data)
            _RECENT.put(key, kept, kept.tensors.values(), len(data or b""))
        # An identity that was computed anew may have another output beside the same tensors.
        return replace(kept, output=parcel.output)

    def _tensors(self, parcel: Parcel) -> bytes | None:
        """Bytes of a parcel's tensors; None if it has none."""
        if parcel.digest is None:
            return None
        if parcel.tensors is None:
            if self.blobs is None:
                raise DamagedError(Path(parcel.place), "its tensors were not sent along")
            return self.blobs.get(parcel.digest)
        if digest_of(parcel.tensors) != parcel.digest:
            raise DamagedError(Path(parcel.place), "what arrived is not what was written")
        return parcel.tensors

    def _written(self, data: bytes | Blob) -> bytes | Blob:
        """A file as it is sent back: a large one is written here where the store is seen."""
        if self.blobs is None or isinstance(data, Blob) or len(data) <= SMALL:
            return data
        try:
            return self.blobs.put(data)
        except (OSError, UserError):  # the driver writes it, or says why it cannot be written
            return data

    # ------------------------------------------------------------ what is refused
    def _check(self, job: Job) -> None:
        self._check_source(job)
        self._check_files(job)

    def _check_source(self, job: Job) -> None:
        """Refuse to run other code than the one that the result would be recorded under."""
        from bench.contract.source import changed_texts, forget_sources, sources

        if time.monotonic() - self._looked > _TEXTS_HOLD_S:
            self._same, self._looked = {}, time.monotonic()
        texts = {name: text for name, text in job.texts.items() if self._same.get(name) != text}
        if not changed_texts(texts):
            self._same |= texts
            return
        forget_sources()
        here = sources(tuple(job.source), self.bundle.packages).digests
        other = sorted(k for k in job.source if job.source[k] != here.get(k))
        if other:
            raise UnfitError(
                f"Host '{socket.gethostname()}' has other code than the run was planned with, in "
                f"{', '.join(other)}: its results would stand under the wrong identity. Give every "
                "machine the same version, or start the run again if a file was edited meanwhile."
            )

    def _check_files(self, job: Job) -> None:
        """Refuse to read other files than those that the result would be recorded under."""
        from bench.engine.contents import contents

        for reading in job.readings.values():
            try:
                same = contents([Path(path) for path in reading.paths]) == reading.digest
            except UserError as error:
                raise UnfitError(f"Host '{socket.gethostname()}': {error}") from error
            if not same:
                raise UnfitError(
                    f"Host '{socket.gethostname()}': '{reading.paths[0]}' ({reading.option}) does "
                    "not hold what it held when the run was planned: it has been changed, or this "
                    "machine has another copy. Give every machine the same files and start the run "
                    "again."
                )


# ---------------------------------------------------------------- the process
_pools: tuple[int, Any] = (0, None)
"""Modules that were loaded when libraries with threads were last looked for, and what was found."""


def _limit_threads(threads: int) -> None:
    """Torch, BLAS and OpenMP: they decide speed and the order of sums, hence the last digits."""
    global _pools  # noqa: PLW0603  looking for libraries takes milliseconds, a bundle as few
    import torch
    from threadpoolctl import ThreadpoolController

    torch.set_num_threads(threads)
    if _pools[0] != len(sys.modules):
        _pools = (len(sys.modules), ThreadpoolController())
    _pools[1].limit(limits=threads)


def _begin(job: Job) -> None:
    """Make a job independent of those that this process ran before.

    Global generators of random numbers start from the job's identity, and the largest memory is
    measured anew.
    """
    import numpy
    import torch

    seed = zlib.crc32(job.node.encode())
    random.seed(seed)
    numpy.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    with suppress(OSError):
        largest = os.open("/proc/self/clear_refs", os.O_WRONLY)
        os.write(largest, b"5")
        os.close(largest)


def share_memory(gpus: float) -> None:
    """Keep to the granted share of a GPU's memory."""
    import torch

    if gpus and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(min(1.0, gpus), 0)


def give_back() -> None:
    """Return memory of a GPU that is not in use to those who share it."""
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()
        torch.cuda.empty_cache()


def env_of(bundle: Bundle) -> dict[str, Any]:
    """Facts of this process with the device that was granted to a bundle."""
    from bench.engine.environment import environment

    device = "cuda:0" if bundle.resources.num_gpus else "cpu"
    return environment(device, bundle.resources.num_cpus)
