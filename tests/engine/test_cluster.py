"""Clusters: who may enter, on which addresses they listen, and what is refused."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from bench.contract import UserError
from bench.engine import cluster, membership


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.setenv(name, "")  # whatever the test sets is taken back
        monkeypatch.delenv(name)
    return tmp_path


def test_a_token_is_made_once_for_its_owner_alone() -> None:
    path = cluster.default_token()
    cluster.make_token(path)
    token = path.read_text()
    cluster.make_token(path)
    assert path.read_text() == token
    assert len(token) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    cluster.check_token(path)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_token_that_others_can_read_is_refused_with_what_to_do(mode: int) -> None:
    path = cluster.default_token()
    cluster.make_token(path)
    path.chmod(mode)
    for refuses in (lambda: cluster.check_token(path), lambda: cluster.show_token(True)):
        with pytest.raises(UserError, match="chmod 600"):
            refuses()
    assert "RAY_AUTH_MODE" not in os.environ
    cluster.show_token(False)  # nobody is shown it


def test_a_token_that_is_not_there_is_refused_where_one_is_needed(home: Path) -> None:
    with pytest.raises(UserError, match="--token-file"):
        membership.join("10.0.0.5:1", "10.0.0.6", home / "nothing")
    cluster.show_token(True)
    assert os.environ["RAY_AUTH_MODE"] == "disabled"  # the cluster says that one is missing


@pytest.mark.parametrize("asks", [True, False])
def test_a_token_is_shown_to_a_cluster_that_asks_for_one(asks: bool) -> None:
    cluster.make_token(cluster.default_token())
    cluster.show_token(asks)
    assert os.environ["RAY_AUTH_MODE"] == ("token" if asks else "disabled")


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("10.0.0.5", False),
        ("0.0.0.0", False),
        ("head.example", False),
        ("127.0.0.1.evil.example", False),
    ],
)
def test_loopback(host: str, alone: bool) -> None:
    assert cluster.loopback(host) is alone


@pytest.mark.parametrize(
    ("hosts", "opened", "allowed", "refused"),
    [
        (["127.0.0.1"], True, False, False),
        (["127.0.0.1", "10.0.0.5"], True, False, True),  # named by loopback, reached from outside
        (["10.0.0.5"], True, False, True),
        (["10.0.0.5"], True, True, False),
        (["10.0.0.5"], False, False, False),
    ],
)
def test_an_open_cluster_that_others_reach_is_refused(
    hosts: list[str], opened: bool, allowed: bool, refused: bool
) -> None:
    if not refused:
        cluster.check_closed("HEAD:1", hosts, opened, allowed)
        return
    with pytest.raises(UserError, match=r"10\.0\.0\.5.*open_cluster=true"):
        cluster.check_closed("HEAD:1", hosts, opened, allowed)


def test_addresses_are_checked_before_ray_is_asked() -> None:
    assert cluster.own_address("127.0.0.1") == "127.0.0.1"
    for name in ("no-such-interface", "203.0.113.7"):
        with pytest.raises(UserError, match=name):
            cluster.own_address(name)
    for address in ("127.0.0.1", ":6379", "head:port"):
        with pytest.raises(UserError, match="HOST:PORT"):
            cluster.split(address)
    with pytest.raises(UserError, match="Nobody answers"):
        cluster.towards("127.0.0.1", 1)


@pytest.mark.ray
@pytest.mark.slow
def test_our_cluster_asks_for_a_token_listens_on_loopback_and_ends() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, token = f"127.0.0.1:{port}", cluster.default_token()
    membership.start("127.0.0.1", port, token, cpus=1)
    try:
        assert cluster.is_open(address) is False
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
            route.connect(("192.0.2.1", 9))  # sends nothing: it only chooses an address
            outside = route.getsockname()[0]
        if not cluster.loopback(outside):
            with pytest.raises(UserError, match="Nobody answers"):
                cluster.towards(outside, port)
        with pytest.raises(UserError, match="--interface"):
            membership.join(address, "127.0.0.1", token)
    finally:
        assert membership.stop() == [address]
    with pytest.raises(UserError, match="Nobody answers"):
        cluster.towards("127.0.0.1", port)
