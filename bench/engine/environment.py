"""Where a result was made: everything that can change its last digits, and who made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENVIRONMENT = (
    "host", "processor", "machine", "capability", "blas", "threads", "device", "driver", "python",
    "torch", "numpy", "commit",
)  # fmt: skip
"""Facts of which all must be equal before two results are asked to be equal bit for bit."""


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """What differs of two environments, ``name: old -> new`` each.

    A fact that one of the two does not state differs: it is not known to be equal.
    """
    return tuple(
        f"{name}: {old.get(name, 'unknown')} -> {new.get(name, 'unknown')}"
        for name in ENVIRONMENT
        if name not in old or name not in new or old[name] != new[name]
    )
