"""What pages say besides the numbers of the trials, gathered in the same pass over the records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd

from bench.contract.ledger import PrivacyLedger
from bench.contract.record import ENVIRONMENT, AttackInfo, Data, DefenseInfo, TrialRecord
from bench.report import stats
from bench.report.coverage import EVERYTHING, Coverage

SHOWN = tuple(name for name in ENVIRONMENT if name != "commit")
"""What is shown of the environments; the commit stands there with what git says of it."""

_CELL = ["dataset", "model", "defense", "attack"]
_T = TypeVar("_T")
_Rank = tuple[bool, str]


@dataclass(frozen=True)
class Facts:
    """What the records of a suite have in common.

    Attributes:
        cards: of each data set what a finished trial says of it.
        showable: data sets whose every finished trial allows its records to be shown.
        judges: of each data set the figures of its evaluators, averaged over seeds.
        defenses: what was done under each row name.
        attacks: what was run under each row name.
        ledgers: by data set, model and defense, of its first seed with one.
        gains: as :func:`bench.report.attributes.told` wants them: a row for each ``dataset``,
            ``model``, ``defense``, ``attack`` and ``group`` with the mean ``gain`` over the
            baseline and the ends of its interval over seeds.
        environments: distinct values of ``SHOWN``, of ``benchmark version``, of
            ``git commit`` and of ``record schema``, sorted.
        first: when the earliest trial was recorded (RFC 3339).
        last: when the latest was.
        protocol: the protocol version of all of them.
        coverage: how much of what was planned they are.
    """

    cards: Mapping[str, Data]
    showable: frozenset[str]
    judges: Mapping[str, Mapping[str, float]]
    defenses: Mapping[str, DefenseInfo]
    attacks: Mapping[str, AttackInfo]
    ledgers: Mapping[tuple[str, str, str], PrivacyLedger]
    gains: pd.DataFrame
    environments: Mapping[str, tuple[str, ...]]
    first: str
    last: str
    protocol: str
    coverage: Coverage = EVERYTHING


class Gatherer:
    """Facts in the making: :meth:`add` every record in any order, then :meth:`facts`."""

    def __init__(self) -> None:
        self._cards: dict[str, tuple[_Rank, Data]] = {}
        self._shown: dict[str, bool] = {}
        self._judges: dict[str, dict[tuple[int, str], float]] = {}
        self._defenses: dict[str, tuple[_Rank, DefenseInfo]] = {}
        self._attacks: dict[str, tuple[_Rank, AttackInfo]] = {}
        self._ledgers: dict[tuple[str, str, str], tuple[int, PrivacyLedger]] = {}
        self._gains: list[tuple[Any, ...]] = []
        self._seen: dict[str, set[str]] = {}
        self._stamps: set[str] = set()
        self._protocols: set[str] = set()

    def add(self, record: TrialRecord) -> None:
        """Take in one trial."""
        cell, done = record.cell, record.status == "done"
        # A trial that finished knows its data and its parts; a failure may not.
        rank = (done, cell.key())
        _keep(self._cards, cell.dataset, rank, record.data)
        _keep(self._defenses, cell.defense, rank, record.defense)
        _keep(self._attacks, cell.attack, rank, record.attack)
        for metric, figure in record.evaluator.items():
            self._judges.setdefault(cell.dataset, {})[cell.seed, metric] = figure
        self._stamps.add(record.created_utc)
        self._protocols.add(record.protocol_version)
        told = {
            "benchmark version": record.benchmark_version,
            "record schema": record.schema_version,
            "git commit": record.env.get("git", {}).get("commit"),
            **{name: record.env.get(name) for name in SHOWN},
        }
        for name, value in told.items():
            if value not in (None, ""):
                self._seen.setdefault(name, set()).add(str(value))
        if not done:
            return
        self._shown[cell.dataset] = self._shown.get(cell.dataset, True) and record.data.publishable
        if record.privacy is not None:
            place = (cell.dataset, cell.model, cell.defense)
            if place not in self._ledgers or cell.seed < self._ledgers[place][0]:
                self._ledgers[place] = (cell.seed, record.privacy)
        if record.score is not None and not record.control:
            names = [getattr(cell, name) for name in _CELL]
            self._gains += [
                (*names, cell.seed, group, gain) for group, gain in record.score.group_gain.items()
            ]

    def facts(self) -> Facts:
        """All that was gathered."""
        return Facts(
            cards={name: self._cards[name][1] for name in sorted(self._cards)},
            showable=frozenset(name for name, shown in self._shown.items() if shown),
            judges={
                name: {
                    str(metric): float(mean)
                    for metric, mean in pd.Series(values).groupby(level=1).mean().items()
                }
                for name, values in sorted(self._judges.items())
            },
            defenses={name: self._defenses[name][1] for name in sorted(self._defenses)},
            attacks={name: self._attacks[name][1] for name in sorted(self._attacks)},
            ledgers={place: ledger for place, (_, ledger) in sorted(self._ledgers.items())},
            gains=self._subgroups(),
            environments={name: tuple(sorted(seen)) for name, seen in self._seen.items()},
            first=min(self._stamps, default=""),
            last=max(self._stamps, default=""),
            protocol=", ".join(sorted(self._protocols)),
        )

    def _subgroups(self) -> pd.DataFrame:
        table = pd.DataFrame(self._gains, columns=[*_CELL, "seed", "group", "gain"])
        if table.empty:
            return table.assign(gain_lo=0.0, gain_hi=0.0, gain_n=0)
        return stats.summarise(table, [*_CELL, "group"], ["gain"])


def _keep(kept: dict[str, tuple[_Rank, _T]], name: str, rank: _Rank, value: _T) -> None:
    if name not in kept or kept[name][0] < rank:
        kept[name] = (rank, value)


def gather(records: Iterable[TrialRecord]) -> Facts:
    """The facts of some records."""
    gatherer = Gatherer()
    for record in records:
        gatherer.add(record)
    return gatherer.facts()
