"""Who holds a claim: a process, and whether it is still there."""

from __future__ import annotations

import contextlib
import os
import platform
import uuid
from functools import cache
from pathlib import Path


def new() -> str:
    """A name that nobody else has, which tells this process."""
    return f"{_machine()}|{os.getpid()}|{uuid.uuid4().hex}"


def forked(owner: str) -> bool:
    """Whether a name was made by another process than this one."""
    return owner.rsplit("|", 2)[1] != str(os.getpid())


def alive(owner: str) -> bool:
    """Whether the process of a name may still run.

    It is known of processes of the same machine and container only; of others it is assumed.
    """
    machine, pid, _ = owner.rsplit("|", 2)
    if machine != _machine():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@cache
def _machine() -> str:
    """Where numbers of processes mean the same: this machine since its start, this container."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/self/ns/pid").readlink().name)
    return " ".join(parts)
