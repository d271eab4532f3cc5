"""What a worker refuses: other code, other files and damaged parents than it was sent to read."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

import pytest

from bench.contract.likeness import differences
from bench.contract.record import ENVIRONMENT
from bench.contract.source import forget_sources
from bench.engine.config import compose_grid
from bench.engine.environment import environment
from bench.engine.graph import Reading
from bench.engine.messages import Parcel
from bench.engine.plan import make_plan
from bench.engine.store import Store
from bench.engine.worker import Job, execute


@pytest.fixture
def task(toy_words, toy_conf: Path) -> Job:
    """The first data node of the toy grid, as a driver sends it."""
    plan = make_plan(compose_grid(toy_words("seeds=1"), toy_conf))
    node = next(n for n in plan.nodes.values() if n.kind == "data")
    return Job(
        node.id,
        node.kind,
        node.payload,
        {},
        {},
        node.identity["source"],
        node.texts,
        node.readings,
        packages=("bench", "attacks", "defenses", "tests"),
    )


def test_what_was_planned_is_run(task: Job) -> None:
    done = execute(task)
    assert done.status == "done", done.failure
    assert set(ENVIRONMENT) <= set(done.env)
    assert done.env["host"] == socket.gethostname()


def test_other_code_is_refused_with_host_and_module(task: Job) -> None:
    source = {**task.source, "tests.toys": "of another version"}
    texts = {**task.texts, "tests.toys": "of another text"}
    done = execute(dataclasses.replace(task, source=source, texts=texts))
    forget_sources()
    assert done.status == "failed"
    assert done.failure is not None
    assert done.failure["type"] == "UserError"
    assert socket.gethostname() in done.failure["message"]
    assert "tests.toys" in done.failure["message"]
    assert "bench.engine.stages.data" not in done.failure["message"]


def test_another_text_of_the_same_meaning_is_run(task: Job) -> None:
    done = execute(dataclasses.replace(task, texts={**task.texts, "tests.toys": "with a comment"}))
    forget_sources()
    assert done.status == "done", done.failure


def test_a_file_that_has_changed_since_the_plan_is_refused(task: Job, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n")
    reading = Reading("dataset.table.file", (str(path),), "of other contents")
    done = execute(dataclasses.replace(task, readings={"0.file": reading}))
    assert done.failure is not None
    assert done.failure["type"] == "UserError"
    for word in (socket.gethostname(), str(path), "dataset.table.file"):
        assert word in done.failure["message"]


def test_a_damaged_parent_is_named_and_not_used(
    task: Job, toy_words, toy_conf: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    made = execute(task)
    store.put("data", task.node, {"output": made.output}, made.files)
    plan = make_plan(compose_grid(toy_words("seeds=1"), toy_conf))
    child = next(n for n in plan.nodes.values() if n.kind == "evaluator")

    def run(parcel: Parcel):
        return execute(
            Job(
                child.id,
                child.kind,
                child.payload,
                {"data": parcel},
                {"data": task.payload},
                packages=task.packages,
            )
        )

    whole = store.parcel("data", task.node)
    tensors = store.file("data", task.node, "tensors.safetensors")
    assert tensors is not None
    assert run(dataclasses.replace(whole, tensors=tensors)).status == "done"
    done = run(dataclasses.replace(whole, tensors=tensors[:-1] + bytes([tensors[-1] ^ 1])))
    assert done.status == "damaged"
    assert "tensors.safetensors" in done.damaged["data"]
    assert run(dataclasses.replace(whole, tensors=None)).status == "damaged"


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
