"""Whether a process that wrote something down still runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any


def here() -> dict[str, Any]:
    """This process as plain JSON: its machine, the machine's boot, its number and its start."""
    return {**_machine(), "pid": os.getpid(), "start": _start(os.getpid())}


def gone(process: Mapping[str, Any]) -> bool:
    """Whether a process certainly runs no more; False where that cannot be told from here.

    Args:
        process: what :func:`here` gave in it.
    """
    machine = _machine()
    if not machine["boot"] or process.get("host") != machine["host"]:
        return False
    if process.get("boot") != machine["boot"]:
        return bool(process.get("boot"))  # the machine was started anew
    if process.get("space") != machine["space"]:
        return False  # another container's numbers mean nothing here
    pid = process.get("pid")
    return not isinstance(pid, int) or _start(pid) != process.get("start")


@lru_cache(maxsize=1)
def _machine() -> dict[str, str]:
    return {
        # Containers may share a name; a machine's own identity tells two of one name apart.
        "host": f"{socket.gethostname()}/{_text('/etc/machine-id')[:8]}",
        "boot": _text("/proc/sys/kernel/random/boot_id"),
        "space": _link("/proc/self/ns/pid"),
    }


def _start(pid: int) -> str:
    """When a process started, in ticks since the boot; empty where there is none."""
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    # A process that has ended and was not waited for is still listed, as a zombie.
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
