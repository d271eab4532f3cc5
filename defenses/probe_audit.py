"""An audit of every account's queries that blocks those that probe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from bench.contract import (
    Count,
    Monitor,
    Owner,
    ServeDefense,
    Share,
    Traffic,
    Verdict,
    generator,
    require,
)
from bench.contract import seed as derive
from defenses.common.accounts import by_account
from defenses.common.detectors import DETECTORS
from defenses.common.streams import (
    Detector,
    History,
    Least,
    Queries,
    Watch,
    Window,
    alarm,
    largest,
    threshold,
)

_ROWS = 65536


@dataclass(frozen=True)
class ProbeAudit(ServeDefense):
    """Watch each account's stream by a statistic, and block it for good at the first alarm.

    In its month, the largest statistic of a benign account exceeds the threshold with probability
    at most ``fpr``. The accounts that calibrate it ask about training records; what is ordinary is
    learnt from public records, so that no record serves twice; the false-block rate is measured on
    accounts that ask about test records (PROTOCOL 7). A query that raises an alarm is not answered.

    No detector sees an attack that asks only about natural records, or one that spreads over so
    many accounts that none of them fills a window.

    Attributes:
        detector: the statistic, see :mod:`defenses.common.detectors`.
        fpr: largest share of benign accounts that are blocked in a month; 0 blocks nobody and is no
            defense. Values worth a sweep are 0.001, 0.003, 0.01 and 0.03.
        accounts: number of benign accounts that calibrate the threshold, enough to promise ``fpr``.
        window: number of last queries that ``ood`` and ``concentration`` look at; null means 20 and
            50.
        components: principal components of ``ood`` and ``stateful``; null means whole records.
        references: largest number of public records that ``ood`` and ``stateful`` learn from.
        neighbours: number of neighbours of ``stateful``, at most ``history``.
        least: number of distances after which ``prada`` begins to test.
        every: number of distances from one test of ``prada`` to the next.
        history: number of queries that ``stateful`` and ``prada`` remember of an account.
    """

    detector: Literal["prada", "stateful", "ood", "concentration", "volume"] = "ood"
    fpr: Share = 0.01
    accounts: Annotated[int, Ge(20)] = 1000
    window: Window | None = None
    components: Count | None = 32
    references: Annotated[int, Ge(2)] = 1000
    neighbours: Count = 10
    least: Least = 100
    every: Count = 10
    history: History = 1000

    tasks = ("classification",)
    paper = (
        "Juuti, Szyller, Marchal, Asokan, EuroS&P 2019 (prada); Chen, Carlini, Wagner, "
        "arXiv 1907.05587 (stateful)"
    )
    cost = "every account's last queries are kept and looked at; benign accounts are blocked"
    zero: ClassVar[Mapping[str, Any]] = {"fpr": 0.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        needed = math.ceil(1 / self.fpr - 1 - 1e-9) if self.fpr else 0
        require(
            self.accounts >= needed,
            f"accounts is {self.accounts}; to promise fpr {self.fpr:g} takes at least {needed}: "
            "give more, or a larger fpr.",
        )
        require(
            self.history >= self.neighbours,
            f"history is {self.history}; give at least neighbours, which is {self.neighbours}.",
        )

    def statistic(self) -> Detector:
        """The detector, with the options that it has in common with this defense."""
        kind = DETECTORS[self.detector]
        names = {field.name for field in fields(kind)} & {field.name for field in fields(self)}
        options = {name: getattr(self, name) for name in names}
        if self.window is None:
            options.pop("window", None)
        return kind(**options)

    def prepare(self, owner: Owner, seed: int) -> Mapping[str, Tensor]:
        """What the detector learns from public records, and its threshold."""
        if self.fpr == 0:
            return {"threshold": torch.tensor(math.inf, dtype=torch.float64)}
        detector = self.statistic()
        rng = generator(derive(seed, part="references"))
        chosen = torch.randperm(len(owner.public), generator=rng)[: self.references]
        fitted = detector.fit(owner.public.x[chosen.to(owner.device)])
        asked = owner.traffic(self.accounts, derive(seed, part="accounts"))
        answers = [owner.scores(part).argmax(1) for part in torch.split(asked.x, _ROWS)]
        stream = Queries(asked.time, torch.cat(answers), asked.x)
        peaks = largest(detector, fitted, stream, asked.account)
        return fitted | {"threshold": threshold(peaks, self.fpr)}

    def watch(self, fitted: Mapping[str, Tensor]) -> Monitor:
        """A monitor that has blocked nobody yet."""
        return _Audit(self.statistic(), fitted)


class _Audit(Monitor):
    detects = True

    def __init__(self, detector: Detector, fitted: Mapping[str, Tensor]) -> None:
        self.detector, self.fitted = detector, fitted
        self.limit = fitted["threshold"]
        self.watched: dict[int, Watch] = {}
        self.blocked: set[int] = set()

    def admit(self, traffic: Traffic, answers: Tensor) -> Verdict:
        """Refuse an account from its first alarm on."""
        admitted = torch.ones(len(traffic), dtype=torch.bool, device=traffic.x.device)
        if bool(torch.isinf(self.limit)):
            return Verdict(admitted)
        label = answers.argmax(1) if answers.is_floating_point() else answers
        whole = Queries(traffic.time, label, traffic.x)
        for account, rows in by_account(traffic.account):
            if account in self.blocked:
                admitted[rows] = False
                continue
            if account not in self.watched:
                self.watched[account] = self.detector.watch(self.fitted)
            alarmed = alarm(self.watched[account], whole.take(rows), self.limit)
            if alarmed is not None:
                admitted[rows[alarmed[0] :]] = False
                self.blocked.add(account)
                del self.watched[account]
        return Verdict(admitted)
