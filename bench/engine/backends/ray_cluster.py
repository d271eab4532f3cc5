"""A Ray cluster as a driver enters, watches and leaves it."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.contract import UserError, require
from bench.contract.secrets import in_one_line
from bench.engine import cluster
from bench.engine.backends.machines import Machine
from bench.engine.settings import RayBackend

GONE_S = 60.0
"""Seconds without an answer of the cluster's head after which a run ends."""
NICENESS = "RAY_worker_niceness"
"""Environment variable: by how much Ray lowers the priority of its workers."""
_LOOKS_EVERY_S = 1.0
_ANSWERS_IN_S = 5.0
_OTHER_CLUSTER = "WrongClusterID"
"""What a head says to those who knew the one that was there before."""
_ENDS_IN_S = 8.0


def connect(options: RayBackend) -> Any:
    """Enter a cluster, or start a private one on this machine.

    Returns:
        The module ``ray``.

    Raises:
        UserError: it cannot be reached, or must not be entered.
    """
    # Set before Ray starts: no usage reports, no GPU seen by a task that was granted none.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    local = options.address == "local"
    address = options.address if local else _found(options.address)
    try:
        if local:
            cluster.make_token(cluster.default_token())
            with contextlib.suppress(OSError):  # Ray itself writes it for everybody to read
                cluster.default_token().chmod(0o600)
            cluster.show_token(True)
            cluster.stay_on_loopback(True)
        else:
            _enter(options, address)
        import ray
        from ray import _raylet
        from ray._private import utils

        # Ray tells the whole cluster the words of this process: they may hold a password.
        utils.get_entrypoint_name = lambda: "invbench"
        arguments: dict[str, Any] = {"address": address}
        if local:
            arguments |= {
                "num_cpus": options.num_cpus,
                "num_gpus": options.num_gpus,
                "include_dashboard": False,
                "object_store_memory": 400 * 1024**2,
            }
        with _variables(local):
            _raylet.Config.initialize("")  # type: ignore[attr-defined]  # it has read them before
            ray.init(
                **arguments,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
    except UserError:
        raise
    except Exception as error:  # Ray's errors have no ancestor of their own
        if "AF_UNIX path length" in str(error):
            raise UserError(
                f"The folder for temporary files, '{tempfile.gettempdir()}', has too long a "
                f"path for Ray's sockets; put TMPDIR=/tmp in front of the command."
            ) from error
        reason = (
            "it asks for another token than RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH or "
            f"'{cluster.default_token()}' holds, or there is none"
            if cluster.WRONG_TOKEN in str(error)
            else in_one_line(error)
        )
        raise UserError(
            f"Ray cluster '{options.address}' cannot be reached ({reason}); start one "
            f"with 'invbench cluster start' (every machine needs its token), or use "
            f"backend.address=local or backend=local."
        ) from error
    return ray


@contextlib.contextmanager
def _variables(local: bool) -> Iterator[None]:
    """Variables of the environment while Ray starts.

    Without its cluster's head Ray would end this process after a minute; :class:`Watch` says it in
    words instead. Workers of a private cluster run the code of this process, wherever it found it,
    and at its priority: Ray would lower it by 15, so that beside other work they hardly start.
    """
    new = {"RAY_gcs_rpc_server_reconnect_timeout_s": "3600"}
    if local:
        new[NICENESS] = os.environ.get(NICENESS, "0")
        new["PYTHONPATH"] = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    before = {name: os.environ.get(name) for name in new}
    os.environ.update(new)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def leave(ray: Any, actors: list[Any]) -> None:
    """End actors and leave the cluster, within seconds whatever state that is in."""

    def end() -> None:
        for actor in actors:
            with contextlib.suppress(Exception):
                ray.kill(actor)
        ray.shutdown()

    thread = threading.Thread(target=end, daemon=True)
    thread.start()
    thread.join(_ENDS_IN_S)
    if thread.is_alive():  # it would be waited for once more at the end of the process
        atexit.unregister(ray.shutdown)


class Watch(threading.Thread):
    """Asks a cluster for its machines once a second, beside the driver, which must never wait.

    Args:
        ray: the module, connected.
        address: as the user names the cluster.
    """

    def __init__(self, ray: Any, address: str) -> None:
        super().__init__(daemon=True)
        self._ray, self._address = ray, address
        self._stopped = threading.Event()
        self._replaced = False
        self._machines = self._look()
        self._at = time.monotonic()

    def run(self) -> None:
        """Look until it is stopped."""
        while not self._stopped.wait(_LOOKS_EVERY_S):
            try:
                self._machines = self._look()
                self._at = time.monotonic()
            except Exception as error:  # one that does not answer is late, nothing more
                self._replaced = self._replaced or _OTHER_CLUSTER in str(error)

    def machines(self) -> list[Machine]:
        """The machines at the last look.

        Raises:
            UserError: the head of the cluster has been silent for too long, or is another one.
        """
        require(
            not self._replaced,
            f"The head of Ray cluster '{self._address}' has ended, and another one was started "
            "there. What is recorded is kept; the same command goes on from there.",
        )
        silent = time.monotonic() - self._at
        require(
            silent < GONE_S,
            f"The head of Ray cluster '{self._address}' has not answered for {silent:.0f} s: it is "
            "gone, or cut off. What is recorded is kept; when the cluster is back, the same "
            "command goes on from there.",
        )
        return self._machines

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _look(self) -> list[Machine]:
        # Not ray.nodes(): where another head answers, that ends the whole process.
        nodes = self._ray._private.worker.global_worker.gcs_client.get_all_node_info(
            timeout=_ANSWERS_IN_S
        )
        return [
            Machine(
                number.hex(),
                node.node_manager_hostname,
                node.resources_total.get("CPU", 0.0),
                node.resources_total.get("GPU", 0.0),
            )
            for number, node in nodes.items()
            if node.state == node.ALIVE
        ]


def _found(address: str) -> str:
    """``host:port`` of a cluster; of ``auto``, that which was last started on this machine."""
    if address != "auto":
        return address
    from ray._private import services

    place = os.environ.get("RAY_ADDRESS") or services.find_bootstrap_address(None)
    require(
        bool(place),
        "backend.address=auto: no cluster was started on this machine; 'invbench cluster start' "
        "starts one, and without backend.address= a run needs none.",
    )
    return str(place)


def _enter(options: RayBackend, address: str) -> None:
    """Make ready to enter a cluster of somebody's, or refuse it.

    Raises:
        UserError: it is open to everybody, or the address or the token is of no use.
        OSError: nobody listens there.
    """
    host, port = cluster.split(address)
    # Nobody there is said at once: Ray itself would ask for two minutes.
    socket.create_connection((host.strip("[]"), port), timeout=10).close()
    opened = cluster.is_open(address)
    cluster.check_closed(options.address, [host], opened, options.open_cluster)
    cluster.show_token(not opened)
    hosts = cluster.machines(address)
    cluster.check_closed(options.address, hosts, opened, options.open_cluster)
    cluster.stay_on_loopback(all(map(cluster.loopback, hosts)))
