"""A Ray cluster that a token guards: how it is started, joined and stopped, and how it is entered.

Whoever reaches a cluster that asks for no token runs code on it: Ray moves tasks and results as
pickles. What travels is not encrypted.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.contract.errors import UserError, require
from bench.contract.secrets import redacted

PORT = 6379
WRONG_TOKEN = "InvalidAuthToken"
"""What Ray says where a cluster is shown another token than its own, or none."""
_STARTS_IN_S = 120
_ENDS_IN_S = 5
_LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""With 0 Ray takes 127.0.0.1 as its own address and listens there alone, on any system."""
_PROBE = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, timeout=10)
except AuthenticationError:
    print("closed")
else:
    print("open")
"""


# ---------------------------------------------------------------- the token
def default_token() -> Path:
    """Where Ray itself looks for a token."""
    return Path.home() / ".ray" / "auth_token"


def make_token(path: Path) -> None:
    """Write a new token that this user alone can read, unless there is one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32))


def check_token(path: Path) -> None:
    """Refuse a token that others can read.

    Raises:
        UserError: there is no such file, or its permissions let others in.
    """
    require(
        path.is_file(),
        f"There is no token '{path}': copy the file of the machine on which 'invbench cluster "
        "start' was given, readable by you alone (chmod 600), and name it with --token-file.",
    )
    if os.name == "posix":
        mode = stat.S_IMODE(path.stat().st_mode)
        require(
            not mode & 0o077,
            f"Token '{path}' can be read by others (mode {mode:o}), who may then run code on the "
            f"cluster. Close it with: chmod 600 '{path}'. If others use this machine, delete it "
            "and start the cluster again with a new one.",
        )


def show_token() -> None:
    """Let Ray show its token, if there is one, to the cluster that this process enters.

    Raises:
        UserError: others can read it.
    """
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or default_token())
    if "RAY_AUTH_TOKEN" not in os.environ:
        if not path.is_file():
            return
        check_token(path)
    # Ray shows a token to the cluster it finds itself, not to one named by address.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if "ray" in sys.modules:
        from ray import _raylet

        _raylet.Config.initialize("")  # type: ignore[attr-defined]  # it has read its variables


