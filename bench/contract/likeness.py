"""When two results of one trial are the same: bit for bit, or within a tolerance (PROTOCOL C11)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bench.contract.record import ELSEWHERE, ENVIRONMENT

TOLERANCE = 0.01
"""Most by which leakage, member gap and utility may differ where equal bits are not asked for."""

Figures = Mapping[str, float | None]
"""``L``, ``s``, ``M`` and ``utility`` of one trial; None or NaN where it has no such figure."""


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """What differs of two environments, ``name: old -> new`` each.

    A fact that one of the two does not state differs: it is not known to be equal.
    """
    return tuple(
        f"{name}: {old.get(name, 'unknown')} -> {new.get(name, 'unknown')}"
        for name in (*ENVIRONMENT, *({ELSEWHERE} & {*old, *new}))
        if name not in old or name not in new or old[name] != new[name]
    )


def asks_for_bits(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether two environments must give equal bits: they are equal, and no GPU worked in them.

    Kernels of a GPU may add up in another order each time, on the very same machine.
    """
    elsewhere = new.get(ELSEWHERE, {}).values()
    devices = {new.get("device"), *(env["device"] for env in elsewhere if "device" in env)}
    return not differences(old, new) and devices == {"cpu"}


def gaps(old: Figures, new: Figures) -> dict[str, float]:
    """By how much each figure differs; infinite where only one of the two has it.

    Success ``s`` takes the place of ``L`` where one of the two has no headroom to measure leakage.
    """
    before, after = ({k: v for k, v in side.items() if _known(v)} for side in (old, new))
    first = "L" if "L" in before and "L" in after else "s"
    return {
        name: abs(after[name] - before[name])  # type: ignore[operator]
        if name in before and name in after
        else math.inf
        for name in (first, "M", "utility")
        if name in before or name in after
    }


def beyond(differing: Mapping[str, float]) -> dict[str, float]:
    """Those of some gaps that are larger than ``TOLERANCE``."""
    return {name: gap for name, gap in differing.items() if gap > TOLERANCE}


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
