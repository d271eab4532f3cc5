"""Whatever is done to a store in whatever order, and wherever it is damaged or killed."""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import UserError
from bench.engine.store import FAULTS, SMALL, Store, opening

KEYS = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "fail", "remove", "aside", "beat"]), KEYS, st.integers(0, 9)),
    min_size=1,
    max_size=5,
)
BATCHES = st.lists(st.tuples(STEPS, st.sampled_from(["ends", "raises", "killed"])), max_size=5)


def _do(store: Store, step: tuple[str, str, int]) -> None:
    what, key, number = step
    if what == "put":
        store.put("attack", key, {"n": number}, {"f": bytes([number]), "g": bytes(SMALL + number)})
    elif what == "fail":
        store.put_failure("attack", key, {"n": number})
    elif what == "remove":
        store.remove("attack", key)
    elif what == "aside":
        store.set_aside("attack", key, "a test")
    else:
        store.put_execution(key, {"suite": "s", "name": key})
        store.beat(key, {"n": number})


def _model(held: dict[str, Any], step: tuple[str, str, int]) -> None:
    """The same in a dictionary."""
    what, key, number = step
    if what == "put":
        held.setdefault(f"attack/{key}", number)
    elif what == "fail":
        held[f"failed/{key}"] = [*held.get(f"failed/{key}", ()), number]
    elif what in ("remove", "aside"):
        held.pop(f"attack/{key}", None)
    else:
        held[f"executions/{key}"] = number


def _held(store: Store) -> dict[str, Any]:
    held: dict[str, Any] = {}
    for key, record in store.records("attack", sorted(store.ids("attack"))):
        held[f"attack/{key}"] = record["n"]
        assert store.file("attack", key, "f") == bytes([record["n"]])
        assert store.file("attack", key, "g") == bytes(SMALL + record["n"])
    for key in store.failures("attack"):
        held[f"failed/{key}"] = [attempt["n"] for attempt in store.attempts("attack", key)]
    held |= {f"executions/{m['name']}": m["n"] for m in store.executions()}
    assert store.faults == {}
    return held