# ---------------------------------------------------------------- addresses
def loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def split(address: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        UserError: it is no ``host:port``.
    """
    host, colon, port = address.rpartition(":")
    require(
        bool(colon and host) and port.isdigit(),
        f"'{address}' is no address of a cluster; write HOST:PORT, as in 127.0.0.1:{PORT}.",
    )
    return host, int(port)


def own_address(interface: str) -> str:
    """The address of one of this machine's network interfaces, named as such or by the address.

    Raises:
        UserError: this machine has neither.
    """
    try:
        address = str(ipaddress.ip_address(interface))
    except ValueError:
        address = _of_interface(interface)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        try:
            asked.bind((address, 0))
        except OSError as error:
            raise UserError(f"'{interface}' is no address of this machine ({error}).") from error
    return address


def _of_interface(name: str) -> str:
    names = sorted(known for _, known in socket.if_nameindex())
    if name in names and sys.platform == "linux":
        import fcntl
        import struct

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            try:
                request = struct.pack("256s", name.encode()[:15])
                reply = fcntl.ioctl(asked.fileno(), 0x8915, request)  # SIOCGIFADDR
            except OSError:
                reply = b""
        if reply:
            return socket.inet_ntoa(reply[20:24])
    raise UserError(
        f"'{name}' is no interface of this machine with an IPv4 address. Interfaces: "
        f"{', '.join(names)}; or give the address itself."
    )


def towards(host: str, port: int) -> str:
    """The address of this machine from which ``host`` is reached.

    Raises:
        UserError: nobody listens there.
    """
    try:
        with socket.create_connection((host.strip("[]"), port), timeout=10) as line:
            return str(line.getsockname()[0])
    except OSError as error:
        raise UserError(f"Nobody answers at {host}:{port} ({error}).") from error


# ---------------------------------------------------------------- start, join, stop
def start(
    address: str, port: int, token: Path, cpus: int | None = None, gpus: int | None = None
) -> None:
    """Start a cluster on this machine, without a dashboard; the token is made if it is not there.

    Args:
        address: of this machine, on which others reach it; of a loopback address nobody does.
        port: where it listens.
        token: file of the token.
        cpus: how many it has to offer; None: all.
        gpus: the same.

    Raises:
        UserError: others can read the token, or Ray does not start.
    """
    make_token(token)
    check_token(token)
    place = f"{address}:{port}"
    words = ["--head", f"--port={port}", "--include-dashboard=false"]
    _ray_start(place, address, [*words, *_offered(cpus, gpus)], token)


def join(
    head: str, address: str, token: Path, cpus: int | None = None, gpus: int | None = None
) -> None:
    """Add this machine to the cluster that listens at ``head``.

    Raises:
        UserError: there is no token, others can read it, or the cluster refuses it.
    """
    require(
        not loopback(split(head)[0]),
        f"'{head}' is reached from its own machine alone, so nothing can join it; start it with "
        "'invbench cluster start --interface NAME'.",
    )
    check_token(token)
    _ray_start(head, address, [f"--address={head}", *_offered(cpus, gpus)], token)


def _offered(cpus: int | None, gpus: int | None) -> list[str]:
    asked = {"--num-cpus": cpus, "--num-gpus": gpus}
    return [f"{word}={count}" for word, count in asked.items() if count is not None]


def _ray_start(place: str, address: str, words: Sequence[str], token: Path) -> None:
    own = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token.resolve()),
        "RAY_USAGE_STATS_ENABLED": "0",
        _LOOPBACK_ONLY: "0" if loopback(address) else "1",
    }
    environment = {
        k: v for k, v in os.environ.items() if k not in ("RAY_AUTH_TOKEN", "RAY_ADDRESS")
    }
    always = (f"--node-ip-address={address}", "--disable-usage-stats")
    # A session of its own, so that stopping it ends these processes and no other user's cluster.
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", *words, *always],
        env=environment | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    _remember([*_sessions(), (process.pid, place)])
    try:
        output, _ = process.communicate(timeout=_STARTS_IN_S)
    except subprocess.TimeoutExpired:
        output = f"no answer in {_STARTS_IN_S} s"
    if process.returncode != 0:
        _end(process.pid)
        _remember([known for known in _sessions() if known[0] != process.pid])
        lines = [line for line in redacted(output or "").splitlines() if line.strip()]
        if WRONG_TOKEN in (output or ""):
            lines = [f"it asks for another token than that in '{token}'; copy the head's file."]
        raise UserError(f"Ray did not start at {place}: {' '.join(lines[-3:])[-600:]}")


def stop() -> list[str]:
    """End what :func:`start` and :func:`join` have started on this machine, and nothing else.

    Returns:
        Addresses of the clusters that were left.
    """
    left = [place for session, place in _sessions() if _end(session)]
    _remember([])
    return left


def _book() -> Path:
    return Path.home() / ".ray" / "invbench_sessions.json"


def _sessions() -> list[tuple[int, str]]:
    """Sessions of processes that were started here, each with the address of its cluster."""
    try:
        listed = json.loads(_book().read_text(encoding="utf-8"))
        return [(int(session), str(place)) for session, place in listed]
    except (OSError, ValueError, TypeError):
        return []


def _remember(sessions: Sequence[tuple[int, str]]) -> None:
    _book().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _book().write_text(json.dumps(sessions), encoding="utf-8")


def _end(session: int) -> bool:
    """End the processes of a session that are Ray's; whether there were any."""
    there = _processes(session)
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + _ENDS_IN_S
        for pid in _processes(session):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        while _processes(session) and time.monotonic() < until:
            time.sleep(0.2)
    return bool(there)


def _processes(session: int) -> list[int]:
    """Processes of a session that are Ray's: another may have been given the number since."""
    listed = subprocess.run(
        ["ps", "-axo", "pid=,command="], capture_output=True, text=True, check=False
    ).stdout
    processes = []
    for line in listed.splitlines():
        number, _, command = line.strip().partition(" ")
        try:
            if "ray" in command and os.getsid(int(number)) == session:
                processes.append(int(number))
        except (ProcessLookupError, PermissionError, ValueError):
            continue
    return processes


# ---------------------------------------------------------------- entering a cluster
def stay_on_loopback(alone: bool) -> None:
    """Whether Ray takes this machine's loopback address in this process, before it is started."""
    os.environ[_LOOPBACK_ONLY] = "0" if alone else "1"
    from ray._private import ray_constants

    ray_constants.ENABLE_RAY_CLUSTER = not alone  # read once, when Ray was imported


def is_open(address: str) -> bool:
    """Whether a cluster lets in who has no token, tried from a process that shows none.

    Raises:
        UserError: it cannot be told.
    """
    without = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _PROBE, address],
            env=without | {"RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        answer = tried.stdout.strip()
    except subprocess.TimeoutExpired:
        answer = ""
    require(
        answer in ("open", "closed"),
        f"It cannot be told whether the cluster at {address} asks for a token; is it Ray, and of "
        "this version?",
    )
    return answer == "open"


def machines(address: str) -> list[str]:
    """Addresses of the machines of a cluster.

    Raises:
        ray.exceptions.AuthenticationError: it asks for another token.
    """
    from ray import _raylet

    client = _raylet.GcsClient(address=address)  # type: ignore[attr-defined]
    nodes = client.get_all_node_info(timeout=10).values()
    return sorted({str(node.node_manager_address) for node in nodes})


def check_closed(address: str, hosts: Iterable[str], opened: bool, allowed: bool) -> None:
    """Refuse a cluster on which everybody who reaches it runs code.

    Args:
        address: of the cluster, as the user names it.
        hosts: addresses at which it or its machines can be reached.
        opened: whether it lets in who has no token.
        allowed: whether the user accepts that.

    Raises:
        UserError: it is open and can be reached from other machines.
    """
    reachable = sorted({host for host in hosts if not loopback(host)})
    require(
        allowed or not opened or not reachable,
        f"The cluster at {address} asks nobody for a token and can be reached at "
        f"{', '.join(reachable)}: whoever gets there runs code on it, as the user who started it. "
        "Start it with 'invbench cluster start', or accept that with backend.open_cluster=true.",
    )
