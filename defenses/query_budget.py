"""A budget of queries for every account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.contract import Count, Monitor, Positive, ServeDefense, Traffic, Verdict
from defenses.common.accounts import by_account

DAY_S = 86400.0


@dataclass(frozen=True)
class QueryBudget(ServeDefense):
    """Answer every account a fixed number of queries a month, and no more.

    It knows nothing of what is asked: somebody with many accounts has as many budgets, and an
    attack that needs fewer queries than a busy customer is not affected.

    Attributes:
        queries: answers that an account gets in a period; null means any number and is no defense.
            Values worth a sweep are 100, 300, 1000 and 3000.
        days: length of a period; budgets start anew with each.
    """

    queries: Count | None = 1000
    days: Positive = 30.0

    paper = "No paper: the query cap that prediction services have"
    cost = "a counter per account; customers beyond the budget are turned away"
    reads_answers = False
    zero: ClassVar[Mapping[str, Any]] = {"queries": None}

    def watch(self, fitted: Mapping[str, Tensor]) -> Monitor:
        """A monitor whose counters are 0."""
        return _Budget(self.queries, self.days * DAY_S)


class _Budget(Monitor):
    def __init__(self, queries: int | None, period_s: float) -> None:
        self.queries, self.period_s = queries, period_s
        self.asked: Counter[tuple[int, int]] = Counter()

    def admit(self, traffic: Traffic, answers: Tensor) -> Verdict:
        """Admit the first queries of an account in a period."""
        admitted = torch.ones(len(traffic), dtype=torch.bool, device=traffic.x.device)
        if self.queries is None:
            return Verdict(admitted)
        for account, rows in by_account(traffic.account):
            period = (traffic.time[rows] / self.period_s).long()
            for number, place in by_account(period):
                left = self.queries - self.asked[account, number]
                admitted[rows[place[max(left, 0) :]]] = False
                self.asked[account, number] += len(place)
        return Verdict(admitted)
