"""Machines of a cluster: where a worker fits, and which machines are left out."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contract import UserError
from bench.engine.backends.machines import FIRST_PAUSE_S, STRIKES, Machine, Machines
from bench.engine.backends.ray_cluster import Watch
from bench.engine.settings import Resources

ONE = Resources(num_cpus=1, num_gpus=0)
TWO = Resources(num_cpus=2, num_gpus=0)
HALF = Resources(num_cpus=1, num_gpus=0.5)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_request_must_fit_one_machine() -> None:
    machines = Machines()
    machines.seen([Machine("a", "a", 1, 0), Machine("b", "b", 1, 0)])
    assert machines.obstacle(ONE) is None
    reason = machines.obstacle(TWO)
    assert reason is not None and "2 CPUs" in reason and "max_workers" in reason
    machines.seen([Machine("a", "a", 1, 0), Machine("c", "c", 2, 1)])
    assert machines.obstacle(TWO) is None
    assert machines.get("b") is None


def test_work_without_gpus_keeps_away_from_machines_that_have_some() -> None:
    machines = Machines()
    machines.seen([Machine("gpu", "gpu", 8, 1), Machine("cpu", "cpu", 1, 0)])
    first = machines.place(ONE)
    assert first is not None and first.id == "cpu"
    first.take(ONE)
    second = machines.place(ONE)
    assert second is not None and second.id == "gpu"


@given(st.lists(st.tuples(st.sampled_from([ONE, TWO, HALF]), st.booleans()), max_size=40))
def test_no_machine_is_ever_given_more_than_it_has(steps) -> None:
    machines = Machines()
    machines.seen([Machine("a", "a", 3, 1), Machine("b", "b", 2, 0)])
    held = []
    for asked, gives_back in steps:
        if gives_back and held:
            machine, what = held.pop()
            machine.take(what, -1)
        else:
            place = machines.place(asked)
            if place is not None:
                place.take(asked)
                held.append((place, asked))
        for machine in machines.all():
            assert machine.used_cpus <= machine.cpus
            assert machine.used_gpus <= machine.gpus
    for machine, what in held:
        machine.take(what, -1)
    assert all(m.used_cpus == 0 and abs(m.used_gpus) < 1e-9 for m in machines.all())


def test_a_machine_that_fails_is_left_out_longer_each_time_and_comes_back() -> None:
    clock = Clock()
    machines = Machines(clock)
    machines.seen([Machine("a", "host-a", 1, 0), Machine("b", "host-b", 1, 0)])
    for _ in range(STRIKES - 1):
        machines.failed("a", "it has other code")
    machines.worked("a")
    assert machines.left_out() == {}
    for _ in range(STRIKES):
        machines.failed("a", "it has other code")
    assert machines.left_out() == {"host-a": "it has other code"}
    assert [machine.id for machine in machines.usable()] == ["b"]
    clock.now += FIRST_PAUSE_S
    assert machines.left_out() == {}
    machines.failed("a", "it still has")  # one try, not three
    assert machines.left_out() == {"host-a": "it still has"}
    clock.now += FIRST_PAUSE_S
    assert machines.left_out() != {}
    clock.now += FIRST_PAUSE_S
    machines.worked("a")
    machines.failed("a", "once")
    assert machines.left_out() == {}
    machines.failed("gone", "a machine that is no longer there")


def test_a_head_that_was_replaced_ends_the_run_and_one_that_is_late_does_not() -> None:
    answers: list[Any] = ["another one is asked in vain", "RPC error: WrongClusterID: restarted"]
    node = SimpleNamespace(
        state=0, ALIVE=0, node_manager_hostname="a", resources_total={"CPU": 2.0, "memory": 1.0}
    )
    gone = SimpleNamespace(**vars(node) | {"state": 1})

    def get_all_node_info(timeout: float) -> Any:
        if answers and started:
            raise RuntimeError(answers.pop(0))
        return {b"\x0a": node, b"\x0b": gone}

    started: list[bool] = []
    worker = SimpleNamespace(gcs_client=SimpleNamespace(get_all_node_info=get_all_node_info))
    private = SimpleNamespace(worker=SimpleNamespace(global_worker=worker))
    watch = Watch(SimpleNamespace(_private=private), "head:6379")
    assert watch.machines() == [Machine("0a", "a", 2.0, 0.0)]
    started.append(True)
    watch.start()
    until = time.monotonic() + 20
    while len(answers) == 2 and time.monotonic() < until:
        time.sleep(0.02)
    assert watch.machines()
    while answers and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.1)
    with pytest.raises(UserError, match="head:6379"):
        watch.machines()
    watch.stop()
