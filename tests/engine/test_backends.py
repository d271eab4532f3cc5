"""Back ends on this machine: what ends a job, what ends a worker, and what is shared out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.engine.backends import local, slot
from bench.engine.backends.local import InProcess, Isolated
from bench.engine.messages import Backend, Bundle, Returned
from bench.engine.settings import LocalBackend, Resources
from tests.engine.jobs import ONE_CPU, Folder, bundle, chain, statuses, table

Opened = Callable[..., Isolated]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "blobs")


@pytest.fixture
def opened(folder: Folder) -> Iterator[Opened]:
    backends: list[Isolated] = []

    def make(**options: object) -> Isolated:
        settings = {"name": "local", "isolate": True, "num_cpus": 2, **options}
        backends.append(Isolated(LocalBackend.model_validate(settings), folder))
        return backends[-1]

    yield make
    for backend in backends:
        backend.close()


def back(backend: Backend, *bundles: Bundle, within_s: float = 240.0) -> list[Returned]:
    """Submit bundles and wait for all of them."""
    for one in bundles:
        backend.submit(one)
    returned: list[Returned] = []
    until = time.monotonic() + within_s
    while len(returned) < len(bundles) and time.monotonic() < until:
        returned += backend.poll(1.0)
    return sorted(returned, key=lambda r: r.bundle)


def test_both_give_the_same(opened: Opened, folder: Folder, toy_words, toy_conf: Path) -> None:
    jobs = chain(toy_words("seeds=1"), toy_conf)
    (here,) = back(InProcess(folder), bundle(*jobs))
    (there,) = back(opened(), bundle(*jobs))
    assert here.lost is there.lost is None
    assert statuses(here.results) == statuses(there.results) == {j.node: "done" for j in jobs}
    for node, done in here.results.items():
        assert done.files == there.results[node].files
        assert done.env | {"peak_rss_mb": 0} == there.results[node].env | {"peak_rss_mb": 0}


def test_a_job_that_is_to_blame_does_not_end_the_others(opened: Opened) -> None:
    does = ["work", "exit", "leave", "segv", "hang", "stop", "raise", "work"]
    jobs = [table(str(i), d, timeout_s=0.7) for i, d in enumerate(does)]  # type: ignore[arg-type]
    (returned,) = back(opened(), bundle(*jobs))
    assert returned.lost is None
    assert list(statuses(returned.results).values()) == [
        "done",
        "failed",
        "crashed",
        "crashed",
        "timeout",
        "timeout",
        "failed",
        "done",
    ]
    for node in "345":
        done = returned.results[node]
        assert done.failure is not None and done.env["device"] == "cpu"
    assert "SIGSEGV" in str(returned.results["3"].failure)
    assert 0.7 <= returned.results["4"].seconds < 5
    assert "timeout_s.data" in str(returned.results["4"].failure)


def test_a_group_that_crashes_is_run_one_by_one(opened: Opened) -> None:
    jobs = [table("a"), table("b", "leave"), table("c")]
    (returned,) = back(opened(), bundle(*jobs, groups=(("a", "b", "c"),)))
    assert statuses(returned.results) == {"a": "done", "b": "crashed", "c": "done"}


@pytest.mark.parametrize("grown", [False, True])
def test_who_is_killed_from_outside_is_lost_unless_memory_ran_out(
    opened: Opened, monkeypatch, grown: bool
) -> None:
    counts = iter(range(100))
    monkeypatch.setattr(slot, "oom_kills", lambda: (next(counts) if grown else 0,))
    jobs = [table("a"), table("b", "kill"), table("c")]
    (returned,) = back(opened(), bundle(*jobs))
    if grown:
        assert statuses(returned.results) == {"a": "done", "b": "oom", "c": "done"}
        assert returned.lost is None
    else:
        assert statuses(returned.results) == {"a": "done"}
        assert returned.begun == "b"
        assert "SIGKILL" in str(returned.lost)


@pytest.mark.slow
def test_workers_that_start_workers_may_be_killed(opened: Opened) -> None:
    backend = opened()
    back(backend, bundle(table("a")))
    backend.submit(bundle(table("b", "hang"), id=2))
    time.sleep(0.3)
    process = local._ZYGOTE._process
    assert process is not None
    process.kill()
    (returned,) = back(backend, bundle(table("c"), id=3))[:1] or [None]
    assert returned is not None and returned.lost is not None and returned.bundle == 2
    rest = [*backend.poll(240.0)]
    assert [statuses(r.results) for r in rest] in ([{"c": "done"}], [])


def test_a_worker_is_kept_until_its_memory_does_not_fall(opened: Opened, tmp_path: Path) -> None:
    mark = str(tmp_path / "pids")

    def pids(**options: object) -> int:
        backend = opened(num_cpus=1, **options)
        for does in ("grow", "work", "work"):
            back(backend, bundle(table("n", does, mark=mark)))  # type: ignore[arg-type]
        found = Path(mark).read_text().split()
        Path(mark).unlink()
        return len(set(found))

    assert pids() == 1
    assert pids(worker_memory_gb=0.6) == 2


def test_what_was_stopped_still_gives_what_had_ended(opened: Opened, tmp_path: Path) -> None:
    backend = opened()
    mark = tmp_path / "pids"
    for number in (1, 2):
        hangs = table("b", "hang", mark=str(mark))
        backend.submit(bundle(table("a"), hangs, id=number))
    assert backend.room(ONE_CPU) == 0
    until = time.monotonic() + 240
    while time.monotonic() < until and not (mark.exists() and len(mark.read_text().split()) == 2):
        assert not backend.poll(0.1)
    started = time.monotonic()
    backend.close()
    assert time.monotonic() - started < 5
    for returned in backend.poll(0.0):
        assert returned.lost and returned.begun == "b"
        assert statuses(returned.results) == {"a": "done"}


def test_in_process_ctrl_c_reaches_the_driver(folder: Folder, monkeypatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    backend = InProcess(folder)
    backend.submit(bundle(table("a"), table("b")))
    monkeypatch.setattr("bench.engine.stages.run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        backend.poll(0.0)
    (returned,) = backend.poll(0.0)
    assert returned.lost and not returned.results


def test_cpus_and_shares_of_gpus_are_given_out_once(opened: Opened, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    backend = opened(num_cpus=8, num_gpus=2)
    half = Resources(num_cpus=1, num_gpus=0.5)
    both = Resources(num_cpus=1, num_gpus=2)
    third = Resources(num_cpus=1, num_gpus=1 / 3)
    assert [backend.room(r) for r in (ONE_CPU, half, both, third)] == [8, 4, 1, 6]
    for number in range(3):
        backend.submit(bundle(table("n", "hang"), id=number, resources=third))
    assert [backend.room(r) for r in (ONE_CPU, half, both, third)] == [5, 2, 0, 3]
    assert backend.obstacle(both) is None
    assert "8 CPUs and 2 GPUs" in str(backend.obstacle(Resources(num_cpus=1, num_gpus=3)))
    assert "8 CPUs and 2 GPUs" in str(backend.obstacle(Resources(num_cpus=9, num_gpus=0)))


_DRIVER = """
import sys, time
from pathlib import Path
from bench.engine.backends.local import Isolated
from bench.engine.settings import LocalBackend
from tests.engine.jobs import Folder, bundle, table
backend = Isolated(LocalBackend(name="local", isolate=True, num_cpus=1), Folder(Path(sys.argv[1])))
backend.submit(bundle(table("n", "hang", mark=sys.argv[2])))
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_no_worker_outlives_its_driver(tmp_path: Path) -> None:
    mark = tmp_path / "pids"
    words = [sys.executable, "-c", _DRIVER, str(tmp_path), str(mark)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(words, env=environment) as driver:
        until = time.monotonic() + 240
        while not mark.exists() and time.monotonic() < until:
            time.sleep(0.1)
        worker = int(mark.read_text())
        driver.send_signal(signal.SIGKILL)
    until = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()


def test_kills_for_want_of_memory_are_counted_where_the_system_counts_them(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\nmax 3\noom 4\noom_kill 2\n")
    assert slot._count(events) == 2
    assert slot._count(tmp_path / "absent") == 0
    assert slot.oom_kills() == slot.oom_kills()
