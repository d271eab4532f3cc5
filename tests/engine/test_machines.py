"""Machines of a cluster: where a worker fits, and which machines are left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.engine.backends.machines import FIRST_PAUSE_S, STRIKES, Machine, Machines
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
