from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.cli import main
from bench.data import fetch
from bench.data.fetch import Remote
from bench.data.shokri import Location30, Purchase100
from tests.data import archives
from tests.data.test_table import CARD, loans, table

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def invbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``invbench data``; its exit code, output and errors."""

    monkeypatch.delenv("INVBENCH_DATA_ROOT", raising=False)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["invbench", "data", *words])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served in place of the published addresses."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv(fetch.MIRROR, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield folder
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def location30(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A small Location-30 on the mirror, its hash in the registry; the override that accepts it."""
    x, y = archives.bits(300, Location30.width, Location30.classes)
    path = archives.tgz(mirror / Location30.file, {Location30.member: archives.rows(x, y)})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    remote = Remote(Location30.file, "https://nowhere.invalid", f"sha256:{digest}")
    monkeypatch.setattr(fetch, "REGISTRY", {**fetch.REGISTRY, "location30": (remote,)})
    return f"dataset.location30.sha256={digest}"


def test_fetch_list_verify(invbench: Call, location30: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    words = ("location30", f"data_root={root}", location30)
    code, out, _ = invbench("list", "--plain", *words)
    assert code == 0
    assert out.splitlines()[1].split("\t")[:3] == ["location30", "missing", "-"]
    assert "invbench data fetch location30" in out

    code, out, err = invbench("fetch", *words)
    assert (code, err) == (0, "")
    assert out.startswith(f"location30: '{root / Location30.file}' fetched from http://127.0.0.1")

    code, out, _ = invbench("fetch", *words)
    assert code == 0
    assert "is there, hash as expected" in out

    name, state, size, terms, _ = invbench("list", "--plain", *words)[1].splitlines()[1].split("\t")
    assert (name, state) == ("location30", "present")
    assert size.endswith("kB")
    assert terms == Location30.terms

    code, out, _ = invbench("verify", *words)
    assert code == 0
    assert out.startswith("ok    location30: 300 records, as expected")

    (root / Location30.file).write_bytes(b"other")
    code, out, _ = invbench("verify", *words)
    assert code == 1
    assert out.startswith("FAIL  location30: Data set 'location30': file ")
    code, _, err = invbench("fetch", *words)
    assert code == 2
    assert "move it away" in err


def test_purchase100_is_trusted_on_first_use(invbench: Call, mirror: Path, tmp_path: Path) -> None:
    x, y = archives.bits(1000, Purchase100.width, Purchase100.classes)
    archives.tgz(mirror / Purchase100.file, {Purchase100.member: archives.rows(x, y)})
    words = ("purchase100", f"data_root={tmp_path}", "dataset.purchase100.records=1000")
    code, out, _ = invbench("fetch", *words)
    assert code == 0
    assert "trusted on first use (none is published)" in out
    code, out, _ = invbench("verify", *words)
    assert code == 0
    assert "1000 records" in out
    assert "as when it was fetched" in out


def test_what_was_understood_of_a_table_is_printed(invbench: Call, tmp_path: Path) -> None:
    rows = loans().assign(note="a long text that says little " * 9)
    rows.loc[0, "illness"] = "?"
    dataset = table(tmp_path, rows, columns={**CARD["columns"], "note": "category"})
    words = ["dataset=table", f"dataset.table.card={dataset.card}"]
    words.append(f"dataset.table.file={dataset.file}")
    code, out, _ = invbench("verify", *words, f"data_root={tmp_path}")
    assert code == 0
    assert all(len(line) <= 100 for line in out.splitlines())
    for part in ("columns:", "taken as a gap", "299 records", "splits: 120 members", "headroom"):
        assert part in out
    code, out, _ = invbench("verify", *words, "--json")
    [outcome] = json.loads(out)["datasets"]
    assert code == 0
    assert outcome["understood"]["gaps"] == [
        {"column": "illness", "taken as a gap": "?", "cells": 1}
    ]
    assert outcome["facts"]["n_train"] == 120


def test_a_table_that_cannot_be_split_is_shown_before_it_fails(
    invbench: Call, tmp_path: Path
) -> None:
    rows = loans()
    rows.loc[0, "illness"] = "odd"
    dataset = table(tmp_path, rows)
    words = (f"dataset.table.card={dataset.card}", f"dataset.table.file={dataset.file}")
    code, out, _ = invbench("verify", "table", *words)
    assert code == 1
    assert "sensitive 'illness':" in out
    assert "FAIL  table: Data set 'loans' has 1 of 300 records" in out


def test_a_failure_is_a_sentence_and_exit_code_two(
    invbench: Call, mirror: Path, tmp_path: Path
) -> None:
    code, out, err = invbench("fetch", "movielens", f"data_root={tmp_path / 'data'}")
    assert (code, out) == (2, "")
    assert "the server answers 404" in err
    assert not any(p.is_file() for p in (tmp_path / "data").rglob("*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fetch", "data_root=."), "Name the data sets"),
        (("fetch", "groceries"), "data_root=FOLDER"),
        (("fetch", "grocery", "data_root=."), "Did you mean 'groceries'?"),
        (("fetch", "orl", "data_root=."), "invbench cannot fetch it; these can be fetched"),
        (("fetch", "baskets", "data_root=."), "'baskets' needs no files"),
        (("verify",), "data_root=FOLDER"),
    ],
)
def test_mistakes(words: tuple[str, ...], message: str, invbench: Call) -> None:
    code, _, err = invbench(*words)
    assert code == 2
    assert message in err


def test_every_data_set_is_listed(invbench: Call, tmp_path: Path) -> None:
    code, out, _ = invbench("list", "--plain", f"data_root={tmp_path}")
    assert code == 0
    states = dict(line.split("\t")[:2] for line in out.splitlines()[1:])
    assert states["baskets"] == "embedded"
    assert set(fetch.REGISTRY) & set(states) == {n for n in fetch.REGISTRY if n in states}
    assert all(states[name] == "missing" for name in ("orl", "purchase100", "movielens"))
    code, out, _ = invbench("list")
    assert code == 0
    assert "data_root is not set" in out


def test_verify_skips_what_is_not_there(invbench: Call, tmp_path: Path) -> None:
    assert invbench("verify", f"data_root={tmp_path}")[:2] == (0, "")
    code, out, _ = invbench("verify", "groceries", f"data_root={tmp_path}")
    assert code == 1
    assert "which is missing" in out
