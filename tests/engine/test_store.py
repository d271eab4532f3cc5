from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch

from bench.contract import UserError
from bench.engine.stages.result import Result
from bench.engine.store import Store, encode, read

RECORD = {"output": {"a": 1}, "identity": {"config": {"c": 2}}}


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path)
    result = Result({"a": 1}, {"t": torch.arange(3.0)}, {"p.png": b"picture"})
    store.put("attack", "k", RECORD, encode(result))
    back = read(store.path("attack", "k"))
    assert back.output == {"a": 1}
    assert back.config == {"c": 2}
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
    with pytest.raises(UserError, match="has version 99, this program reads up to 1"):
        Store(tmp_path / "new")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be used"):
        Store(tmp_path / "file")


def test_unreadable_record_is_one_sentence(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("attack", "k", RECORD, {})
    (store.path("attack", "k") / "record.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        store.record("attack", "k")
