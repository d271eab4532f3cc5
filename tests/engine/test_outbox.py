"""One run a trial in MLflow, whoever sends, is killed or sends at the same time."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contract import UserError
from bench.engine.names import RECORD
from bench.engine.seal import sealed
from bench.engine.store import Store
from bench.engine.tracking import sink as tracking
from bench.engine.tracking import trials as tracked
from bench.engine.tracking.outbox import FILE, Outbox
from bench.engine.tracking.server import connect
from bench.engine.tracking.trials import Sent, ranked
from tests import services
from tests.engine.canned import Canned, canned, manifest, runs

# MLflow and what it imports warn on their own behalf; what is tested here is ours.
pytestmark = pytest.mark.filterwarnings("ignore")
SYNC = """
import sys
from pathlib import Path
from bench.engine.tracking import sink as tracking
from tests.engine.canned import Canned, canned, manifest
records = canned(int(sys.argv[3]))
store = Canned(Path(sys.argv[2]), records)
print(tracking.sync(store, sys.argv[1], manifest(records), None))
"""

sent = st.builds(
    Sent,
    run=st.uuids().map(lambda u: u.hex),
    trial=st.just("t"),
    status=st.sampled_from(["done", "failed", "timeout", ""]),
    created=st.sampled_from(["", "2026-01-01T00:00:00", "2026-01-02T00:00:00"]),
    start=st.integers(0, 3),
    ended=st.booleans(),
)


@given(st.lists(sent, min_size=1, unique_by=lambda s: s.run), st.randoms())
def test_everybody_keeps_the_same_run(several: list[Sent], rng: random.Random) -> None:
    best = ranked(several)[0]
    mixed = list(several)
    rng.shuffle(mixed)
    assert ranked(mixed)[0] == best
    some = [s for s in mixed if s == best or rng.random() < 0.5]
    assert ranked(some)[0] == best, "who sees fewer keeps it too"
    assert best.status == "done" or all(s.status != "done" for s in several)


def test_an_outbox_forgets_nothing_that_it_needs_and_no_credentials(tmp_path: Path) -> None:
    uri = "https://me:hunter22@mlflow.example"
    box = Outbox(tmp_path, uri, "s")
    box.put("e1", {"a": "done 1", "b": "failed 1"})
    box.sent(["a", "b"])
    box.put("e2", {"a": "done 1", "b": "done 2", "c": "done 1"})
    assert box.waiting() == [("b", "e2"), ("c", "e2")], "what is new, or has another record"
    assert Outbox(tmp_path, uri, "other").waiting() == []
    assert Outbox(tmp_path, "https://mlflow.example2", "s").waiting() == []
    for _ in range(9):
        box.refused("b", "too long")
    assert box.waiting() == [("c", "e2")], "it waits for a sync"
    assert box.left() == (2, "too long")
    box.meet("1 1000")
    assert box.waiting() == [("c", "e2")]
    box.meet("1 2000")
    assert len(box.waiting()) == 3, "another database has nothing of all that"
    box.close()
    assert b"hunter22" not in (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(b"this is no database, and long enough to be read" * 100)
    assert Outbox(tmp_path, uri, "s").waiting() == []


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'tracking' / 'mlflow.db'}"


@pytest.fixture
def store(tmp_path: Path) -> Canned:
    return Canned(tmp_path / "store", canned(6))


@pytest.mark.slow
def test_what_a_killed_process_left_is_mended(
    store: Canned, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = manifest(store.rows)
    keys = list(store.rows)

    class Killed(BaseException):
        """Nobody catches it."""

    def dies(self: Any, execution: str, trials: Any, there: Any) -> Any:
        for record, _ in trials[:2]:
            tags = tracked._tags(record) | {"picture": "false"}
            self.client.create_run(self.id, None, tags, "torn")
        raise Killed

    monkeypatch.setattr(tracked.Experiment, "send", dies)
    with pytest.raises(Killed):
        tracking.sync(store, uri, asked, None)
    monkeypatch.undo()
    torn = runs(uri, "canned")
    assert [run.info.status for run in torn.values()] == ["RUNNING"] * 2
    assert tracking.sync(store, uri, asked, None) == len(keys)
    there = runs(uri, "canned")
    assert there.keys() == set(keys)
    assert {run.info.status for run in there.values()} == {"FINISHED"}
    assert {torn[key].info.run_id for key in torn} <= {run.info.run_id for run in there.values()}

    # Somebody else has sent one trial twice, and another one again.
    client = connect(uri)
    for key in (keys[0], keys[0], keys[1]):
        run = there[key]
        client.create_run(run.info.experiment_id, None, run.data.tags)
    assert tracking.sync(store, uri, asked, None) == 0
    again = runs(uri, "canned")
    assert {k: r.info.run_id for k, r in again.items()} == {
        k: r.info.run_id for k, r in there.items()
    }
    assert len(tracking.fetch(uri, "canned")[0]) == len(keys)

    # A failure that has been run again; a failure elsewhere does not replace a result.
    one, two = keys[:2]
    failed = {"status": "failed", "created_utc": "2027-01-01T00:00:00+00:00"}
    store.rows[one] = store.rows[one].model_copy(update=failed)
    store.rows["f" * 64] = store.rows[two].model_copy(update={**failed, "trial_id": "f" * 64})
    assert tracking.sync(store, uri, manifest(store.rows), None) == 1
    assert runs(uri, "canned")[one].data.tags["status"] == "done"
    assert runs(uri, "canned")["f" * 64].info.status == "FAILED"
    better = {"status": "done", "created_utc": "2027-01-02T00:00:00+00:00"}
    store.rows["f" * 64] = store.rows["f" * 64].model_copy(update=better)
    assert tracking.sync(store, uri, manifest(store.rows), None) == 1
    assert runs(uri, "canned")["f" * 64].info.status == "FINISHED"


@pytest.mark.slow
def test_what_the_server_refuses_keeps_nothing_else_from_being_sent(
    store: Canned, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    one = tracked.Experiment._one
    bad = list(store.rows)[2]

    def picky(self: Any, execution: str, bundle: str, record: Any, *rest: Any) -> None:
        if record.trial_id == bad:
            raise MlflowException.invalid_parameter_value("this is too long for me")
        one(self, execution, bundle, record, *rest)

    monkeypatch.setattr(tracked.Experiment, "_one", picky)
    with pytest.raises(UserError, match=r"1 trials are not sent: .*too long for me"):
        tracking.sync(store, uri, manifest(store.rows), None)
    assert runs(uri, "canned").keys() == store.rows.keys() - {bad}
    monkeypatch.undo()
    assert tracking.sync(store, uri, manifest(store.rows), None) == 1

    # An outbox that cannot be written is a sentence as well.
    (store.root / FILE).unlink()
    (store.root / FILE).mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        tracking.sync(store, uri, manifest(store.rows), None)


@pytest.mark.slow
@pytest.mark.parametrize("ended", [True, False])
def test_a_trial_that_somebody_else_sends_at_the_same_time_is_not_refused(
    store: Canned, uri: str, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    fill, rivals = tracked.Experiment._fill, []

    def overtaken(self: Any, run: str, record: Any, *rest: Any) -> None:
        if not rivals:
            rival, own = tracked.Experiment(uri, "canned"), self.client.get_run(run)
            tags = own.data.tags
            earlier = rival.client.create_run(rival.id, own.info.start_time - 1000, tags)
            rivals.append(earlier.info.run_id)
            if ended:
                fill(rival, rivals[0], record, *rest)
            assert rival.trials()[record.trial_id].run == rivals[0], "it deletes the other one"
        fill(self, run, record, *rest)

    monkeypatch.setattr(tracked.Experiment, "_fill", overtaken)
    tracking.sync(store, uri, manifest(store.rows), None)
    there = runs(uri, "canned")
    assert there.keys() == store.rows.keys()
    assert {run.info.status for run in there.values()} == {"FINISHED"}
    assert rivals[0] in {run.info.run_id for run in there.values()}
    assert len(tracking.fetch(uri, "canned")[0]) == len(store.rows)


@pytest.mark.slow
def test_uploads_of_before_are_read_and_not_repeated(
    store: Canned, uri: str, tmp_path: Path
) -> None:
    client = connect(uri)
    experiment = client.create_experiment("canned", (tmp_path / "artifacts").as_uri())
    for key, record in store.rows.items():
        tags = {"kind": "trial", "trial_id": key, "picture": "false"}
        run = client.create_run(experiment, tags=tags).info.run_id
        client.log_text(run, sealed(f"mlflow/{key}", record.model_dump(), {}).decode(), RECORD)
        client.set_tag(run, "status", record.status)
        client.set_terminated(run)
    assert tracking.sync(store, uri, manifest(store.rows), None) == 0
    records, _, _ = tracking.fetch(uri, "canned")
    assert {r.trial_id: r for r in records} == store.rows


def filled(root: Path, count: int) -> Store:
    """A real store that has canned trials."""
    store = Store(root)
    for key, record in canned(count).items():
        store.put("trial", key, record.model_dump(), {})
    return store


@pytest.mark.slow
def test_a_server_that_comes_back_is_used_in_the_same_run(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, records = filled(tmp_path / "real", 5), canned(5)
    asked, real, away = manifest(records), tracking.Experiment, ["away", "away"]

    def opened(*arguments: Any) -> Any:
        if away:
            raise ConnectionError(away.pop())
        return real(*arguments)

    monkeypatch.setattr(tracking, "Experiment", opened)
    sink = tracking.BackgroundSink(uri, "canned", asked, store)
    for record in records.values():
        sink.trial(record.trial_id, record.status, fresh=True)
    until = time.monotonic() + 60
    while not sink.problem and time.monotonic() < until:
        time.sleep(0.01)
    assert sink.problem == "away"
    while sink.problem and time.monotonic() < until:
        time.sleep(0.05)
    sink.close(asked, None)
    assert (sink.problem, sink.written) == (None, 5)
    assert runs(uri, "canned").keys() == records.keys()
    # The next run asks for the same trials and sends none of them.
    again = tracking.BackgroundSink(uri, "canned", asked, store)
    for record in records.values():
        again.trial(record.trial_id, record.status, fresh=False)
    again.close(asked, None)
    assert (again.problem, again.written) == (None, 0)


def test_a_run_that_was_stopped_does_not_wait_for_a_server_that_says_nothing(
    tmp_path: Path,
) -> None:
    store, records = filled(tmp_path, 2), canned(2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        uri = f"http://127.0.0.1:{mute.getsockname()[1]}"
        sink = tracking.BackgroundSink(uri, "canned", manifest(records), store)
        for record in records.values():
            sink.trial(record.trial_id, record.status, fresh=True)
        begun = time.monotonic()
        sink.close(manifest(records) | {"state": "interrupted"}, None)
        assert time.monotonic() - begun < 10
        assert sink.problem


def at_once(uri: str, roots: list[Path], count: int) -> list[int]:
    """What each of several processes has written that sync the same trials at the same time."""
    words = [sys.executable, "-W", "ignore", "-c", SYNC, uri]
    started = [
        subprocess.Popen(
            [*words, str(root), str(count)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for root in roots
    ]
    ended = [(*process.communicate(timeout=300), process.returncode) for process in started]
    assert all(code == 0 for *_, code in ended), [error for _, error, _ in ended]
    return [int(out) for out, *_ in ended]


@pytest.mark.slow
def test_two_syncs_at_once_end_well_on_sqlite(tmp_path: Path, uri: str) -> None:
    # One store: the second sends what the first has not.
    assert sum(at_once(uri, [tmp_path / "one", tmp_path / "one"], 24)) == 24
    assert len(runs(uri, "canned")) == 24
    # Two stores with the same trials know nothing of each other.
    other = f"sqlite:///{tmp_path / 'other' / 'mlflow.db'}"
    at_once(other, [tmp_path / "two", tmp_path / "three"], 24)
    there = runs(other, "canned")
    assert len(there) == 24
    assert {run.info.status for run in there.values()} == {"FINISHED"}
    assert len(tracking.fetch(other, "canned")[0]) == 24


def wait_for(uri: str, count: int) -> None:
    """Wait until MLflow has so many trials of the suite."""
    client = connect(uri)
    until = time.monotonic() + 120
    while time.monotonic() < until:
        experiment = client.get_experiment_by_name("canned")
        where = "tags.kind = 'trial'"
        if experiment and len(client.search_runs([experiment.experiment_id], where)) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"not {count} trials within two minutes")


@pytest.mark.slow
@pytest.mark.skipif(bool(services.missing()), reason=services.missing() or "it is there")
def test_a_server_on_postgresql_is_killed_and_nothing_is_lost_or_double(tmp_path: Path) -> None:
    count = 50
    store, records = filled(tmp_path / "real", count), canned(count)
    asked = manifest(records)
    with services.Cluster() as cluster, services.Server(cluster.uri("mlflow")) as server:
        sink = tracking.BackgroundSink(server.uri, "canned", asked, store)
        keys = list(records)
        for begin, end, break_it, mend_it in (
            (0, 20, server.kill, server.start),
            (20, 40, cluster.kill, cluster.start),
        ):
            for key in keys[begin:end]:
                sink.trial(key, records[key].status, fresh=True)
            wait_for(server.uri, begin + 2)
            break_it()
            time.sleep(1.0)
            mend_it()
        for key in keys[40:]:
            sink.trial(key, records[key].status, fresh=True)
        sink.close(asked, None)
        assert sink.problem is None
        there = runs(server.uri, "canned")
        assert there.keys() == records.keys()
        assert all(run.info.status != "RUNNING" for run in there.values())
        assert {r.trial_id: r for r in tracking.fetch(server.uri, "canned")[0]} == records

        # Two stores with more trials at once: what both have sent is mended by both.
        at_once(server.uri, [tmp_path / "two", tmp_path / "three"], count + 20)
        there = runs(server.uri, "canned")
        assert len(there) == count + 20
        assert all(run.info.status != "RUNNING" for run in there.values())
        assert len(tracking.fetch(server.uri, "canned")[0]) == count + 20
