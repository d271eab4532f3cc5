"""Starting, joining and stopping a Ray cluster on this machine: ``invbench cluster``."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.contract.errors import UserError, require
from bench.contract.packages import require_package
from bench.contract.secrets import redacted
from bench.engine.cluster import (
    LOOPBACK_ONLY,
    WRONG_TOKEN,
    check_token,
    loopback,
    make_token,
    split,
)

_STARTS_IN_S = 120
_ENDS_IN_S = 5
_NICENESS = "RAY_worker_niceness"
_LOOKS_EVERY_S = 1.0


def start(
    address: str,
    port: int,
    token: Path,
    cpus: int | None = None,
    gpus: int | None = None,
    jobs: int | None = None,
) -> None:
    """Start a cluster on this machine; the token is made if it is not there.

    Args:
        address: of this machine, on which others reach it; of a loopback address nobody does.
        port: where it listens.
        token: file of the token.
        cpus: how many it has to offer; None: all.
        gpus: the same.
        jobs: port on which Ray's job server, a part of its dashboard, listens on 127.0.0.1; None:
            neither is started.

    Raises:
        UserError: others can read the token, Ray does not start, is not installed or lacks what
            jobs need.
    """
    require_package("ray", "cluster", "A cluster")
    make_token(token)
    check_token(token)
    place = f"{address}:{port}"
    words = ["--head", f"--port={port}", f"--include-dashboard={str(jobs is not None).lower()}"]
    if jobs is not None:
        for package in ("aiohttp_cors", "opencensus"):
            require_package(package, "jobs", "Ray's job server")
        words += ["--dashboard-host=127.0.0.1", f"--dashboard-port={jobs}"]
    _ray_start(place, address, [*words, *_offered(cpus, gpus)], token)


def join(
    head: str, address: str, token: Path, cpus: int | None = None, gpus: int | None = None
) -> None:
    """Add this machine to the cluster that listens at ``head``.

    Raises:
        UserError: there is no token, others can read it, the cluster refuses it, or Ray is not
            installed.
    """
    require_package("ray", "cluster", "A cluster")
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
        # Ray lowers its workers' priority by 15, so that on a machine in use they hardly start.
        _NICENESS: os.environ.get(_NICENESS, "0"),
        LOOPBACK_ONLY: "0" if loopback(address) else "1",
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


def stop(address: str | None = None) -> list[str]:
    """End what :func:`start` and :func:`join` have started on this machine, and nothing else.

    Args:
        address: of the only cluster to leave; None: all of them.

    Returns:
        Addresses of the clusters that were left.
    """
    known = _sessions()
    ending = [entry for entry in known if address in (None, entry[1])]
    left = [place for session, place in ending if _end(session)]
    _remember([entry for entry in known if entry not in ending])
    return left


def stay(address: str) -> bool:
    """Wait until this machine is no longer part of a cluster.

    SIGTERM and Ctrl-C end what was started here first.

    Args:
        address: of the cluster, as it was given to :func:`start` or :func:`join`.

    Returns:
        Whether it was asked to stop; False: Ray has ended by itself.
    """
    asked: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: asked.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        sessions = [session for session, place in _sessions() if place == address]
        while not asked and any(map(_runs, sessions)):
            time.sleep(_LOOKS_EVERY_S)
        stop(address)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return bool(asked)


def _book() -> Path:
    # A home folder may be shared by many machines, on which the same numbers are other processes.
    return Path.home() / ".ray" / f"invbench_sessions.{socket.gethostname()}.json"


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


def _runs(session: int) -> bool:
    """Whether the part of Ray that a machine cannot do without is there."""
    return bool(_processes(session, "raylet/raylet"))


def _processes(session: int, part: str = "ray") -> list[int]:
    """Processes of a session that are Ray's: another may have been given the number since."""
    listed = subprocess.run(
        ["ps", "-axwwo", "pid=,command="], capture_output=True, text=True, check=False
    ).stdout
    processes = []
    for line in listed.splitlines():
        number, _, command = line.strip().partition(" ")
        try:
            if part in command and os.getsid(int(number)) == session:
                processes.append(int(number))
        except (ProcessLookupError, PermissionError, ValueError):
            continue
    return processes
