from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench.contract import UserError
from bench.engine.seal import DamagedError
from bench.engine.store import FAULTS, SMALL, FileBlobs, Store
from bench.engine.store.process import gone, here

ROOT = Path(__file__).parents[2]
RECORD = {"output": {"a": 1}, "identity": {"config": {"c": 2}}}
LARGE = b"x" * (SMALL + 1)


@pytest.fixture(autouse=True)
def _no_faults_are_left() -> None:
    FAULTS.clear()


def alter(store: Store, sql: str, *values: object) -> None:
    """Change a row behind the store's back."""
    [path] = store.root.glob("store*.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(sql, values).rowcount > 0


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path)
    files = {"tensors.safetensors": LARGE, "p.png": b"picture", "none": b""}
    store.put("attack", "k", RECORD, files)
    again = Store(tmp_path)
    assert again.record("attack", "k") == RECORD
    assert {name: again.file("attack", "k", name) for name in files} == files
    assert again.file("attack", "k", "other") is None
    assert again.ids("attack") == {"k"} and again.kinds() == ["attack"]
    assert again.has("attack", "k") and not again.has("data", "k")
    assert again.intact("attack", "k") and not again.intact("attack", "other")
    assert len(list(again.blobs)) == 1


def test_a_text_is_stored_as_it_is_and_a_blob_is_not_written_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    blob = FileBlobs(tmp_path).put(LARGE)
    store.put("attack", "k", json.dumps(RECORD), {"t": blob})
    assert store.record("attack", "k") == RECORD
    assert store.file("attack", "k", "t") == LARGE
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.put("attack", "nan", {"a": float("nan")}, {})
    assert store.ids("attack") == {"k"}


def test_many_records_come_in_the_order_they_were_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keys = [f"{n:04}" for n in range(1200)]
    with store.batch():
        for key in keys:
            store.put("trial", key, {"key": key, "label": f"l{key}", "seconds": 2}, {})
    asked = [*reversed(keys), "absent"]
    assert [(k, r["key"]) for k, r in store.records("trial", asked)] == [
        (k, k) for k in reversed(keys)
    ]
    assert len(list(store.seconds("trial", 1000))) == 1000
    assert ("l0007", 2.0) in list(store.seconds("trial", 2000))


def test_a_parcel_has_small_tensors_and_names_large_ones(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("data", "small", RECORD, {"tensors.safetensors": b"few"})
    store.put("data", "large", RECORD, {"tensors.safetensors": LARGE})
    store.put("data", "none", RECORD, {})
    small, large, none = (store.parcel("data", key) for key in ("small", "large", "none"))
    assert (small.place, small.output, small.tensors) == ("data/small", {"a": 1}, b"few")
    assert large.tensors is None and store.blobs.get(large.digest or "") == LARGE
    assert none.digest is None
    with pytest.raises(DamagedError):
        store.parcel("data", "absent")


def test_written_once_and_a_batch_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("attack", "k", RECORD, {})
    store.put("attack", "k", {**RECORD, "output": {"a": 9}}, {})
    assert store.record("attack", "k") == RECORD
    with pytest.raises(KeyError), store.batch():
        store.put("attack", "other", RECORD, {"x": b"y"})
        with store.batch():
            store.put_failure("attack", "third", {"n": 1})
        assert store.has("attack", "other")
        assert not Store(tmp_path).has("attack", "other")
        raise KeyError
    assert store.ids("attack") == {"k"} and store.failures("attack") == set()
    store.remove("attack", "k")
    assert not store.has("attack", "k")


def test_failures_are_kept_attempt_by_attempt(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.failure("attack", "k") is None
    for n in range(11):
        store.put_failure("attack", "k", {"n": n})
    store.put_failure("attack", "j", {"n": 5})
    assert store.failure("attack", "k") == {"n": 10}
    assert store.attempts("attack", "k") == [{"n": n} for n in range(11)]
    assert store.failures("attack") == {"j", "k"}
    assert store.latest_failures("attack", ["j", "k", "l"]) == {"j": {"n": 5}, "k": {"n": 10}}


def test_newer_store_and_unwritable_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    mark = {"version": 99, "uuid": "", "database": "a"}
    (tmp_path / "new" / "store.json").write_text(json.dumps(mark))
    with pytest.raises(UserError, match="has version 99, this program reads up to 3"):
        Store(tmp_path / "new")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be used"):
        Store(tmp_path / "file")


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE results SET record=replace(record, '1', '2') WHERE key='k'",
        "UPDATE results SET record='{' WHERE key='k'",
        "UPDATE results SET record=7 WHERE key='k'",
        "UPDATE results SET files='{}' WHERE key='k'",
        "UPDATE results SET record=(SELECT record FROM results WHERE key='j'), "
        "seal=(SELECT seal FROM results WHERE key='j') WHERE key='k'",
    ],
)
def test_a_row_that_is_not_what_was_written_counts_as_not_there(tmp_path: Path, sql: str) -> None:
    store = Store(tmp_path)
    store.put("attack", "k", RECORD, {"p.png": b"picture"})
    store.put("attack", "j", {"output": {}}, {"p.png": b"picture"})
    alter(store, sql)
    assert store.record("attack", "k") is None
    assert list(store.faults) == ["attack/k"] and list(FAULTS) == [tmp_path / "attack/k"]
    assert store.file("attack", "k", "p.png") is None and not store.intact("attack", "k")
    with pytest.raises(DamagedError):
        store.parcel("attack", "k")
    lies = store.set_aside("attack", "k", "it was edited")
    assert (lies / "record.json").exists()
    note = json.loads(lies.with_name(f"{lies.name}.json").read_text())
    assert (note["was"], note["reason"]) == ("attack/k", "it was edited")
    assert store.faults == {} and FAULTS == {} and not store.has("attack", "k")
    store.put("attack", "k", RECORD, {"p.png": b"picture"})
    assert store.intact("attack", "k") and store.intact("attack", "j")