def _in_child(work: Callable[[], None]) -> None:
    """Call something in a process that is killed after it."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


@settings(max_examples=25, deadline=None)
@given(batches=BATCHES)
def test_a_batch_is_there_whole_or_not_at_all(
    batches: list[tuple[list[tuple[str, str, int]], str]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, held = Store(Path(folder)), {}
        for steps, end in batches:

            def work(steps: list[tuple[str, str, int]] = steps, end: str = end) -> None:
                with store.batch():
                    for step in steps:
                        _do(store, step)
                    if end == "killed":
                        os.kill(os.getpid(), signal.SIGKILL)
                    if end == "raises":
                        raise KeyError

            if end == "ends":
                work()
                for step in steps:
                    _model(held, step)
            elif end == "raises":
                with pytest.raises(KeyError):
                    work()
            else:
                _in_child(work)
            assert _held(store) == held
        store.close()
        assert _held(Store(Path(folder))) == held


def test_what_a_killed_process_has_written_is_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _in_child(lambda: _do(store, ("put", "a", 1)))
    assert _held(store) == {"attack/a": 1}


# ---------------------------------------------------------------- flipped bytes
COUNT = 60


def _fill(store: Store, keys: list[str]) -> None:
    """What a run does: make all that is not there or damaged."""
    for key in keys:
        if store.record("trial", key) is None or store.file("trial", key, "p.png") is None:
            if store.has("trial", key):
                store.set_aside("trial", key, "damaged")
            with store.batch():
                store.put("trial", key, _record(key), {"p.png": key.encode() * 20})


def _record(key: str) -> dict[str, Any]:
    return {"key": key, "pad": key * random.Random(key).randrange(1, 60), "label": key}


def _key(number: int) -> str:
    return f"{number * 2654435761 % 2**32:08x}"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str, list[str]]:
    """The bytes of a database in order, its mark, and what it has of trials."""
    root = tmp_path_factory.mktemp("sound")
    store, keys = Store(root), [_key(number) for number in range(COUNT)]
    _fill(store, keys)
    for key in keys[::4]:
        store.put_failure("trial", key, {"n": key})
    store.put_execution("e", {"suite": "s", "name": "e"})
    store.beat("e", {"state": "ended"})
    store.close()
    return (root / "store.sqlite").read_bytes(), (root / "store.json").read_text(), keys


def _flipped(sound: tuple[bytes, str, list[str]], places: list[tuple[float, int]]) -> int:
    """Flip bits of a copy, read all, make again what is lost, and read all again.

    Returns:
        How many results were lost.
    """
    data, mark, keys = bytearray(sound[0]), sound[1], sound[2]
    for place, bit in places:
        data[int(place * (len(data) - 1))] ^= 1 << bit
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "store.sqlite").write_bytes(data)
        (root / "store.json").write_text(mark)
        store = Store(root)
        shown = dict(store.records("trial", keys))
        assert all(record == _record(key) for key, record in shown.items())
        assert all(store.file("trial", k, "p.png") in (None, k.encode() * 20) for k in keys)
        assert all(f["n"] == k for k, f in store.latest_failures("trial", keys).items())
        assert list(store.executions()) in (
            [{"suite": "s", "name": "e", "state": "ended"}],
            [{"suite": "s", "name": "e"}],
            [],
        )
        database = None
        while database != store.database:  # what was lost when it was mended is made as well
            database = store.database
            _fill(store, keys)
        store.close()
        again = Store(root)
        assert dict(again.records("trial", keys)) == {key: _record(key) for key in keys}
        assert {*keys} <= again.ids("trial")
        assert all(again.intact("trial", key) for key in keys)
        again.close()
    FAULTS.clear()
    return len(keys) - len(shown)


@settings(max_examples=50, deadline=None)
@given(places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 7)), min_size=1, max_size=4))
def test_flipped_bits_show_nothing_wrong_and_lose_little(
    sound: tuple[bytes, str, list[str]], places: list[tuple[float, int]]
) -> None:
    _flipped(sound, places)


@pytest.mark.parametrize("place", range(0, 100, 3))
def test_flipped_bits_in_the_head_lose_nothing(
    sound: tuple[bytes, str, list[str]], place: int
) -> None:
    lost = _flipped(sound, [(place / (len(sound[0]) - 1) + 1e-9, place % 8)])
    assert lost == 0


@pytest.mark.parametrize("size", [0, 50, 5000, 20_000, 60_000])
def test_a_database_that_was_cut_short_is_made_whole(
    sound: tuple[bytes, str, list[str]], size: int
) -> None:
    assert len(sound[0]) > size
    _flipped((sound[0][:size] or b"\0", sound[1], sound[2]), [])


def test_a_database_that_is_mended_while_others_have_it_open_serves_them_all(
    tmp_path: Path,
) -> None:
    one, two = Store(tmp_path), Store(tmp_path)
    one.put("trial", "a", {"n": 1}, {})
    assert two.has("trial", "a")
    one.mend("a test")
    two.put("trial", "b", {"n": 2}, {"f": b"f"})
    with two.batch():
        two.put("trial", "c", {"n": 3}, {})
        one_sees = one.ids("trial")
    assert one_sees == {"a", "b"} and one.ids("trial") == {"a", "b", "c"}
    assert one.intact("trial", "b") and opening.marked(tmp_path).database == "store-2.sqlite"  # type: ignore[union-attr]


def test_damage_found_in_the_middle_of_a_batch_costs_nothing_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keys = [_key(number) for number in range(300)]
    with store.batch():
        for key in keys:
            store.put("trial", key, _record(key), {})
    store.close()
    path = tmp_path / "store.sqlite"
    data = bytearray(path.read_bytes())
    for start in range(2 * opening.PAGE, len(data), 3 * opening.PAGE):
        data[start : start + 16] = bytes(16)
    path.write_bytes(data)
    with store.batch():
        for number in range(1000, 1300):
            store.put("trial", _key(number), _record(_key(number)), {})
    new = [_key(number) for number in range(1000, 1300)]
    assert dict(Store(tmp_path).records("trial", new)) == {key: _record(key) for key in new}


def test_a_store_damaged_beyond_mending_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.put("trial", "a", {}, {})
    store.close()
    (tmp_path / "store.sqlite").write_bytes(b"no database" * 1000)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("bench.engine.store.opening.os.fsync", full)
        with pytest.raises(UserError, match=r"damaged.*cannot be mended"):
            store.ids("trial")
    assert store.ids("trial") == set()
    assert json.loads((tmp_path / "store.json").read_text())["database"] == "store-2.sqlite"
