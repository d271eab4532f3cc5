"""What a detector of probing is, and how its threshold is calibrated.

A detector reads the stream of one account in any number of pieces and gives a number per query. The
larger the number, the more it looks like probing; it is minus infinity where too little is known. A
threshold is calibrated on the largest number of each benign account.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Tensor

from bench.contract import check_options
from defenses.common.accounts import by_account

PIECE = 512
"""Number of queries that are looked at together; what comes after an alarm is not looked at."""
NEVER = -math.inf
"""The statistic where too little is known."""

Window = Annotated[int, Ge(2)]
"""Number of the last queries that a detector looks at."""
Least = Annotated[int, Ge(3)]
"""Number of distances before a test for normality; it needs three."""
History = Annotated[int, Ge(1), Le(5000)]
"""Number of queries that are remembered: above 5000 the test of Shapiro and Wilk is inaccurate."""


@dataclass(frozen=True)
class Queries:
    """Queries in the order of their time within each account.

    Attributes:
        time: seconds, float64 ``[n]``.
        label: answered class, int64 ``[n]``; None where it is not known.
        x: records ``[n, ...]``; None where they are not known.
    """

    time: Tensor
    label: Tensor | None = None
    x: Tensor | None = None

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: Tensor) -> Queries:
        """The queries at ``rows``."""
        label = None if self.label is None else self.label[rows]
        return Queries(self.time[rows], label, None if self.x is None else self.x[rows])


class Watch(ABC):
    """One account under one detector."""

    @abstractmethod
    def see(self, stream: Queries) -> Tensor:
        """The statistic at each of the next queries, float64 ``[n]``."""


@dataclass(frozen=True)
class Detector(ABC):
    """A statistic of an account; the fields of the dataclass are its options.

    Attributes:
        reads: what it looks at in a stream, besides the time.
    """

    reads: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_options(self)

    def fit(self, reference: Tensor) -> dict[str, Tensor]:
        """What it must know of ordinary records ``[m, ...]``, which do not calibrate it."""
        return {}

    @abstractmethod
    def watch(self, fitted: Mapping[str, Tensor]) -> Watch:
        """The watch over an account that has asked nothing yet.

        Args:
            fitted: what ``fit`` returned.
        """


# ---------------------------------------------------------------- thresholds
def largest(
    detector: Detector, fitted: Mapping[str, Tensor], stream: Queries, account: Tensor
) -> Tensor:
    """The largest statistic of every account, float64 ``[accounts]``, in the order of its name."""
    return torch.stack(
        [detector.watch(fitted).see(stream.take(rows)).max() for _, rows in by_account(account)]
    )


def threshold(peaks: Tensor, fpr: float) -> Tensor:
    """The number that a benign account exceeds in its month with probability at most ``fpr``.

    It is the ceil((n + 1)(1 - fpr))-th smallest of n peaks: a further account, exchangeable with
    these, exceeds it with probability at most ``fpr``, whatever n is. It is infinite where n is too
    small for that promise, or where no benign account ever had a statistic.

    Args:
        peaks: the largest statistic of each benign account ``[n]``.
        fpr: false-positive rate per account.
    """
    ordered = peaks.double().sort().values
    place = math.ceil((len(ordered) + 1) * (1 - fpr) - 1e-9)
    if place > len(ordered) or not bool(torch.isfinite(ordered[-1])):
        return torch.tensor(math.inf, dtype=torch.float64)
    limit = ordered[max(place, 1) - 1]
    # Where few benign accounts were ever judged, only more than the largest of them is unusual.
    limit = limit if bool(torch.isfinite(limit)) else ordered[-1]
    # The last digits of a sum depend on the size of a piece, and an account must not exceed itself.
    return limit + 1e-6 * limit.abs()


def alarm(watch: Watch, stream: Queries, limit: Tensor) -> tuple[int, float] | None:
    """The first query whose statistic exceeds ``limit``, and the statistic; None if none does.

    After an alarm the watch has seen nothing of the account beyond the piece with the alarm.
    """
    for rows in torch.split(torch.arange(len(stream), device=stream.time.device), PIECE):
        statistic = watch.see(stream.take(rows))
        over = (statistic > limit).nonzero()
        if len(over):
            first = int(over[0])
            return int(rows[first]), float(statistic[first])
    return None