def test_what_is_damaged_is_replaced_by_the_same_result(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("attack", "k", RECORD, {})
    alter(store, "UPDATE results SET record='{}'")
    store.put("attack", "k", RECORD, {})
    assert store.intact("attack", "k") and store.faults == {}


def test_damaged_files_are_named_and_made_good_by_writing_them_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    files = {"large": LARGE, "small": b"picture"}
    store.put("attack", "k", RECORD, files)
    alter(store, "UPDATE files SET data=x'00'")
    [path] = store.blobs
    path.write_bytes(LARGE[:-1])
    assert store.file("attack", "k", "large") is None
    assert store.file("attack", "k", "small") is None
    assert set(store.faults) == {"attack/k/large", "attack/k/small"}
    assert store.record("attack", "k") == RECORD and not store.intact("attack", "k")
    lies = store.set_aside("attack", "k", "flipped")
    assert (lies / "large").read_bytes() == LARGE[:-1]
    store.put("attack", "k", RECORD, files)
    assert store.intact("attack", "k") and store.faults == {}
    path.unlink()
    with pytest.raises(DamagedError, match="cannot be read"):
        store.blobs.get(store.parcel("attack", "k").digest or path.parent.name + path.name)


def test_damaged_failures_and_manifests_stop_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_failure("attack", "k", {"n": 1})
    store.put_failure("attack", "k", {"n": 2})
    alter(store, "UPDATE failures SET record='{' WHERE number=2")
    assert store.failure("attack", "k") == {"n": 1}
    store.put_failure("attack", "k", {"n": 3})
    assert store.failure("attack", "k") == {"n": 3}
    assert store.attempts("attack", "k") == [{"n": 1}, {"n": 3}]
    for name in ("a", "b"):
        store.put_execution(name, {"suite": name, "name": name})
        store.beat(name, {"state": "running"})
    alter(store, "UPDATE executions SET manifest='' WHERE name='b'")
    alter(store, "UPDATE beats SET fields='' WHERE name='a'")
    assert list(store.executions()) == [{"suite": "a", "name": "a"}]
    with pytest.raises(UserError, match="no run of suite 'b'"):
        store.newest("b")
    assert set(store.faults) == {"failed/attack/k/2", "executions/b", "beats/a"}
    store.set_aside("failed/attack", "k/2", "torn")
    store.set_aside("executions", "b", "torn")
    assert store.attempts("attack", "k") == [{"n": 1}, {"n": 3}]
    assert set(store.faults) == {"beats/a"}


def test_a_run_is_written_once_and_its_beats_take_each_others_place(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_execution("1", {"suite": "s", "name": "1", "state": "?"})
    store.put_execution("1", {"suite": "other"})
    store.put_execution("2", {"suite": "t", "name": "2"})
    for state in ("running", "ended"):
        store.beat("1", {"state": state})
    assert [m["name"] for m in store.executions()] == ["2", "1"]
    assert store.newest("s") == {"suite": "s", "name": "1", "state": "ended"}


def test_a_full_disk_leaves_no_half_and_is_said_in_a_sentence(tmp_path: Path) -> None:
    code = """
import sys, resource, signal
from pathlib import Path
from bench.contract import UserError
from bench.engine.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store(Path(sys.argv[1]))
store.put("attack", "k", {"output": {}}, {})
store.put_failure("attack", "k", {"n": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
for put in (
    lambda n: store.put("attack", str(n), {"pad": "x" * 50_000}, {}),
    lambda n: store.put_failure("attack", "k", {"pad": "x" * 50_000}),
    lambda n: store.put("attack", str(n), {}, {"t": b"x" * 400_000}),
):
    try:
        for n in range(100):
            put(n)
    except UserError as error:
        assert "free some space" in str(error) and "What is recorded is kept" in str(error), error
    else:
        raise AssertionError("the disk was never full")
print(len(store.ids("attack")), store.failure("attack", "k")["n"])
"""
    done = _python(code, str(tmp_path))
    assert done.returncode == 0, done.stderr
    count = int(done.stdout.split()[0])
    store = Store(tmp_path)
    assert len(store.ids("attack")) == count > 1 and store.record("attack", "k") is not None
    assert [p.name for p in tmp_path.rglob("*") if p.name.startswith(".")] == []
    assert store.faults == {}
    store.put("attack", "later", {"output": {}}, {"t": LARGE})
    assert store.intact("attack", "later")


def test_a_full_disk_leaves_no_half_of_a_blob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bench.engine.store.blobs.os.fsync", full)
    with pytest.raises(UserError, match=r"No space left on device.*free some space"):
        store.put("attack", "k", RECORD, {"t": LARGE})
    assert not store.has("attack", "k") and list(store.blobs) == []


def _python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def _write_many(root: Path, name: str) -> None:
    store = Store(root)
    for n in range(30):
        with store.batch():
            store.put("trial", f"{name}{n}", {"n": n}, {"f": name.encode()})
            store.put("trial", f"both{n}", {"n": n}, {"f": LARGE})
        store.put_failure("trial", "k", {"n": n})


def test_processes_and_threads_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ways = [context.Process(target=_write_many, args=(tmp_path, name)) for name in "ab"]
    ways += [threading.Thread(target=_write_many, args=(tmp_path, name)) for name in "cd"]  # type: ignore[list-item]
    for way in ways:
        way.start()
    for way in ways:
        way.join()
    store = Store(tmp_path)
    assert len(store.ids("trial")) == 5 * 30
    assert all(store.intact("trial", key) for key in store.ids("trial"))
    assert len(store.attempts("trial", "k")) == 4 * 30
    assert len(list(store.blobs)) == 1


def test_a_store_is_used_after_a_fork_and_after_it_was_closed_or_moved(tmp_path: Path) -> None:
    store = Store(tmp_path / "a")
    store.put("trial", "k", {"n": 1}, {})
    child = multiprocessing.get_context("fork").Process(
        target=store.put, args=("trial", "c", {}, {})
    )
    child.start()
    child.join()
    assert child.exitcode == 0 and store.ids("trial") == {"c", "k"}
    store.remove("trial", "c")
    store.close()
    assert store.ids("trial") == {"k"}
    store.close()
    (tmp_path / "a").rename(tmp_path / "b")
    assert Store(tmp_path / "b").ids("trial") == {"k"}
    assert store.ids("trial") == set()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_can_be_read(tmp_path: Path) -> None:
    root = tmp_path / "s"
    store = Store(root)
    store.put("trial", "k", {"n": 1}, {})
    store.close()
    for path in (*root.iterdir(), root):
        path.chmod(0o555 if path.is_dir() else 0o444)
    again = Store(root)
    assert again.record("trial", "k") == {"n": 1}
    with pytest.raises(UserError, match="may not be written"):
        again.put("trial", "j", {}, {})
    root.chmod(0o755)


# ---------------------------------------------------------------- plain folders
def _filled(root: Path) -> Store:
    store = Store(root)
    store.put("attack", "k", RECORD, {"tensors.safetensors": LARGE, "p.png": b"picture"})
    store.put("trial", "t", {"score": 0.5}, {"p.png": b"picture"})
    for n in range(2):
        store.put_failure("attack", "j", {"n": n})
    store.put_execution("e", {"suite": "s", "name": "e"})
    store.beat("e", {"state": "ended"})
    return store


def _whole(store: Store) -> dict[str, object]:
    return {
        **{
            f"{kind}/{key}": (
                store.record(kind, key),
                {name: store.file(kind, key, name) for name in store.files(kind, key)},
            )
            for kind in store.kinds()
            for key in store.ids(kind)
        },
        **dict(store.documents()),
    }


def test_an_export_is_plain_folders_that_are_taken_over_again(tmp_path: Path) -> None:
    store = _filled(tmp_path / "s")
    assert store.export(tmp_path / "out") == 2
    assert (tmp_path / "out/attack/k/tensors.safetensors").read_bytes() == LARGE
    assert json.loads((tmp_path / "out/trial/t/record.json").read_text())["score"] == 0.5
    with pytest.raises(UserError, match="not empty"):
        store.export(tmp_path / "out")
    with pytest.raises(UserError, match="no results of kind 'none'"):
        store.export(tmp_path / "other", ("none",))
    assert store.export(tmp_path / "one", ("trial",)) == 1
    assert {p.name for p in (tmp_path / "one").iterdir()} == {"trial", "store.json"}

    again = Store(tmp_path / "out")
    assert _whole(again) == _whole(store)
    assert {p.name for p in (tmp_path / "out/v2").iterdir()} == {
        "attack",
        "trial",
        "failed",
        "executions",
    }
    assert again.uuid != store.uuid


def test_what_is_damaged_in_folders_is_not_taken_over_and_stays(tmp_path: Path) -> None:
    _filled(tmp_path / "s").export(tmp_path / "out")
    path = tmp_path / "out/attack/k/p.png"
    path.write_bytes(b"other")
    (tmp_path / "out/failed/attack/j/2.json").write_text("{")
    (tmp_path / "out/attack/.k.1234").mkdir()
    again = Store(tmp_path / "out")
    assert again.ids("attack") == set() and again.ids("trial") == {"t"}
    assert again.failure("attack", "j") == {"n": 0}
    assert (tmp_path / "out/v2/attack/k/p.png").read_bytes() == b"other"


# ---------------------------------------------------------------- claims
def test_a_key_is_one_drivers_until_it_gives_it_up(tmp_path: Path) -> None:
    one, two = Store(tmp_path).claims("one"), Store(tmp_path).claims("two")
    one.open()
    assert one.take(["a", "b"]) == {"a", "b"} == one.take(["a", "b"])
    assert two.take(["b", "c"]) == {"c"}
    assert two.elsewhere(["a", "b", "c"]) == {"a": "one", "b": "one"}
    one.release(["b"])
    assert two.take(["b"]) == {"b"}
    assert one.elsewhere(["a", "b"]) == {"b": "two"}
    two.close()
    assert one.take(["b", "c"]) == {"b", "c"}


def test_a_dead_drivers_claims_are_taken_over_at_once(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from bench.engine.store import Store\n"
        "Store(Path(sys.argv[1])).claims('dead').take(['a']); os._exit(0)"
    )
    assert _python(code, str(tmp_path)).returncode == 0
    live = Store(tmp_path).claims("live")
    assert live.elsewhere(["a"]) == {}
    assert live.take(["a"]) == {"a"}


def test_a_distant_driver_is_dead_once_its_beats_stand_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("bench.engine.store.claims.time.monotonic", lambda: now[0])
    store = Store(tmp_path)
    far, near = store.claims("far"), Store(tmp_path).claims("near")
    far.take(["a"])
    alter(store, 'UPDATE drivers SET process=\'{"host": "elsewhere"}\'')
    assert near.take(["a"]) == set()
    now[0] = 29.0
    far.beat()
    assert near.take(["a"]) == set()
    now[0] = 58.0
    assert near.elsewhere(["a"]) == {"a": "far"}
    now[0] = 60.0
    assert near.take(["a"]) == {"a"}
    assert far.take(["a"]) == set()


def test_a_process_is_gone_only_where_that_is_certain() -> None:
    me = here()
    assert not gone(me) and json.loads(json.dumps(me)) == me
    assert gone({**me, "start": "1"}) and gone({**me, "pid": 2**22 + 1})
    assert gone({**me, "boot": "other"})
    assert not gone({**me, "host": "other", "pid": 2**22 + 1})
    assert not gone({**me, "space": "other", "pid": 2**22 + 1})
    assert not gone({})
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert gone({**me, "pid": child.pid})  # it has ended, nobody has waited for it
    child.wait()
