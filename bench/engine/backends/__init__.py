"""Where bundles run: in this process, in worker processes of this machine, or on Ray.

Workers import this package before they do anything: it must stay light.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.engine.messages import Backend, Blobs
    from bench.engine.settings import Settings


def slots_of(settings: Settings) -> int:
    """How many nodes of one CPU the back end of these settings runs at once on this machine."""
    from bench.engine.settings import RayBackend

    if isinstance(settings.backend, RayBackend) or settings.backend.isolate:
        return settings.backend.num_cpus or os.cpu_count() or 1
    return 1


def open_backend(settings: Settings, blobs: Blobs, store_uuid: str, store_root: Path) -> Backend:
    """The back end that the settings name.

    Args:
        settings: ``backend``, and ``data_root``, which workers look for.
        blobs: the store's folder of large files.
        store_uuid: of the store, by which a worker knows that it sees the same one.
        store_root: folder of the store.

    Raises:
        UserError: a cluster that cannot be reached, or Ray is not installed.
    """
    from bench.engine.settings import RayBackend

    if isinstance(settings.backend, RayBackend):
        from bench.contract.packages import require_package
        from bench.engine.backends.ray import Ray

        without = "backend=local backend.isolate=true for worker processes of this machine"
        require_package("ray", "cluster", "backend=ray", f"run with {without}")
        root = settings.data_root
        return Ray(settings.backend, blobs, store_uuid, store_root, root)
    from bench.engine.backends.local import InProcess, Isolated

    if settings.backend.isolate:
        return Isolated(settings.backend, blobs)
    return InProcess(blobs)
