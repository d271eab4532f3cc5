"""A short chaos, and whether its judge sees what it has to see."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.engine.store import Store
from tests.chaos.judge import compare, lasting, set_aside, snapshot
from tests.chaos.lab import ROOT, becoming_root, lacking

RECORD = {
    "status": "done",
    "output": {"score": 0.5, "attack_s": 3.1, "steps": [1, 2]},
    "env": {"host": "a"},
    "created_utc": "2026-01-01T00:00:00+00:00",
}
FAILURE = {"status": "failed", "error": {"type": "ValueError", "message": "pid 7", "node": ""}}


def _expected() -> dict[str, Any]:
    return {"attack/a": lasting(RECORD), "failed/attack/b": lasting(FAILURE)}


def test_two_runs_of_the_same_thing_are_equal() -> None:
    other = copy.deepcopy(RECORD) | {"env": {"host": "b"}, "created_utc": "2036"}
    other["output"]["attack_s"] = 99.0  # type: ignore[index]
    failure = copy.deepcopy(FAILURE)
    failure["error"]["message"] = "pid 8"  # type: ignore[index]
    actual = {"attack/a": lasting(other), "failed/attack/b": lasting(failure)}
    assert compare(_expected(), actual).sentences() == []


@pytest.mark.parametrize(
    ("actual", "counts"),
    [
        ({}, (1, 0, 0, 0)),
        ({"attack/a": lasting(RECORD)}, (1, 0, 0, 0)),
        (_expected() | {"attack/a": {"status": "done", "output": {"score": 0.6}}}, (0, 0, 1, 0)),
        # A lost worker that stands as a result.
        (
            {
                "failed/attack/a": {"status": "crashed", "error": {"type": "WorkerCrashed"}},
                "failed/attack/b": lasting(FAILURE),
            },
            (0, 0, 1, 0),
        ),
        (_expected() | {"failed/attack/c": lasting(FAILURE)}, (0, 0, 1, 0)),
    ],
)
def test_what_is_lost_or_wrong_is_seen(
    actual: dict[str, Any], counts: tuple[int, int, int, int]
) -> None:
    assert tuple(compare(_expected(), actual).counts().values()) == counts


def test_a_store_is_read_with_its_failures_and_without_its_damage(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.put("attack", "a" * 32, RECORD, {})
    store.put_failure("attack", "b" * 32, FAILURE)
    read = snapshot(tmp_path / "store")
    assert read[f"attack/{'a' * 32}"] == lasting(RECORD)
    assert read[f"failed/attack/{'b' * 32}"] == lasting(FAILURE)
    assert len(read) == 2
    store.set_aside("attack", "a" * 32, "for a test")
    assert set_aside(tmp_path / "store") == {f"attack/{'a' * 32}"}
    file = tmp_path / "file"
    file.write_text("no folder")
    assert snapshot(file) == {}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.skipif(
    lacking() is not None and not becoming_root(), reason=f"no machines to break here: {lacking()}"
)
def test_a_short_chaos_leaves_nothing_lost_doubled_wrong_or_hung(tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    # A round begins until the time is up, and lasts about half a minute.
    words = ["--minutes", "1", "--seed", "1", "--attacks", "3", "--json", str(table)]
    words += ["--faults", "driver killed;machine preempted;worker's child killed"]
    played = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *words],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": "/tmp"},  # sockets have short names
        capture_output=True,
        text=True,
        check=False,
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert json.loads(table.read_text())["rounds"] >= 1
