from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.engine.execution import execute, prepare
from bench.engine.graph import KINDS
from bench.engine.store import Store

ROOT = Path(__file__).parents[2]
SLOW = ("attack.toy.does=slow", "attack.toy_labels.does=slow")


def _recorded(root: Path) -> dict[tuple[str, str], object]:
    """What is recorded, by kind and identity."""
    store = Store(root)
    return {
        (kind, key): record
        for kind in (*KINDS, "trial")
        for key, record in store.records(kind, store.ids(kind))
    }


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_killed_driver_loses_and_repeats_nothing_recorded(
    toy_words, toy_conf: Path, tmp_path: Path, backend: str
) -> None:
    words = toy_words(*SLOW, backend=backend)
    if backend == "ray":
        words.append("backend.num_cpus=2")
    code = "from bench.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", "--config-dir", str(toy_conf), *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    store = tmp_path / "store"
    deadline = time.monotonic() + 120
    while len(_recorded(store)) < 14 and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = _recorded(store)
    assert 14 <= len(before) < 40

    done = execute(*prepare(words, toy_conf), toy_conf)
    after = _recorded(store)
    assert done.outcome.count("done") == len(done.plan.trials) == 14
    assert {place: after[place] for place in before} == before
    nodes = [key for kind, key in before if kind != "trial"]
    assert sum(done.outcome.computed.values()) == len(done.plan.nodes) - len(nodes)
    states = [m["state"] for m in Store(store).executions()]
    assert states == ["ended", "running"]
