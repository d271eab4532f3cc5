"""An audit of every account's queries that blocks those that probe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from bench.contract import Monitor, Owner, ServeDefense, Traffic, Verdict, generator, require
from bench.contract import seed as derive
from defenses.common.accounts import by_account
from defenses.common.detectors import DETECTORS
from defenses.common.streams import Detector, Queries, Watch, alarm, largest, threshold

_ROWS = 65536


@dataclass(frozen=True)
class ProbeAudit(ServeDefense):
    """Watch each account's stream by a statistic, and block it at the first alarm, for good.

    The threshold is what the largest statistic of a benign account exceeds in its month with
    probability at most ``fpr``. Accounts that calibrate it ask about training records; what is
    ordinary is learnt from public ones, so that no record serves twice; a false-block rate is
    measured on accounts that ask about test records (PROTOCOL 7). A query that raises an alarm is
    not answered.

    No detector sees an attack that only asks natural records, nor one that spreads over more
    accounts than it needs windows.

    Attributes:
        detector: ``prada``, ``stateful``, ``ood``, ``concentration`` or ``volume``.
        fpr: benign accounts blocked in a month, at most; 0: none, ever (no defense).
        accounts: benign accounts that calibrate the threshold.
        window: last queries looked at; None: 20 by ood, 50 by concentration; no other uses it.
        components: principal components of ood and stateful; None: whole records.
        references: public records that ood and stateful learn from, at most.
        neighbours: of stateful.
        least: distances beyond which prada tests.
        every: distances from one test of prada to the next.
        history: queries that stateful and prada remember of an account.
    """

    detector: Literal["prada", "stateful", "ood", "concentration", "volume"] = "ood"
    fpr: float = 0.01
    accounts: int = 1000
    window: int | None = None
    components: int | None = 32
    references: int = 1000
    neighbours: int = 10
    least: int = 100
    every: int = 10
    history: int = 1000

    adaptive_attacks = (
        "prior_inversion",
        "attribute_map",
        "basket_decoder",
        "class_decoder",
        "inverse_decoder",
        "latent_evolution",
        "score_classifier",
    )
    tasks = ("classification",)
    paper = (
        "Juuti, Szyller, Marchal, Asokan, EuroS&P 2019 (prada); Chen, Carlini, Wagner, "
        "arXiv 1907.05587 (stateful)"
    )
    cost = "every account's last queries are kept and looked at; benign accounts are blocked"
    zero: ClassVar[Mapping[str, Any]] = {"fpr": 0.0}

    def __post_init__(self) -> None:
        require(
            self.detector in DETECTORS,
            f"ProbeAudit.detector is '{self.detector}'; allowed: {', '.join(DETECTORS)}.",
        )
        require(
            0.0 <= self.fpr < 1.0,
            f"ProbeAudit.fpr is {self.fpr}; give a rate of at least 0 and less than 1.",
        )
        most = max(20, math.ceil(1 / self.fpr - 1 - 1e-9)) if self.fpr else 20
        require(
            self.accounts >= most,
            f"ProbeAudit.accounts is {self.accounts}; to promise fpr {self.fpr:g} takes at least "
            f"{most}: give more, or a larger fpr.",
        )
        low = {"window": 2, "components": 1, "references": 2, "neighbours": 1}
        low |= {"least": 3, "every": 1, "history": self.neighbours}
        for name, least in low.items():
            value = getattr(self, name)
            require(
                value is None or value >= least,
                f"ProbeAudit.{name} is {value}; give a whole number of at least {least}.",
            )
        require(
            self.history <= 5000,
            f"ProbeAudit.history is {self.history}; give at most 5000: beyond, the test of Shapiro "
            "and Wilk is not accurate.",
        )

    def statistic(self) -> Detector:
        """The detector with those of these options that it has."""
        kind = DETECTORS[self.detector]
        own = {f.name for f in fields(kind)} & {f.name for f in fields(self)}  # type: ignore[arg-type]
        found = {name: getattr(self, name) for name in own}
        if self.window is None:
            found.pop("window", None)
        return kind(**found)

    def prepare(self, owner: Owner, seed: int) -> Mapping[str, Tensor]:
        """What the detector learns from public records, and its threshold."""
        if self.fpr == 0:
            return {"threshold": torch.tensor(math.inf, dtype=torch.float64)}
        detector = self.statistic()
        rng = generator(derive(seed, part="references"))
        chosen = torch.randperm(len(owner.public), generator=rng)[: self.references]
        fitted = detector.fit(owner.public.x[chosen.to(owner.device)])
        asked = owner.traffic(self.accounts, derive(seed, part="accounts"))
        answers = [owner.scores(part).argmax(1) for part in asked.x.split(_ROWS)]
        stream = Queries(asked.time, torch.cat(answers), asked.x)
        peaks = largest(detector, fitted, stream, asked.account)
        return fitted | {"threshold": threshold(peaks, self.fpr)}

    def watch(self, fitted: Mapping[str, Tensor]) -> Monitor:
        """Nobody is blocked yet."""
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
            found = alarm(self.watched[account], whole.take(rows), self.limit)
            if found is not None:
                admitted[rows[found[0] :]] = False
                self.blocked.add(account)
                del self.watched[account]
        return Verdict(admitted)
