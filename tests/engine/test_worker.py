"""What a worker makes of a bundle, and what it refuses to run or to read."""

from __future__ import annotations

import dataclasses
import random
import socket
from pathlib import Path

import numpy
import pytest
import torch

from bench.contract.likeness import differences
from bench.contract.record import ENVIRONMENT
from bench.contract.source import forget_sources
from bench.engine import stages, worker
from bench.engine.environment import environment
from bench.engine.graph import Reading
from bench.engine.messages import Blob, Blobs, Bundle, Done, Job, Parcel
from bench.engine.names import TENSORS
from bench.engine.recent import Recent
from bench.engine.seal import digest_of
from bench.engine.stages.result import Result, decode
from bench.engine.worker import execute
from tests.engine.jobs import Folder, bundle, chain, statuses, table


def run(work: Bundle, blobs: Blobs | None = None, **more: object) -> dict[str, Done]:
    """What comes of every job, and that each was said to start before it ended."""
    results: dict[str, Done] = {}
    running: set[str] = set()

    def tell(what: str, nodes: tuple[str, ...], done: Done | None) -> None:
        if what == "started":
            running.update(nodes)
        else:
            assert done is not None and set(nodes) <= running
            results[nodes[0]] = done

    execute(work, tell, blobs, **more)  # type: ignore[arg-type]
    return results


@pytest.fixture
def jobs(toy_words, toy_conf: Path) -> tuple[Job, ...]:
    """The nodes of a toy grid, as a driver sends them."""
    return chain(toy_words("seeds=1"), toy_conf)


def test_a_bundle_reads_what_it_made_itself_and_says_where(jobs) -> None:
    results = run(bundle(*jobs))
    assert set(results) == {job.node for job in jobs}
    assert set(statuses(results).values()) == {"done"}
    for done in results.values():
        assert set(ENVIRONMENT) <= set(done.env)
        assert done.env["host"] == socket.gethostname()
        assert done.seconds > 0


def test_one_bundle_and_many_give_the_same(jobs) -> None:
    whole = run(bundle(*jobs))
    apart: dict[str, Done] = {}
    for job in reversed([*jobs]):
        parcels = {
            node: Parcel(node, whole[node].output, digest_of(data) if data else None, data)
            for node in job.parents.values()
            for data in [whole[node].files.get(TENSORS)]
        }
        apart |= run(bundle(job, parcels=parcels))
    for node, done in whole.items():
        assert {k: v for k, v in done.output.items() if not _timed(k)} == {
            k: v for k, v in apart[node].output.items() if not _timed(k)
        }
        assert done.files == apart[node].files


def _timed(name: str) -> bool:
    return name.endswith(("_s", "_ms")) or name in ("times", "budget")


def test_children_of_what_failed_are_not_run() -> None:
    bad, good = table("bad", "raise"), table("good")
    child = dataclasses.replace(good, node="child", parents={"data": "bad"})
    grandchild = dataclasses.replace(good, node="grandchild", parents={"data": "child"})
    results = run(bundle(bad, child, grandchild, good))
    assert statuses(results) == {"bad": "failed", "good": "done"}
    late = run(bundle(bad, child, good), ended={"bad": Done("crashed"), "good": results["good"]})
    assert late == {}


@pytest.mark.parametrize("does", ["exit", "raise", "shout"])
def test_whatever_a_component_raises_is_its_own_failure(does) -> None:
    results = run(bundle(table("bad", does), table("good")))
    assert statuses(results) == {"bad": "failed", "good": "done"}
    failure = results["bad"].failure
    assert failure is not None
    assert "abcdefgh" not in str(failure)
    assert len(failure["message"]) <= 2000 and 0 < len(failure["traceback"]) <= 20_000
    assert {"host", "device"} <= set(results["bad"].env)


# ---------------------------------------------------------------- refused
def test_other_code_is_refused_with_host_and_module(jobs) -> None:
    task = jobs[0]
    source = {**task.source, "tests.toys": "of another version"}
    texts = {**task.texts, "tests.toys": "of another text"}
    (done,) = run(bundle(dataclasses.replace(task, source=source, texts=texts))).values()
    forget_sources()
    assert done.status == "unfit"
    assert done.failure is not None
    assert socket.gethostname() in done.failure["message"]
    assert "tests.toys" in done.failure["message"]
    assert "bench.engine.stages.data" not in done.failure["message"]


def test_another_text_of_the_same_meaning_is_run(jobs) -> None:
    task = dataclasses.replace(jobs[0], texts={**jobs[0].texts, "tests.toys": "with a comment"})
    assert statuses(run(bundle(task))) == {task.node: "done"}
    forget_sources()


@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_is_another_here_is_refused(jobs, tmp_path: Path, there: bool) -> None:
    path = tmp_path / "table.csv"
    if there:
        path.write_text("a,b\n")
    reading = Reading("dataset.table.file", (str(path),), "of other contents")
    (done,) = run(bundle(dataclasses.replace(jobs[0], readings={"0.file": reading}))).values()
    assert done.status == "unfit"
    assert done.failure is not None
    for word in (socket.gethostname(), str(path)):
        assert word in done.failure["message"]


