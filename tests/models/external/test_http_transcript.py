"""The transcript by itself: claims, budget, rate and counts."""

from __future__ import annotations

import copy
import multiprocessing
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bench.models.external.http import owners
from bench.models.external.http.transcript import Answer, BudgetSpent, Transcript

ONE, TWO = (b"1" * 16, 0), (b"2" * 16, 0)


def opened(path: Path, **more: object) -> Transcript:
    return Transcript(path / "t.db", endpoint="e", place="p", **more)  # type: ignore[arg-type]


def test_answers_are_kept_for_each_endpoint_and_occurrence(tmp_path: Path) -> None:
    file = opened(tmp_path)
    answers = [Answer(np.array([0.1, 0.9]), "a"), Answer(label=3)]
    assert file.claim([ONE, TWO]) == ({}, [ONE, TWO])
    file.keep([ONE, TWO], answers)
    known = opened(tmp_path).known([ONE, TWO, (ONE[0], 1)])
    assert set(known) == {ONE, TWO}
    np.testing.assert_array_equal(known[ONE].scores, [0.1, 0.9])
    assert (known[ONE].label, known[TWO].label, known[TWO].scores) == ("a", 3, None)
    assert Transcript(tmp_path / "t.db", endpoint="other").known([ONE]) == {}


def test_many_records_are_looked_up(tmp_path: Path) -> None:
    asked = [(b"%016d" % number, 0) for number in range(3000)]
    file = opened(tmp_path)
    file.keep(asked, [Answer(label=1)] * 3000)
    assert len(file.known(asked)) == 3000


def test_a_claim_is_held_until_it_is_released_or_dead(tmp_path: Path) -> None:
    file, other = opened(tmp_path, lease_s=0.15), opened(tmp_path)
    assert file.claim([ONE])[1] == [ONE]
    assert other.claim([ONE, TWO]) == ({}, [TWO])
    file.release()
    assert other.claim([ONE])[1] == [ONE]
    other.release()
    assert file.claim([ONE])[1] == [ONE]
    time.sleep(0.2)
    assert other.claim([ONE])[1] == [ONE]
    file.wait(1)
    assert not file.holds(ONE)


def _claim(path: Path) -> None:
    opened(path).claim([ONE])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_claim_of_a_process_that_is_gone_is_dead(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_claim, args=(tmp_path,))
    process.start()
    process.join()
    assert opened(tmp_path).claim([ONE])[1] == [ONE]
    assert owners.alive("elsewhere|1|x")
    assert owners.alive(owners.new())


def test_the_budget_is_all_or_nothing_and_given_back(tmp_path: Path) -> None:
    file = opened(tmp_path, budget=5)
    file.spend(3)
    with pytest.raises(BudgetSpent) as caught:
        file.spend(3)
    for error in (caught.value, copy.copy(caught.value)):
        assert (error.sent, error.limit, error.left) == (3, 5, 2)
    file.refund(1)
    file.spend(3)
    assert opened(tmp_path).counts()["sent"] == 5
    # Whoever may send more says so himself; another place has a budget of its own.
    opened(tmp_path, budget=6).spend(1)
    Transcript(tmp_path / "t.db", place="q", budget=1).spend(1)
    assert Transcript(tmp_path / "t.db").counts()["sent"] == 7


def test_the_rate_is_shared_and_everybody_waits_when_told_to(tmp_path: Path) -> None:
    file, other = opened(tmp_path, rate_per_s=50.0), opened(tmp_path, rate_per_s=50.0)
    assert file.wait(5) == 0
    assert 0.05 < other.wait(1) <= 0.1
    file.hold(0.2)
    assert 0.15 < other.wait(1) <= 0.2
    assert file.counts()["waited"] > 0.2


def test_who_already_waits_is_held_too(tmp_path: Path) -> None:
    file, other = opened(tmp_path, rate_per_s=10.0), opened(tmp_path, rate_per_s=10.0)
    file.wait(1)
    start = time.monotonic()
    threading.Timer(0.03, file.hold, [0.4]).start()
    assert other.wait(1) > 0.3
    assert time.monotonic() - start > 0.4
    assert file.counts()["waited"] > 0.3
