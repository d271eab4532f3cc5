from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.contract import UserError
from bench.engine.driving.losses import Losses
from bench.engine.graph import KINDS
from bench.engine.messages import Bundle, Done, Returned
from bench.engine.settings import Infrastructure, Resources
from bench.engine.store import Store
from tests.engine.ready_made import Canned, all_done, done, drive, failed, grid_of

GONE = Returned(0, {}, lost="the machine is gone")


def test_a_lost_node_waits_twice_as_long_each_time_and_not_for_ever() -> None:
    now = [0.0]
    rules = Infrastructure(losses=5, first_wait_s=1, most_wait_s=4)
    losses = Losses(rules, clock=lambda: now[0])
    waits = []
    for _ in range(5):
        assert losses.lost(7)
        begun = now[0]
        while not losses.due():
            now[0] += 0.5
        waits.append(now[0] - begun)
    assert waits == [1, 2, 4, 4, 4]
    assert not losses.lost(7)
    assert losses.often(7) == 6
    assert losses.lost(8)


def test_losses_cost_no_trial_its_result_and_are_counted_beside(tmp_path: Path) -> None:
    times: Counter[str] = Counter()

    def answer(bundle: Bundle) -> Returned:
        first = bundle.jobs[0].node
        times[first] += 1
        if times[first] <= 4:
            return Returned(bundle.id, {}, begun=first, lost="the machine is gone")
        return all_done(bundle)

    outcome = drive(grid_of(1, 2, 2), tmp_path, Canned(answer=answer), retries=0)
    assert outcome.count("done") == 4
    assert outcome.state == "ended"
    assert outcome.losses["the machine is gone"] >= 4
    store = Store(tmp_path)
    assert not store.failures("attack") | store.failures("target") | store.failures("trial")
    assert {store.record("attack", key)["attempt"] for key in store.ids("attack")} == {1}


def test_what_is_lost_again_and_again_is_left_open_and_said(tmp_path: Path) -> None:
    plan = grid_of(1, 2, 2)
    (bad, *_) = [n for n in plan.nodes.values() if n.kind == "target"]

    def answer(bundle: Bundle) -> Returned:
        if bad.id in [job.node for job in bundle.jobs]:
            return Returned(bundle.id, {}, begun=bad.id, lost="the machine is gone")
        return all_done(bundle)

    outcome = drive(plan, tmp_path, Canned(answer=answer))
    assert outcome.count("done") == len(outcome.statuses) == 2
    assert outcome.left_open == {f"target {bad.label}": "the machine is gone"}
    assert outcome.losses == {"the machine is gone": 6}
    assert not Store(tmp_path).failures("trial"), "no record says that it failed"
    assert drive(plan, tmp_path, Canned()).count("done") == 4


def test_a_machine_that_cannot_run_what_was_planned_is_no_result(tmp_path: Path) -> None:
    times = 0

    def answer(bundle: Bundle) -> Returned:
        nonlocal times
        times += 1
        if times % 2:
            failure = {"type": "UserError", "message": f"host has other code (h{times % 4})"}
            unfit = {job.node: Done("unfit", failure=failure) for job in bundle.jobs}
            return Returned(bundle.id, unfit, host=f"h{times % 4}")
        return all_done(bundle)

    outcome = drive(grid_of(1, 1, 2), tmp_path / "a", Canned(answer=answer))
    assert outcome.count("done") == 2

    def never(bundle: Bundle) -> Returned:
        failure = {"type": "UserError", "message": "host has other code"}
        unfit = {job.node: Done("unfit", failure=failure) for job in bundle.jobs}
        return Returned(bundle.id, unfit, host="h")

    outcome = drive(grid_of(1, 1, 2), tmp_path / "b", Canned(answer=never))
    assert outcome.statuses == {}
    assert outcome.losses == {"host has other code": 3}, "the same machine says it thrice"


def test_jobs_that_did_not_come_to_run_are_sent_again_free_of_charge(tmp_path: Path) -> None:
    def answer(bundle: Bundle) -> Returned:
        first = bundle.jobs[0]
        return Returned(bundle.id, {first.node: done(first)})

    history = {"attack data/guess": 0.01, "attack toy0": 0.01, "evaluator evaluator": 0.01}
    outcome = drive(grid_of(1, 2, 4), tmp_path, Canned(answer=answer), history=history)
    assert outcome.count("done") == 8
    assert not outcome.losses


