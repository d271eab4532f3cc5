"""One privacy scale for every goal (PROTOCOL 2.0)."""

from __future__ import annotations

from typing import Protocol

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
