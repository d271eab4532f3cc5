"""A Ray cluster that a token guards: its token, its addresses, and how it is entered.

Whoever reaches a cluster that asks for no token runs code on it: Ray moves tasks and results as
pickles. What travels is not encrypted.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.contract.errors import UserError, require

PORT = 6379
WRONG_TOKEN = "InvalidAuthToken"
"""What Ray says where a cluster is shown another token than its own, or none."""
LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
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


def show_token(asks: bool) -> None:
    """Let Ray show its token, if there is one, to the cluster that this process enters next.

    A process with a token expects that of whoever calls it: a cluster that asks for none would
    never reach it.

    Args:
        asks: whether the cluster asks for a token.

    Raises:
        UserError: others can read the token.
    """
    shown = asks and "RAY_AUTH_TOKEN" in os.environ
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or default_token())
    if asks and not shown and path.is_file():
        check_token(path)
        shown = True
    # Ray shows a token to the cluster it finds itself, not to one named by address.
    os.environ["RAY_AUTH_MODE"] = "token" if shown else "disabled"
    if "ray" in sys.modules:
        from ray import _raylet

        _raylet.Config.initialize("")  # type: ignore[attr-defined]  # it has read its variables
        _raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]


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
            raise UserError(
                f"'{interface}' is no address of this machine ({error}); 'ip address' lists them."
            ) from error
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


def route(host: str) -> str:
    """The address of this machine from which ``host`` would be reached; nothing is sent.

    Raises:
        UserError: the name is not known, or nothing leads there.
    """
    try:
        family, *_, place = socket.getaddrinfo(host.strip("[]"), 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as line:
            line.connect(place)
            return str(line.getsockname()[0])
    except OSError as error:
        raise UserError(
            f"'{host}' cannot be reached from this machine ({error}); check its name and the "
            "network."
        ) from error


def towards(host: str, port: int) -> str:
    """The address of this machine from which ``host`` is reached.

    Raises:
        UserError: nobody listens there.
    """
    try:
        with socket.create_connection((host.strip("[]"), port), timeout=10) as line:
            return str(line.getsockname()[0])
    except OSError as error:
        raise UserError(
            f"Nobody answers at {host}:{port} ({error}); give the address that 'invbench cluster "
            "start' printed, and let the firewall pass it."
        ) from error


# ---------------------------------------------------------------- entering a cluster
def stay_on_loopback(alone: bool) -> None:
    """Whether Ray takes this machine's loopback address in this process, before it is started."""
    os.environ[LOOPBACK_ONLY] = "0" if alone else "1"
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
