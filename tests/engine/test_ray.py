"""Ray: machines that join, leave, hang and differ, with simulated resources on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.engine.backends import ray as ray_backend
from bench.engine.messages import Blob, Bundle, Parcel, Returned
from bench.engine.names import TENSORS
from bench.engine.settings import RayBackend, Resources
from tests.engine.jobs import ONE_CPU, Folder, bundle, chain, statuses, table

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

HALF_GPU = Resources(num_cpus=1, num_gpus=0.5)


class Run:
    """A driver reduced to what a back end needs: submit what fits, and gather."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.returned: list[Returned] = []
        self.peak = 0

    def until(
        self,
        *bundles: Bundle,
        ready: Callable[[], bool] | None = None,
        within_s: float = 120.0,
    ) -> list[Returned]:
        """Submit bundles; go on until all have come back, or until ``ready``."""
        waiting, count = list(bundles), len(self.returned) + len(bundles)
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            if ready() if ready else len(self.returned) >= count:
                return self.returned
            self.backend.watch()
            self.backend.want(Counter(b.resources for b in waiting))
            for one in list(waiting):
                if self.backend.room(one.resources):
                    self.backend.submit(one)
                    waiting.remove(one)
            running = sum(w.bundle is not None for w in self.backend._workers)
            self.peak = max(self.peak, running)
            self.returned += self.backend.poll(0.1)
        ended = [(one.bundle, one.lost, statuses(one.results)) for one in self.returned]
        raise AssertionError(f"not within {within_s} s: {ended}\n{self._state()}")

    def _state(self) -> str:
        """What a reader needs who has no access to the machine on which it hung."""
        workers = [(w.shape, w.machine, w.hello, w.begun) for w in self.backend._workers]
        return (
            f"machines {self.backend._machines.all()}\nleft out {self.backend.left_out()}\n"
            f"workers {workers}"
        )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without CPUs that asks nobody for a token; tests add machines."""
    # Ray's sockets need a short path.
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir="/tmp") as folder:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_AUTH_MODE", "")
        # Ray gives way to everybody else by default: beside other tests nothing would start.
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        patch.setenv("HOME", folder)
        _enter_a_private_cluster(Path(folder))
        patch.setenv("RAY_AUTH_MODE", "disabled")
        from ray.cluster_utils import Cluster

        made = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        yield made
        made.shutdown()


def _enter_a_private_cluster(folder: Path) -> None:
    """Leave this process as a run before leaves it: with a token, and expecting it of others."""
    from bench.engine.backends.ray import Ray

    Ray(RayBackend(name="ray", num_cpus=1), Folder(folder), "", folder).close()


@pytest.fixture(scope="module")
def opened(cluster: Any) -> Iterator[Callable[..., Run]]:
    from bench.engine.backends.ray import Ray

    backends: list[Any] = []

    def make(**options: Any) -> Run:
        for backend in backends:  # Ray is entered once a process
            backend.close()
        backends.clear()
        words = {"name": "ray", "address": cluster.address, "open_cluster": True, "silent_s": 5}
        folder = Path(tempfile.mkdtemp())
        (folder / "store.json").write_text(json.dumps({"version": 3, "uuid": "the store"}))
        settings = RayBackend.model_validate(words | options)
        backends.append(Ray(settings, Folder(folder / "blobs"), "the store", folder))
        return Run(backends[0])

    yield make
    for backend in backends:
        started = time.monotonic()
        backend.close()
        assert time.monotonic() - started < 10


def test_a_cluster_without_cpus_grows_when_asked(cluster: Any, opened) -> None:
    run = opened()
    assert "0 CPUs" in str(run.backend.obstacle(ONE_CPU))
    run.backend.close()
    run = opened(max_workers=2)
    assert run.backend.obstacle(ONE_CPU) is None
    asked = time.monotonic()
    run.until(ready=lambda: time.monotonic() - asked > 1)
    run.backend.want(Counter({ONE_CPU: 3}))
    assert len(run.backend._workers) == 2  # waiting: this is what an autoscaler sees
    node = cluster.add_node(num_cpus=1)
    other = cluster.add_node(num_cpus=1)
    try:
        jobs = [table("a", timeout_s=5), table("b", "leave"), table("c")]
        returned = run.until(*(bundle(*jobs, id=n) for n in range(3)))
        for one in returned:
            assert statuses(one.results) == {"a": "done", "b": "crashed", "c": "done"}
            assert one.lost is None and one.host
        two = Resources(num_cpus=2, num_gpus=0)
        run.backend.close()
        run = opened()
        assert "0 and 0, 1 and 0" in str(run.backend.obstacle(two))
        assert run.backend.obstacle(ONE_CPU) is None
        assert run.backend.slots() == 2
    finally:
        cluster.remove_node(node)
        cluster.remove_node(other)


@pytest.fixture(scope="module")
def machine(cluster: Any) -> Iterator[Any]:
    """One machine with two CPUs and a GPU that is none."""
    node = cluster.add_node(num_cpus=2, num_gpus=1)
    yield node
    cluster.remove_node(node)


@pytest.fixture(scope="module")
def joined(machine: Any, opened: Callable[..., Run]) -> Run:
    return opened()


@pytest.fixture
def run(joined: Run) -> Run:
    """A back end on that machine, for all that follow."""
    joined.returned, joined.peak = [], 0
    return joined


def test_waiting_for_others_costs_no_deadline(run: Run) -> None:
    import ray

    def sleep() -> None:
        time.sleep(3)

    others = ray.remote(num_cpus=2)(sleep).remote()
    (returned,) = run.until(bundle(table("n", timeout_s=1.5)))
    assert statuses(returned.results) == {"n": "done"}
    assert returned.results["n"].seconds < 1.5
    ray.get(others)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_worker_that_is_silent_or_killed_is_lost(
    run: Run, tmp_path: Path, how: signal.Signals
) -> None:
    mark = tmp_path / "pid"
    jobs = table("a"), table("b", "wait", seed=100, mark=str(mark)), table("c")
    run.until(bundle(*jobs), ready=lambda: any(w.begun == "b" for w in run.backend._workers))
    actor = _supervisor_of(int(mark.read_text()))
    started = time.monotonic()
    os.kill(actor, how)
    try:
        (returned,) = run.until(ready=lambda: bool(run.returned))
        assert time.monotonic() - started < 15
        assert returned.lost and returned.begun == "b"
        assert statuses(returned.results) == {"a": "done"}
    finally:
        if how == signal.SIGSTOP:
            os.kill(actor, signal.SIGKILL)
    again = run.until(bundle(table("c"), id=2))[1]
    assert statuses(again.results) == {"c": "done"}


def _supervisor_of(worker: int) -> int:
    """The process of the actor, two above that of the worker."""
    for _ in range(2):
        stat = Path(f"/proc/{worker}/stat").read_text()
        worker = int(stat.rpartition(")")[2].split()[1])
    return worker


def test_shapes_make_room_for_one_another(run: Run, monkeypatch) -> None:
    monkeypatch.setattr(ray_backend, "_STARVED_S", 1.0)
    returned = run.until(
        *(bundle(table("n", "wait", seed=10), id=n, resources=HALF_GPU) for n in range(4)),
        *(bundle(table("m"), id=n, resources=ONE_CPU) for n in range(4, 6)),
    )
    assert run.peak == 2
    assert [s for r in returned for s in statuses(r.results).values()] == ["done"] * 6
    devices = {r.bundle: next(iter(r.results.values())).env["device"] for r in returned}
    assert devices == dict.fromkeys(range(4), "cuda:0") | dict.fromkeys(range(4, 6), "cpu")


def test_a_machine_that_cannot_run_what_was_planned_is_left_out(
    run: Run, toy_words, toy_conf: Path
) -> None:
    job = chain(toy_words("seeds=1"), toy_conf)[0]
    other = replace(job, texts={"tests.toys": "x"}, source={"tests.toys": "y"})
    for number in range(3):
        returned = run.until(bundle(other, id=number))
        assert statuses(returned[-1].results) == {job.node: "unfit"}
    ((_, reason),) = run.backend.left_out().items()
    assert "other code" in reason
    assert run.backend.room(ONE_CPU) == 0
    run.backend.want(Counter({ONE_CPU: 1}))
    assert not run.backend._workers
    for known in run.backend._machines.all():
        run.backend._machines.worked(known.id)
    assert not run.backend.left_out()


@pytest.mark.parametrize("sees", [True, False])
def test_a_machine_without_the_store_gets_and_returns_bytes(
    run: Run, toy_words, toy_conf: Path, sees: bool
) -> None:
    for worker in [*run.backend._workers]:
        run.backend._let_go(worker)
    uuid = "the store" if sees else "another store"
    run.backend._terms = replace(run.backend._terms, uuid=uuid)
    jobs = chain(toy_words("seeds=1"), toy_conf)
    data, rest = jobs[0], [job for job in jobs[1:] if job.kind in ("evaluator", "reference")]
    made = run.until(bundle(table("n", rows=9000), data))[0].results
    assert isinstance(made["n"].files[TENSORS], Blob) is sees
    content = made[data.node].files[TENSORS]
    assert isinstance(content, bytes)
    blob = run.backend._blobs.put(content)
    parcels = {data.node: Parcel(f"data/{data.node}", made[data.node].output, blob.digest)}
    read = run.until(bundle(*rest, id=2, parcels=parcels))[1]
    assert set(statuses(read.results).values()) == {"done"}


def test_work_is_lost_with_its_machine(cluster: Any, machine: Any, run: Run) -> None:
    node = cluster.add_node(num_cpus=4)
    run.until(ready=lambda: len(run.backend._machines.all()) == 3)
    four = Resources(num_cpus=4, num_gpus=0)
    jobs = table("a"), table("b", "hang")
    run.until(
        bundle(*jobs, resources=four),
        ready=lambda: any(w.begun == "b" for w in run.backend._workers),
    )
    cluster.remove_node(node, allow_graceful=False)
    (returned,) = run.until(ready=lambda: bool(run.returned))
    assert returned.lost and returned.begun == "b"
    assert statuses(returned.results) == {"a": "done"}
    run.until(ready=lambda: run.backend.obstacle(four) is not None)


_DRIVER = """
import json, os, signal, subprocess, sys, time
from collections import Counter
from pathlib import Path
from bench.contract import UserError
from bench.engine.backends import ray_cluster
from bench.engine.backends.ray import Ray
from bench.engine.settings import RayBackend
from tests.engine.jobs import Folder, bundle, table
ray_cluster.GONE_S = 65.0  # Ray itself would end this process after 60 s
backend = Ray(RayBackend(name="ray", num_cpus=1), Folder(Path(sys.argv[1])), "", Path(sys.argv[1]))
words = ["ps", "-axwwo", "pid=,ppid=,command="]
for line in subprocess.run(words, capture_output=True, text=True).stdout.splitlines():
    number, parent, command = line.split(None, 2)
    if "gcs_server" in command and int(parent) == os.getpid():
        os.kill(int(number), signal.SIGKILL)
try:
    while True:
        backend.watch()
        backend.want(Counter())
        backend.poll(0.1)
        time.sleep(0.1)
except UserError as error:
    print(error)
started = time.monotonic()
backend.close()
assert time.monotonic() - started < 10
"""


def test_a_run_whose_cluster_has_lost_its_head_ends_with_a_sentence(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _DRIVER, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "head of Ray cluster 'local' has not answered" in ended.stdout
