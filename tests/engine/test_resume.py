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
from bench.engine.store.process import gone

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


def _started(words: list[str], conf: Path, enough: int) -> subprocess.Popen[bytes]:
    """``invbench run`` in a process of its own, as soon as so much is recorded."""
    code = "from bench.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", "--config-dir", str(conf), *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    (store,) = [Path(word.partition("=")[2]) for word in words if word.startswith("store=")]
    deadline = time.monotonic() + 120
    while len(_recorded(store)) < enough and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be stopped"
        time.sleep(0.05)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_killed_driver_loses_and_repeats_nothing_recorded(
    toy_words, toy_conf: Path, tmp_path: Path, backend: str
) -> None:
    words = toy_words(*SLOW, backend=backend)
    if backend == "ray":
        words.append("backend.num_cpus=2")
    store = tmp_path / "store"
    process = _started(words, toy_conf, 14)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (left,) = Store(store).executions()
    assert left["state"] == "running"
    assert gone(left["driver"]), "status says that it is dead"
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


@pytest.mark.slow
def test_a_polite_kill_ends_a_run_with_a_report_and_a_true_account(
    toy_words, toy_conf: Path, tmp_path: Path
) -> None:
    words = toy_words(*SLOW, "backend.isolate=true", "backend.num_cpus=2")
    process = _started(words, toy_conf, 12)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    (manifest,) = Store(tmp_path / "store").executions()
    assert manifest["state"] == "interrupted"
    assert manifest["wall_s"] > 0
    done = execute(*prepare(words, toy_conf), toy_conf)
    assert done.outcome.count("done") == len(done.plan.trials)
    assert sum(done.outcome.computed.values()) + sum(manifest["computed"].values()) == len(
        done.plan.nodes
    )


@pytest.mark.slow
def test_the_same_command_twice_at_once_shares_the_work(
    toy_words, toy_conf: Path, tmp_path: Path
) -> None:
    words = toy_words(*SLOW, "seeds=3")
    other = _started(words, toy_conf, 5)
    done = execute(*prepare(words, toy_conf), toy_conf)
    assert other.wait(120) == 0
    assert done.outcome.count("done") == len(done.plan.trials)
    mine, theirs = [m["computed"] for m in Store(tmp_path / "store").executions()]
    assert sum(mine.values()) + sum(theirs.values()) == len(done.plan.nodes)
