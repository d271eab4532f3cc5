from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch

from bench.contract import UserError
from bench.engine.seal import DamagedError
from bench.engine.stages.result import Result, encode
from bench.engine.store import Store, read

RECORD = {"output": {"a": 1}, "identity": {"config": {"c": 2}}}


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path)
    result = Result({"a": 1}, {"t": torch.arange(3.0)}, {"p.png": b"picture"})
    store.put("attack", "k", RECORD, encode(result))
    back = read(store.path("attack", "k"))
    assert back.output == {"a": 1}
    assert torch.equal(back.tensors["t"], torch.arange(3.0))
    assert (store.path("attack", "k") / "p.png").read_bytes() == b"picture"
    assert store.ids("attack") == {"k"}


def test_written_once_and_never_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.put("attack", "k", RECORD, {})
    store.put("attack", "k", {**RECORD, "output": {"a": 9}}, {})
    assert store.record("attack", "k")["output"] == {"a": 1}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bench.engine.store.os.fsync", full)
    with pytest.raises(UserError, match=r"No space left on device.*free some space"):
        store.put("attack", "other", RECORD, {"x": b"y"})
    assert store.ids("attack") == {"k"}
    assert [p.name for p in (tmp_path / "attack").iterdir()] == ["k"]


def test_failures_are_kept_attempt_by_attempt(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.failure("attack", "k") is None
    for n in range(11):
        store.put_failure("attack", "k", {"n": n})
    assert store.failure("attack", "k") == {"n": 10}
    assert len(list((tmp_path / "failed" / "attack" / "k").iterdir())) == 11
    assert store.failures("attack") == {"k"}


def test_newer_store_and_unwritable_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "store.json").write_text(json.dumps({"version": 99}))
    with pytest.raises(UserError, match="has version 99, this program reads up to 2"):
        Store(tmp_path / "new")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be used"):
        Store(tmp_path / "file")


def test_a_result_that_is_not_what_was_written_counts_as_not_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    files = encode(Result({}, {"t": torch.arange(3.0)}, {"p.png": b"picture"}))

    def put(key: str) -> Path:
        store.put("attack", key, RECORD, files)
        assert store.intact("attack", key)
        return store.path("attack", key)

    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    (put("torn") / "record.json").write_text("{")
    (put("gone") / "record.json").unlink()
    edited = put("edited") / "record.json"
    edited.write_text(edited.read_text().replace('"a": 1', '"a": 2'))
    for key in ("torn", "gone", "edited"):
        assert store.record("attack", key) is None
        assert store.path("attack", key) / "record.json" in store.faults
        with pytest.raises(DamagedError):
            read(store.path("attack", key))

    flip(put("tensors") / "tensors.safetensors")
    with pytest.raises(DamagedError, match=r"tensors\.safetensors"):
        read(store.path("attack", "tensors"))
    flip(put("picture") / "p.png")
    assert store.file("attack", "picture", "p.png") is None
    (put("lost") / "p.png").unlink()
    assert store.record("attack", "lost") is not None
    assert not store.intact("attack", "lost")

    # Another result's folder, whole and sealed, is still another result.
    put("here").rename(store.path("attack", "there"))
    assert store.record("attack", "there") is None


def test_what_is_set_aside_is_kept_with_the_reason(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("attack", "k", RECORD, {"p.png": b"picture"})
    new = store.set_aside(store.path("attack", "k"), "it was flipped")
    assert not store.has("attack", "k")
    assert (new / "p.png").read_bytes() == b"picture"
    note = json.loads(new.with_name(f"{new.name}.json").read_text())
    assert (note["was"], note["reason"]) == ("attack/k", "it was flipped")
    store.put("attack", "k", RECORD, {})
    assert store.intact("attack", "k")


def test_torn_failures_and_manifests_stop_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_failure("attack", "k", {"n": 1})
    store.put_failure("attack", "k", {"n": 2})
    (tmp_path / "failed" / "attack" / "k" / "2.json").write_text('{"n":')
    assert store.failure("attack", "k") == {"n": 1}
    store.put_failure("attack", "k", {"n": 3})
    assert store.failure("attack", "k") == {"n": 3}
    for name in ("a", "b"):
        store.put_execution(name, {"suite": name})
    (tmp_path / "executions" / "b.json").write_text("")
    assert [m["suite"] for m in store.executions()] == ["a"]
    with pytest.raises(UserError, match="no run of suite 'b'"):
        store.newest("b")
    assert len(store.faults) == 2


@pytest.mark.parametrize("kind", ["failure", "manifest"])
def test_a_full_disk_leaves_no_half_of_a_failure_or_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    store = Store(tmp_path)
    store.put_failure("attack", "k", {"n": 1})
    store.put_execution("a", {"suite": "a"})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("bench.engine.store.os.fsync", full)
        with pytest.raises(UserError, match="No space left on device"):
            if kind == "failure":
                store.put_failure("attack", "k", {"n": 2})
            else:
                store.put_execution("a", {"suite": "a", "state": "ended"})
    assert store.failure("attack", "k") == {"n": 1}
    assert list(store.executions()) == [{"suite": "a"}]
    assert [p.name for p in tmp_path.rglob("*") if p.name.startswith(".")] == []
    assert store.faults == {}
