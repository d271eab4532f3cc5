"""One privacy scale for every goal (PROTOCOL 2.0)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

MIN_HEADROOM = 0.10
"""Below this distance between baseline and ceiling, leakage would divide by noise."""


class Rates(Protocol):
    """An attack's success on members of the training set and on matched others."""

    @property
    def members(self) -> float:
        """On members."""

    @property
    def nonmembers(self) -> float:
        """On matched non-members."""


def leakage(value: float, base: float, ceiling: float) -> float | None:
    """``L = (s - s_base) / (s_ceil - s_base)``, unclipped.

    Args:
        value: the attack's success s, in [0, 1].
        base: success of the best attacker without the model.
        ceiling: the metric for the private truth itself.

    Returns:
        0 where the model taught the attacker nothing, 1 where it is as good as the records;
        None where the headroom ``ceiling - base`` is below 0.10.

    >>> leakage(0.75, 0.5, 1.0)
    0.5
    >>> leakage(0.99, 0.95, 1.0) is None
    True
    """
    if ceiling - base < MIN_HEADROOM:
        return None
    return (value - base) / (ceiling - base)


def member_gap(gains: bool, score: Rates, base: Rates) -> float:
    """``M``: how much of the success is about the training members.

    ``s(members) - s(matched non-members)``.

    Args:
        gains: whether both are gains over the baseline on the same records, as the goal says.
        score: of the attack.
        base: of the baseline.
    """
    gap = score.members - score.nonmembers
    if gains:
        gap -= base.members - base.nonmembers
    return gap


def victim_errors(
    gains: bool,
    ceiling: float,
    attack: Mapping[str, Sequence[float]],
    base: Mapping[str, Sequence[float]],
) -> tuple[float | None, float | None]:
    """Standard errors of L and M over the people attacked.

    Attack and baseline are resampled together, so that what makes people easy for both cancels.

    Args:
        gains: as in :func:`member_gap`.
        ceiling: of the attack's metric.
        attack: its score on resampled victims (:func:`bench.metrics.resampling.resampled`).
        base: the same of the baseline.

    Returns:
        Both, or None where nothing was resampled; the first is None where a draw has no headroom.
    """
    if not attack or not base:
        return None, None
    mine, others = (
        {name: np.asarray(values, dtype=float) for name, values in draws.items()}
        for draws in (attack, base)
    )
    room = ceiling - others["value"]
    gap = mine["members"] - mine["nonmembers"]
    if gains:
        gap = gap - (others["members"] - others["nonmembers"])
    wide = bool((room > 0).all())
    error = float(np.std((mine["value"] - others["value"]) / room, ddof=1)) if wide else None
    return error, float(np.std(gap, ddof=1))
