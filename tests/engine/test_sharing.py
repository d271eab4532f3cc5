from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from bench.engine.driving.work import RunOutcome
from bench.engine.messages import Bundle, Returned
from bench.engine.settings import Infrastructure
from bench.engine.store import Store, claims
from bench.engine.store.process import here
from tests.engine.ready_made import Canned, all_done, drive, failed, grid_of


def test_two_drivers_on_one_store_share_the_work_and_end_with_the_same(tmp_path: Path) -> None:
    plan = grid_of(2, 4, 5)
    Store(tmp_path)
    both_there = threading.Barrier(2)
    met: set[int] = set()

    def answer(bundle: Bundle) -> Returned:
        if threading.get_ident() not in met:
            met.add(threading.get_ident())
            both_there.wait(30)
        time.sleep(0.005)
        return all_done(bundle)

    backends = [Canned(slots_=1, answer=answer) for _ in range(2)]
    outcomes: list[RunOutcome] = []
    threads = [
        threading.Thread(target=lambda b=backend: outcomes.append(drive(plan, tmp_path, b)))
        for backend in backends
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcome.count("done") for outcome in outcomes] == [40, 40]
    assert outcomes[0].records == outcomes[1].records
    sent = [Counter(job.node for bundle in b.sent for job in bundle.jobs) for b in backends]
    both = sent[0] + sent[1]
    assert set(both) == set(plan.nodes)
    assert sum(both.values()) == len(plan.nodes), "nothing is computed twice"
    assert min(sum(one.values()) for one in sent) > 5, "both had work"
    assert sum(outcome.elsewhere for outcome in outcomes) > 0


def test_what_another_driver_saw_fail_has_failed_here_too(tmp_path: Path) -> None:
    plan = grid_of(1, 1, 1)
    (target,) = [n for n in plan.nodes.values() if n.kind == "target"]
    other = Store(tmp_path).claims("other")
    other.open()
    assert other.take([target.id])

    def answer(bundle: Bundle) -> Returned:
        if all(job.kind != "reference" for job in bundle.jobs):
            return all_done(bundle)
        record = {
            "status": "failed",
            "attempt": 1,
            "created_utc": "2026-01-01T00:00:00+00:00",
            "error": failed().failure,
        }
        Store(tmp_path).put_failure("target", target.id, record)
        other.release([target.id])
        return all_done(bundle)

    backend = Canned(slots_=8, answer=answer)
    outcome = drive(plan, tmp_path, backend)
    assert outcome.count("skipped") == 1
    assert target.id not in [job.node for bundle in backend.sent for job in bundle.jobs]


def test_work_of_a_driver_that_died_is_taken_over_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = grid_of(1, 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(claims, "here", lambda: {**here(), "pid": 2**22 + 1, "start": "1"})
        dead = Store(tmp_path).claims("dead")
        dead.open()
        assert dead.take(plan.nodes) == set(plan.nodes)
    begun = time.monotonic()
    assert drive(plan, tmp_path, Canned()).count("done") == 2
    assert time.monotonic() - begun < 10


def test_a_driver_waits_for_what_a_live_one_holds(tmp_path: Path) -> None:
    plan = grid_of(1, 1, 1)
    (target,) = [n for n in plan.nodes.values() if n.kind == "target"]
    store = Store(tmp_path)
    live = store.claims("live")
    live.open()
    live.take([target.id])
    backend = Canned()
    thread = threading.Timer(0.7, live.release, [[target.id]])
    thread.start()
    outcome = drive(plan, tmp_path, backend, infrastructure=Infrastructure(patience_s=0.1))
    thread.join()
    assert outcome.state == "ended"
    assert outcome.count("done") == 1
    sent = [job.node for bundle in backend.sent for job in bundle.jobs]
    assert sent.count(target.id) == 1


def test_a_node_that_keeps_its_driver_for_long_is_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LEASE_S", 0.6)
    monkeypatch.setattr(claims, "BEAT_S", 0.05)
    monkeypatch.setattr(claims, "here", lambda: {"host": "of another machine"})
    plan = grid_of(1, 1, 1)
    other = Store(tmp_path).claims("other")

    def answer(bundle: Bundle) -> Returned:
        for _ in range(6):
            assert other.take([job.node for job in bundle.jobs]) == set()
            time.sleep(0.2)
        return all_done(bundle)

    assert drive(plan, tmp_path, Canned(answer=answer)).count("done") == 1