@pytest.mark.parametrize(
    ("does", "gpus", "there", "status"),
    [
        ("raise", 0, True, "failed"),
        ("raise", 0, False, "unfit"),  # the folder of data sets is not on this machine
        ("exit", 0, False, "failed"),
        ("work", 0, False, "done"),  # it does not need it
        ("gpu", 0.5, True, "unfit"),  # a GPU was granted and there is none
        ("gpu", 0, True, "failed"),
    ],
)
def test_what_a_machine_lacks_is_no_failure_of_the_job(
    tmp_path: Path, does, gpus: float, there: bool, status: str, monkeypatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    root = str(tmp_path if there else tmp_path / "nowhere")
    resources = worker.Bundle(0, ()).resources.model_copy(update={"num_gpus": gpus})
    (done,) = run(bundle(table("n", does), resources=resources, data_root=root)).values()
    assert done.status == status
    assert done.env["device"] == ("cuda:0" if gpus else "cpu")


# ---------------------------------------------------------------- parents
@pytest.mark.parametrize("inline", [True, False])
def test_a_damaged_parent_is_named_and_not_used(jobs, tmp_path: Path, inline: bool) -> None:
    folder = Folder(tmp_path)
    data = next(job for job in jobs if job.kind == "data")
    child = next(job for job in jobs if job.kind == "evaluator")
    made = run(bundle(data))[data.node]
    blob = folder.put(made.files[TENSORS])

    def read(content: bytes | None, digest: str) -> Done:
        worker._RECENT.__init__(2**20)  # type: ignore[misc]
        (tmp_path / digest).write_bytes(content or b"")
        parcel = Parcel(f"data/{data.node}", made.output, digest, content if inline else None)
        (done,) = run(bundle(child, parcels={data.node: parcel}), folder).values()
        return done

    whole = (tmp_path / blob.digest).read_bytes()
    assert read(whole, blob.digest).status == "done"
    torn = read(whole[:-1] + bytes([whole[-1] ^ 1]), blob.digest)
    assert torn.status == "damaged"
    assert data.node in torn.damaged["data"]


def test_what_was_not_sent_along_counts_as_damaged(jobs) -> None:
    child = next(job for job in jobs if job.kind == "evaluator")
    (node,) = child.parents.values()
    parcel = Parcel(f"data/{node}", {}, "0" * 64)
    assert statuses(run(bundle(child))) == {child.node: "damaged"}
    assert statuses(run(bundle(child, parcels={node: parcel}))) == {child.node: "damaged"}


def test_large_files_are_written_where_the_store_is_seen(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(worker, "SMALL", 100)
    folder = Folder(tmp_path)
    sent, written = run(bundle(table("n"))), run(bundle(table("n")), folder)
    blob = written["n"].files[TENSORS]
    assert isinstance(blob, Blob)
    assert folder.get(blob.digest) == sent["n"].files[TENSORS]
    folder.root = tmp_path / "file"
    folder.root.write_text("in the way")
    assert run(bundle(table("n")), folder)["n"].files == sent["n"].files


def test_a_result_that_was_written_into_is_read_again() -> None:
    recent: Recent[Result] = Recent(1000)
    result = Result({}, {"x": torch.zeros(3)})
    recent.put("key", result, result.tensors.values(), 12)
    assert recent.get("key") is result
    result.tensors["x"].add_(1)
    assert recent.get("key") is None
    for number in range(100):
        recent.put(number, Result({}, {}), (), 100)
    assert [n for n in range(100) if recent.get(n)] == list(range(90, 100))


# ---------------------------------------------------------------- groups
@pytest.mark.parametrize("fails", [False, True])
def test_a_group_is_one_program_and_alone_where_it_cannot_be(monkeypatch, fails: bool) -> None:
    asked = []

    def run_many(kind, payloads, parents, machine):
        asked.append(len(payloads))
        if fails:
            raise SystemExit(1)
        one = stages.run(kind, payloads[0], parents[0], machine)
        return [one, ValueError("alone"), *[one] * (len(payloads) - 2)]

    monkeypatch.setattr(stages, "run_many", run_many, raising=False)
    group = [table(f"g{i}", seed=7) for i in range(3)]
    work = bundle(table("first"), *group, table("last"), groups=(tuple(j.node for j in group),))
    results = run(work)
    assert asked == [3]
    expected = "done" if fails else "failed"
    assert statuses(results) == {
        "first": "done",
        "g0": "done",
        "g1": expected,
        "g2": "done",
        "last": "done",
    }
    assert decode({}, results["g0"].files[TENSORS]).tensors  # type: ignore[arg-type]
    run(work, alone=True)
    assert asked == [3]


def test_random_numbers_do_not_depend_on_what_ran_before() -> None:
    def drawn() -> tuple[float, ...]:
        worker._begin(table("n"))
        return random.random(), float(numpy.random.rand()), float(torch.rand(()))

    first = drawn()
    torch.rand(5)
    assert drawn() == first


def test_environments_are_equal_only_where_both_state_all_and_the_same() -> None:
    here = environment("cpu", 1)
    assert differences(here, dict(here)) == ()
    assert differences(here, {**here, "peak_rss_mb": 1.0}) == ()
    assert [d.partition(":")[0] for d in differences(here, {**here, "capability": "x"})] == [
        "capability"
    ]
    old = {k: v for k, v in here.items() if k != "processor"}
    assert [d.partition(":")[0] for d in differences(old, old)] == ["processor"]
    mixed = {**here, "elsewhere": {"target": {"host": "other"}}}
    assert differences(here, mixed)
    assert differences(mixed, dict(mixed)) == ()
