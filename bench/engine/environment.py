"""Where a result was made: everything that can change its last digits, and who made it."""

from __future__ import annotations

import os
import platform
import resource
import socket
from functools import cache
from pathlib import Path
from typing import Any

from bench.engine.provenance import commit

_KERNELS = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "OPENBLAS_CORETYPE",
)
"""Variables by which libraries are told to use other kernels than the processor has."""


def environment(device: str, threads: int) -> dict[str, Any]:
    """Facts of this process: those of ``ENVIRONMENT`` and ``peak_rss_mb``.

    Args:
        device: torch device of the task, ``cpu`` or ``cuda``.
        threads: CPU threads granted to it.
    """
    import numpy
    import torch

    return {
        "host": socket.gethostname(),
        "processor": _processor(),
        "machine": platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "blas": _blas(),
        "threads": threads,
        "device": _device(device),
        "driver": "" if device == "cpu" else _driver(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "commit": commit(),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


@cache
def _processor() -> str:
    """Model of the processor as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    pairs = (line.partition(":") for line in reversed(lines))
    facts = {name.strip(): value.strip() for name, _, value in pairs}
    name = facts.get("model name") or platform.processor() or "unknown"
    kind = [facts[k] for k in ("cpu family", "model", "stepping") if k in facts]
    return f"{name} ({'/'.join(kind)})" if kind else name


@cache
def _blas() -> str:
    """Libraries of linear algebra and of threads, with their kernels and what was asked of them."""
    import scipy.linalg  # noqa: F401  its library counts, whether or not it has been used yet
    import torch
    from threadpoolctl import threadpool_info

    libraries = {
        " ".join(
            str(part[key]) for key in ("internal_api", "version", "architecture") if part.get(key)
        )
        for part in threadpool_info()
    }
    for line in torch.__config__.show().splitlines():
        if "Math Kernel Library" in line or "MKL-DNN" in line:
            libraries.add(" ".join(line.partition("(Git")[0].strip(" -").split()))
    asked = [f"{name}={os.environ[name]}" for name in _KERNELS if name in os.environ]
    return "; ".join([*sorted(libraries), *asked])


def _device(device: str) -> str:
    """Name of the device; of a GPU that cannot be asked, ``cuda``."""
    import torch

    if device == "cpu":
        return device
    try:
        return str(torch.cuda.get_device_name())
    except (RuntimeError, AssertionError):
        return device


@cache
def _driver() -> str:
    """Version of the GPU's driver and of CUDA."""
    import torch

    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
        version = next((w for w in text.split() if w[0].isdigit() and "." in w), "unknown")
    except OSError:
        version = "unknown"
    return f"{version}, CUDA {torch.version.cuda}"
