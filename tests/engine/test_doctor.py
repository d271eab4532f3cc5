"""What a look at a whole store finds, and what mending it leaves."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

from bench.engine.doctor import Fault, affected, examine, repair
from bench.engine.store import SMALL, FileBlobs, Store
from bench.engine.tracking.outbox import Outbox

TRIALS = {"t1": "a/b/c/d/0", "t2": "a/b/c/d/1"}


def filled(root: Path) -> Store:
    store = Store(root)
    for key in ("k1", "k2", "k3"):
        files = {"t": key.encode() * SMALL, "p.png": key.encode()}
        store.put("attack", key, {"label": f"label of {key}", "output": {}}, files)
    for key in TRIALS:
        store.put("trial", key, {"cell": {"dataset": "a"}}, {})
    store.put_failure("attack", "k4", {"n": 1})
    manifest = {"name": "e", "suite": "s", "trials": TRIALS, "command": "invbench run"}
    store.put_execution("e", manifest)
    store.beat("e", {"state": "ended"})
    return store


def alter(store: Store, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(store.database)) as connection, connection:
        for sql in statements:
            assert connection.execute(sql).rowcount == 1


def looked(store: Store) -> tuple[list[Fault], int]:
    faults = list(examine(store))
    return [fault for fault in faults if fault], faults.count(None)


def test_a_store_in_order_has_no_faults(tmp_path: Path) -> None:
    assert looked(filled(tmp_path)) == ([], 5)


def test_every_kind_of_damage_is_found_set_aside_and_gone(tmp_path: Path) -> None:
    store = filled(tmp_path)
    alter(
        store,
        "UPDATE results SET record='{}' WHERE key='k1'",
        "UPDATE results SET key='../../t1' WHERE key='t1'",
        "UPDATE failures SET record='{'",
        "UPDATE beats SET fields='{'",
        "DELETE FROM files WHERE data=CAST('k2' AS BLOB)",
    )
    store.blobs.path(store.files("attack", "k3")["t"].digest).write_bytes(b"other")
    (tmp_path / "notes.txt").write_text("mine")
    old = FileBlobs(tmp_path).put(b"of no result" * SMALL)
    young = FileBlobs(tmp_path).put(b"of a run that goes on" * SMALL)
    past = time.time() - 48 * 3600
    os.utime(store.blobs.path(old.digest), (past, past))

    faults, good = looked(store)
    named = {fault.path.relative_to(tmp_path).as_posix(): fault.what for fault in faults}
    assert named == {
        "attack/k1": "bad",
        "attack/k2/p.png": "missing",
        "attack/k3/t": "bad",
        "trial/../../t1": "bad",
        "failed/attack/k4/1": "bad",
        "beats/e": "bad",
        "notes.txt": "unknown",
        store.blobs.path(old.digest).relative_to(tmp_path).as_posix(): "left over",
    }
    assert good == 1
    assert {f.label for f in faults} >= {"label of k2", "label of k3"}
    assert repair(store, faults) == len(faults)
    # Large files that no result has any more are young still, and may be of a run that goes on.
    assert looked(store) == ([], 1)
    assert store.ids("attack") == set() and store.ids("trial") == {"t2"}
    assert (store.blobs.path(young.digest)).exists()
    aside = {p.relative_to(tmp_path / "aside").parts[0] for p in (tmp_path / "aside").rglob("*")}
    assert {"attack", "trial", "failed", "beats", "blobs"} <= aside
    assert not (tmp_path.parent / "t1").exists()


def test_what_tracking_keeps_beside_a_store_is_known(tmp_path: Path) -> None:
    store = filled(tmp_path)
    outbox = Outbox(tmp_path, "sqlite:///mlflow.db", "suite")
    with outbox.sending():
        assert looked(store)[0] == []
    outbox.close()
    assert looked(store)[0] == []


def test_a_torn_database_is_found_and_built_anew(tmp_path: Path) -> None:
    store = filled(tmp_path)
    alter(store, "UPDATE meta SET value='x'")
    store.close()
    data = store.database.read_bytes()
    # The index entry of a result is another one: SQLite does not find the row any more.
    place = data.rindex(b"attackk2")
    store.database.write_bytes(data[:place] + b"attackk0" + data[place + 8 :])
    faults, _ = looked(store)
    assert [fault.path for fault in faults if fault.path == store.database] == [store.database]
    repair(store, faults)
    assert looked(store)[0] == []
    assert store.ids("attack") == {"k1", "k2", "k3"}


def test_what_will_be_made_again_is_said_run_by_run(tmp_path: Path) -> None:
    store = filled(tmp_path)
    alter(
        store,
        "UPDATE results SET record='{}' WHERE key='t1'",
        "UPDATE results SET record='{}' WHERE key='k1'",
    )
    lines = affected(store, looked(store)[0])
    assert any("1 attack results" in line for line in lines)
    assert any("1 trials of s" in line and "a/b/c/d/0" in line for line in lines)