@pytest.mark.parametrize(("share", "grants"), [(0.25, [0.25, 0.5, 1.0, 1.0]), (1.0, [1.0, 1.0])])
def test_out_of_memory_asks_for_a_larger_share_before_it_is_final(
    tmp_path: Path, share: float, grants: Sequence[float]
) -> None:
    asked: list[float] = []

    def answer(bundle: Bundle) -> Returned:
        if bundle.jobs[0].kind != "target":
            return all_done(bundle)
        asked.append(bundle.resources.num_gpus)
        return Returned(bundle.id, {bundle.jobs[0].node: failed("oom")})

    none = Resources(num_cpus=1, num_gpus=0)
    resources = {"default": none, "target": Resources(num_cpus=1, num_gpus=share)}
    backend = Canned(answer=answer)
    outcome = drive(
        grid_of(1, 1, 1), tmp_path, backend, resources=resources, retries=1 if share == 1 else 3
    )
    assert asked == grants
    assert outcome.count("skipped") == 1


def test_a_request_that_no_machine_can_meet_is_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    backend = Canned(why="the back end has 2 CPUs and 0 GPUs")
    with pytest.raises(UserError, match=r"resources.attack.*8 CPUs.*has 2 CPUs and 0 GPUs"):
        drive(
            grid_of(1, 1, 1),
            tmp_path,
            backend,
            resources={"default": Resources(num_cpus=8, num_gpus=0)},
        )
    assert not backend.sent


def test_a_run_that_no_machine_has_room_for_stops_as_stalled(tmp_path: Path) -> None:
    backend = Canned()

    def answer(bundle: Bundle) -> Returned:
        if len(backend.sent) >= 4:
            backend.slots_, backend.why = 0, "no machine is left"
        return all_done(bundle)

    backend.answer = answer
    plan = grid_of(1, 2, 2)
    outcome = drive(plan, tmp_path, backend)
    assert outcome.state == "stalled"
    assert "no machine is left" in outcome.reason
    assert sum(outcome.computed.values()) == len(backend.sent)
    assert drive(plan, tmp_path, Canned()).count("done") == 4


def test_a_back_end_that_fails_ends_the_run_in_a_sentence(tmp_path: Path) -> None:
    backend = Canned()

    def answer(bundle: Bundle) -> Returned:
        if len(backend.sent) >= 5:
            raise RuntimeError("the GCS does not answer")
        return all_done(bundle)

    backend.answer = answer
    plan = grid_of(1, 2, 2)
    outcome = drive(plan, tmp_path, backend)
    assert outcome.state == "broken"
    assert "the GCS does not answer" in outcome.reason
    again = drive(plan, tmp_path, Canned())
    assert again.count("done") == 4
    assert sum(again.computed.values()) + sum(outcome.computed.values()) == len(plan.nodes)


def test_an_interrupt_keeps_what_had_ended_of_a_bundle_and_counts_no_loss(tmp_path: Path) -> None:
    plan = grid_of(1, 2, 4)
    history = {"attack data/guess": 0.01, "attack toy0": 0.01, "attack toy1": 0.01}
    backend = Canned()
    stopped: list[int] = []

    def answer(bundle: Bundle) -> Returned:
        if len(bundle.jobs) < 2 and not stopped:
            return all_done(bundle)
        stopped.append(bundle.id)
        if len(stopped) == 1:
            backend.running.append(bundle)
            raise KeyboardInterrupt
        first = bundle.jobs[0]
        return Returned(bundle.id, {first.node: done(first)}, lost="it was stopped")

    backend.answer = answer
    outcome = drive(plan, tmp_path, backend, history={**history, "attack": 0.01, "target": 0.01})
    assert outcome.interrupted
    assert not outcome.losses
    recorded = sum(len(Store(tmp_path).ids(kind)) for kind in KINDS)
    assert sum(outcome.computed.values()) == recorded < len(plan.nodes)
    again = drive(plan, tmp_path, Canned())
    assert again.count("done") == 8
    assert sum(again.computed.values()) + recorded == len(plan.nodes)
