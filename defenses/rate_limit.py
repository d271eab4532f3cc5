"""A limit on how fast an account is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.contract import Count, Monitor, ServeDefense, Traffic, Verdict
from defenses.common.accounts import by_account


@dataclass(frozen=True)
class RateLimit(ServeDefense):
    """Hold queries back where an account asks too fast, by token buckets of a minute and a day.

    A bucket holds ``per_minute`` tokens and gains as many in a minute, evenly. A query takes a
    token and waits for one if there is none. Nobody is refused, and an account that never asks more
    than the limit within any minute and any day never waits. An attacker pays with time, and a
    campaign ends.

    Attributes:
        per_minute: answers in a minute; null means any number.
        per_day: answers in a day; null means any number. Both null is no defense. Values worth a
            sweep are 50, 150, 500 and 1500.
    """

    per_minute: Count | None = 30
    per_day: Count | None = 500

    paper = (
        "No paper: the token bucket of network traffic, as virtual scheduling (generic cell rate "
        "algorithm, ITU-T I.371)"
    )
    cost = "two numbers per account; bursts of customers wait"
    reads_answers = False
    zero: ClassVar[Mapping[str, Any]] = {"per_minute": None, "per_day": None}

    def watch(self, fitted: Mapping[str, Tensor]) -> Monitor:
        """A monitor whose buckets are full."""
        limits = ((self.per_minute, 60.0), (self.per_day, 86400.0))
        return _Buckets([(size, period) for size, period in limits if size is not None])


class _Buckets(Monitor):
    """Virtual scheduling: a bucket is stored as the time at which it would be full again.

    The times of one call are as if none of its queries was held back; the times of the next call
    are those of the client's clock after the waits. So a wait delays every later query of its
    account in the same call.
    """

    def __init__(self, limits: list[tuple[int, float]]) -> None:
        self.limits = limits
        self.full: dict[int, list[float]] = {}

    def admit(self, traffic: Traffic, answers: Tensor) -> Verdict:
        """Admit every query after its wait."""
        admitted = torch.ones(len(traffic), dtype=torch.bool, device=traffic.x.device)
        if not self.limits:
            return Verdict(admitted)
        wait = torch.zeros_like(traffic.time)
        for account, rows in by_account(traffic.account):
            wait[rows] = torch.tensor(
                self._waits(account, traffic.time[rows].tolist()), dtype=wait.dtype
            ).to(wait.device)
        return Verdict(admitted, wait)

    def _waits(self, account: int, times: list[float]) -> list[float]:
        full = self.full.setdefault(account, [0.0] * len(self.limits))
        waits, late = [], 0.0
        for time in times:
            asked = answered = time + late
            for bucket, (size, period) in enumerate(self.limits):
                answered = max(answered, full[bucket] - period * (size - 1) / size)
            for bucket, (size, period) in enumerate(self.limits):
                full[bucket] = max(full[bucket], answered) + period / size
            waits.append(answered - asked)
            late += answered - asked
        return waits
