from __future__ import annotations

import gzip
import hashlib
import importlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.contract import UserError
from bench.data.fetch import MIRROR, REGISTRY, Remote, fetch
from bench.data.lock import lock_of, noted

CONF = Path(__file__).parents[2] / "conf/dataset"
BODY = bytes(range(256)) * 200
SHA256 = hashlib.sha256(BODY).hexdigest()
FILE = "some/data.bin"
KNOWN = Remote(FILE, "unused", f"sha256:{SHA256}")
UNKNOWN = Remote("some/data.tgz", "unused", None)


class Server(ThreadingHTTPServer):
    """Answers every GET with ``status`` and ``body``; ``promised`` is its Content-Length."""

    daemon_threads = True
    status, body, promised = 200, BODY, None
    asked: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(self.server.status)
        promised = self.server.promised
        self.send_header("Content-Length", str(promised or len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv(MIRROR, server.url + "/")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def files(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


class Counter:
    """A progress bar that counts."""

    total = 0
    seen = 0

    def update(self, n: int) -> None:
        self.seen += n

    def reset(self) -> None:
        self.seen = 0

    def close(self) -> None:
        self.closed = True


def test_a_file_is_fetched_whole(server: Server, tmp_path: Path) -> None:
    bar = Counter()
    new, sentence = fetch("some", KNOWN, tmp_path / "new root", bar)
    assert new
    assert "as expected" in sentence
    assert files(tmp_path) == ["new root/some/data.bin"]
    assert (tmp_path / "new root" / FILE).read_bytes() == BODY
    assert server.asked == [f"/{FILE}"]
    assert bar.total == bar.seen == len(BODY)


def test_a_file_that_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    fetch("some", KNOWN, tmp_path)
    assert fetch("some", KNOWN, tmp_path)[0] is False
    assert len(server.asked) == 1
    (tmp_path / FILE).write_bytes(b"mine")
    with pytest.raises(UserError, match=f"data.bin' has sha256 .* expected {SHA256}; move it away"):
        fetch("some", KNOWN, tmp_path)
    assert (tmp_path / FILE).read_bytes() == b"mine"


def test_a_wrong_hash_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.body = BODY + b"x"
    with pytest.raises(UserError, match=r"expected .*; nothing is kept of what http"):
        fetch("some", KNOWN, tmp_path)
    assert files(tmp_path) == []


@pytest.mark.parametrize("remote", [KNOWN, UNKNOWN])
def test_a_download_cut_off_leaves_nothing_and_goes_on_later(
    remote: Remote, server: Server, tmp_path: Path
) -> None:
    whole = BODY if remote is KNOWN else gzip.compress(BODY)
    server.body, server.promised = whole[:100], len(whole)
    with pytest.raises(UserError, match=r"broke off .* run the command again. Nothing is kept"):
        fetch("some", remote, tmp_path)
    assert files(tmp_path) == []
    server.body = whole
    assert fetch("some", remote, tmp_path)[0]
    assert (tmp_path / remote.file).read_bytes() == whole


def test_an_http_error_is_a_sentence(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(UserError, match=r"the server answers 404 Not Found; .*Nothing is kept"):
        fetch("some", KNOWN, tmp_path)
    assert files(tmp_path) == []


def test_no_network_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(MIRROR, "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(UserError, match=r"the connection failed .*check the network"):
        fetch("some", KNOWN, tmp_path)
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_a_sentence(server: Server, tmp_path: Path) -> None:
    (tmp_path / "some").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot be written .*data_root=FOLDER"):
        fetch("some", KNOWN, tmp_path)


def test_the_first_fetch_is_trusted_and_noted(server: Server, tmp_path: Path) -> None:
    server.body = gzip.compress(BODY)
    path = tmp_path / UNKNOWN.file
    sha256 = hashlib.sha256(server.body).hexdigest()
    _, sentence = fetch("some", UNKNOWN, tmp_path)
    assert "trusted on first use" in sentence
    assert noted(path) == sha256
    assert lock_of(path).read_text() == f"{sha256}  data.tgz\n"

    path.unlink()
    server.body = gzip.compress(BODY + b"x")
    with pytest.raises(UserError, match=f"expected {sha256}"):
        fetch("some", UNKNOWN, tmp_path)
    assert files(tmp_path) == ["some/data.tgz.sha256"]


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", gzip.compress(BODY)[:200], b""])
def test_what_is_no_archive_is_not_trusted(body: bytes, server: Server, tmp_path: Path) -> None:
    server.body = body
    with pytest.raises(UserError, match=r"is no whole \.tgz archive"):
        fetch("some", UNKNOWN, tmp_path)
    assert files(tmp_path) == []


def test_leading_lines_are_left_out(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"1,2\n3,4\n"
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    remote = Remote(FILE, f"{server.url}/published", digest, skip=1)
    server.body = data
    fetch("some", remote, tmp_path / "mirrored")
    monkeypatch.delenv(MIRROR)
    server.body = b"|title\n" + data
    fetch("some", remote, tmp_path / "published")
    assert server.asked == [f"/{FILE}", "/published"]
    assert all((tmp_path / at / FILE).read_bytes() == data for at in ("mirrored", "published"))


def test_the_published_address_stands_without_a_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MIRROR, raising=False)
    assert all(r.address == r.url for remotes in REGISTRY.values() for r in remotes)
    monkeypatch.setenv(MIRROR, "http://mirror/data")
    assert REGISTRY["movielens"][0].address == "http://mirror/data/movielens/ml-latest-small.zip"


@pytest.mark.parametrize("name", REGISTRY)
def test_an_entry_is_what_its_loader_reads(name: str, tmp_path: Path) -> None:
    """All files in place, the loader misses nothing and finds another copy's hash."""
    path = CONF / f"{name}.yaml"
    if not path.exists():
        pytest.skip(f"there is no dataset option '{name}'")
    options = yaml.safe_load(path.read_text(encoding="utf-8"))[name]
    where, _, kind = options.pop("_target_").rpartition(".")
    data = getattr(importlib.import_module(where), kind)(**options)
    for remote in REGISTRY[name]:
        assert remote.url.startswith("https://")
        kind, _, value = (remote.digest or f"sha256:{'0' * 64}").partition(":")
        assert len(value) == {"sha256": 64, "md5": 32}[kind]
        assert data.missing(tmp_path) is not None
        (tmp_path / remote.file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / remote.file).write_bytes(b"nothing like it")
    assert data.missing(tmp_path) is None
    with pytest.raises(UserError):
        data.load(0, tmp_path)
