"""Ray: this machine or a cluster.

The driver owns dependencies, deadlines and retries, because Ray has no deadline for a task, retries
an out-of-memory task for ever by default, and raises a parent's failure from every child.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import socket
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from bench.contract import UserError, require
from bench.contract.secrets import redacted
from bench.engine import cluster
from bench.engine.backends import Capacity, lost
from bench.engine.messages import Parcel
from bench.engine.settings import RayBackend, Resources
from bench.engine.worker import Done, Job, execute

_KEPT_REFS = 64


class Ray:
    """Tasks on a Ray cluster, a private one on this machine unless the user names another.

    Args:
        options: ``backend`` settings.

    Raises:
        UserError: the cluster cannot be reached.
    """

    enforces_deadlines = True

    def __init__(self, options: RayBackend) -> None:
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
                os.environ.setdefault("RAY_AUTH_MODE", "token")
                cluster.stay_on_loopback(True)
            else:
                _enter(options, address)
            import ray
            from ray._private import utils

            # Ray tells the whole cluster the words of this process: they may hold a password.
            utils.get_entrypoint_name = lambda: "invbench"
            self._ray = ray
            arguments: dict[str, Any] = {"address": address}
            if local:
                arguments |= {
                    "num_cpus": options.num_cpus,
                    "num_gpus": options.num_gpus,
                    "include_dashboard": False,
                    "object_store_memory": 400 * 1024**2,
                }
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
                else _short(error)
            )
            raise UserError(
                f"Ray cluster '{options.address}' cannot be reached ({reason}); start one "
                f"with 'invbench cluster start' (every machine needs its token), or use "
                f"backend.address=local or backend=local."
            ) from error
        total = ray.cluster_resources()
        self.capacity = Capacity(total.get("CPU", 0.0), total.get("GPU", 0.0))
        self._remote = ray.remote(_remote)
        self._blobs: OrderedDict[str, Any] = OrderedDict()
        self._running: dict[Any, str] = {}

    def parent(self, parcel: Parcel) -> Any:
        """A reference to its bytes."""
        if parcel.place not in self._blobs:
            self._blobs[parcel.place] = self._ray.put(parcel)
            while len(self._blobs) > _KEPT_REFS:
                self._blobs.popitem(last=False)
        self._blobs.move_to_end(parcel.place)
        return self._blobs[parcel.place]

    def forget(self, place: str) -> None:
        """Send the result anew the next time."""
        self._blobs.pop(place, None)

    def submit(self, task: Job, resources: Resources) -> None:
        """Submit a task; references to parents travel as arguments, so Ray moves the bytes."""
        refs = dict(task.parents)
        options: dict[str, Any] = {
            "num_cpus": resources.num_cpus,
            "num_gpus": resources.num_gpus,
            # Retries are the driver's: Ray would retry an out-of-memory task for ever.
            "max_retries": 0,
        }
        if resources.num_gpus:
            options["max_calls"] = 1  # frees the GPU's memory
        ref = self._remote.options(**options).remote(
            dataclasses.replace(task, parents={}), list(refs), *refs.values()
        )
        self._running[ref] = task.node

    def poll(self, timeout: float) -> Sequence[tuple[str, Done]]:
        """Results of tasks that have ended, lost ones included."""
        if not self._running:
            return []
        ready, rest = self._ray.wait(list(self._running), num_returns=1, timeout=timeout)
        if ready and rest:
            more, _ = self._ray.wait(rest, num_returns=len(rest), timeout=0)
            ready += more
        return [(self._running.pop(ref), self._fetch(ref)) for ref in ready]

    def _fetch(self, ref: Any) -> Done:
        errors = self._ray.exceptions
        try:
            done: Done = self._ray.get(ref)
        except errors.OutOfMemoryError as error:
            return lost("OutOfMemory", redacted(str(error))[:2000], "oom")
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError) as error:
            return lost("WorkerCrashed", _short(error))
        except errors.RayError as error:
            return lost(type(error).__name__, _short(error))
        return done

    def cancel(self, node: str) -> None:
        """Kill the worker of a task; its CPU is free again in about a second."""
        for ref, name in list(self._running.items()):
            if name == node:
                self._ray.cancel(ref, force=True)
                del self._running[ref]

    def close(self) -> None:
        """Stop what runs and leave the cluster."""
        for node in list(self._running.values()):
            self.cancel(node)
        self._ray.shutdown()


def _found(address: str) -> str:
    """``host:port`` of a cluster; of ``auto``, that which was last started on this machine."""
    if address != "auto":
        return address
    from ray._private import services

    place = os.environ.get("RAY_ADDRESS") or services.find_bootstrap_address(None)
    require(bool(place), "backend.address=auto: no cluster was started on this machine.")
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
    cluster.show_token()
    hosts = cluster.machines(address)
    cluster.check_closed(options.address, hosts, opened, options.open_cluster)
    cluster.stay_on_loopback(all(map(cluster.loopback, hosts)))


def _remote(task: Job, roles: list[str], *blobs: Any) -> Done:
    parents = dict(zip(roles, blobs, strict=True))
    return execute(dataclasses.replace(task, parents=parents))


def _short(error: BaseException) -> str:
    return " ".join(redacted(str(error)).split())[:300]
