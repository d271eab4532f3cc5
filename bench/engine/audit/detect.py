"""Runs detectors of probing over a log of one's own: who is flagged, when, and by how much."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.contract import nearest, require
from bench.engine.audit.calibrate import FEWEST, ordinary, robust_limit
from bench.engine.audit.files import source
from bench.engine.audit.log import Account, Log, read
from bench.engine.audit.result import Audit, Flag, Ran
from bench.engine.audit.times import UNITS
from defenses.common.detectors import DETECTORS
from defenses.common.streams import PIECE, Detector, Queries, alarm, threshold

_LEARN = 1 / 3
"""Share of the benign accounts whose records say what is ordinary; the others calibrate."""
_REFERENCES = 5000
"""Records that say what is ordinary."""
_MANY = 0.4
"""Share of flagged accounts from which calibration without benign accounts is in doubt."""


@dataclass(frozen=True)
class _Tool:
    """A detector that can run.

    Attributes:
        name: of the detector.
        detector: with its options.
        records: columns that it reads.
    """

    name: str
    detector: Detector
    records: tuple[str, ...]

    @property
    def learns(self) -> bool:
        return type(self.detector).fit is not Detector.fit

    def seen(self, queries: Queries) -> Tensor:
        """Places of the queries it may look at: a refused one has no label, an unfit one no x."""
        fit = torch.ones(len(queries), dtype=torch.bool)
        if "label" in self.detector.reads and queries.label is not None:
            fit &= queries.label >= 0
        if "x" in self.detector.reads and queries.x is not None:
            fit &= ~queries.x[:, 0].isnan()
        return fit.nonzero().squeeze(1)

    def peak(self, queries: Queries, fitted: Mapping[str, Tensor]) -> float:
        """The largest statistic of an account; minus infinity where it has none."""
        watch = self.detector.watch(fitted)
        rows = self.seen(queries)
        pieces = [watch.see(queries.take(part)) for part in torch.split(rows, PIECE) if len(part)]
        return max((float(piece.max()) for piece in pieces), default=-math.inf)


def audit(
    log: str | Path,
    benign: str | Path | None,
    names: Sequence[str],
    fpr: float,
    *,
    form: str | None = None,
    columns: Mapping[str, str] | None = None,
    time_unit: str | None = None,
    path_prefix: str = "",
) -> Audit:
    """Calibrate detectors and run them over all accounts of a log.

    Args:
        log: what to audit; ``-`` is standard input.
        benign: a log of accounts known to be benign; None: detectors are calibrated on all accounts
            of ``log``, so that a minority that probes hardly moves the thresholds.
        names: detectors; none: all that the logs allow.
        fpr: benign accounts flagged by each detector, at most; without ``benign`` an aim.
        form: of both logs; None: by their endings.
        columns: name of the column for a role (``time``, ``account``, ``label``, ...), in both.
        time_unit: of times that are numbers: ``s``, ``ms``, ``us`` or ``ns``; None: by their size.
        path_prefix: how the paths begin that ask the model, in access logs.

    Raises:
        UserError: an unreadable log, fewer than 20 accounts to calibrate on, or a detector asked
            for by name that the logs do not allow.
    """
    for name in names:
        require(name in DETECTORS, f"There is no detector '{name}'.{nearest(name, DETECTORS)}")
    require(0 < fpr < 1, f"--fpr is {fpr}; give a rate above 0 and below 1.")
    require(
        time_unit is None or time_unit in UNITS,
        f"--time-unit is '{time_unit}'; give one of {', '.join(UNITS)}.",
    )
    sources = [source(log, form), *([] if benign is None else [source(benign, form)])]
    require(
        len({part.path for part in sources}) == len(sources),
        f"{sources[0]} is given as the log and as the benign one; leave out --benign.",
    )
    classes: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="invbench-audit-") as folder:
        logs = []
        for number, part in enumerate(sources):
            place = Path(folder) / str(number)
            place.mkdir()
            logs.append(read(part, classes, columns or {}, place, time_unit, path_prefix))
        return _look(logs, names, fpr)


def _look(logs: Sequence[Log], names: Sequence[str], fpr: float) -> Audit:
    """Run detectors over the first log; the last one calibrates them."""
    asked, known = logs[0], logs[-1]
    notes = [note for log in logs for note in log.notes]
    records, unshared = _shared(asked, known)
    notes += [unshared] if unshared else []
    require(
        len(known.names) >= FEWEST,
        f"{known.source} has {len(known.names)} accounts to calibrate on; at least {FEWEST} are "
        "needed: give a longer log, or --benign with one of accounts known to be benign.",
    )
    tools, ran = _tools(logs, records, names)
    alone = asked is known
    if alone:
        notes.append(
            f"Calibrated on all {len(known.names):,} accounts, so that fewer than half of them may "
            f"probe; --fpr {fpr:g} is an aim: only --benign promises a rate."
        )
        limits = _robust(asked, tools, fpr)
    else:
        notes.append(f"Calibrated on {len(known.names):,} accounts of {known.source}.")
        if asked.days > 1.5 * known.days:
            notes.append(
                f"{asked.source} spans {asked.days:.3g} days, {known.source} {known.days:.3g}: an "
                "account has more time to be flagged than its rate is calibrated for."
            )
        limits = _conformal(known, tools, fpr, notes)
    ran += [limit.ran for limit in limits]
    flags = _flags(asked, [limit for limit in limits if limit.ran.limit is not None])
    order = tuple(dict.fromkeys(flag.account for _, flag in flags))
    flags.sort(key=lambda pair: (order.index(pair[1].account), pair[0]))
    notes += [f"Skipped {part.detector}: {part.why}." for part in ran if part.limit is None]
    require(any(part.limit is not None for part in ran), f"No detector can run. {notes[-1]}")
    if alone and len(order) > _MANY * len(asked.names):
        notes.append(
            f"{len(order):,} of {len(asked.names):,} accounts are flagged: so many cannot be told "
            "from benign ones without a log of those; give --benign."
        )
    return Audit(
        log=asked.source.path,
        benign=None if alone else known.source.path,
        fpr=fpr,
        queries=asked.count,
        audited=len(asked.names),
        flagged=order,
        dated=asked.scale.dated,
        first=asked.scale.show(asked.first),
        last=asked.scale.show(asked.last),
        answers=asked.plan.answers,
        detectors=tuple(sorted(ran, key=lambda part: list(DETECTORS).index(part.detector))),
        flags=tuple(flag for _, flag in flags),
        notes=tuple(notes),
    )


def _shared(asked: Log, known: Log) -> tuple[tuple[str, ...], str]:
    """Columns of records that both logs have, and a sentence on the others."""
    both = tuple(name for name in asked.plan.records if name in known.plan.records)
    alone = [
        f"{name} (only in {log.source})"
        for log in (asked, known)
        for name in log.plan.records
        if name not in both
    ]
    if not alone:
        return both, ""
    more = f" and {len(alone) - 6} more" if len(alone) > 6 else ""
    return (
        both,
        f"Columns of records that one log lacks are left out: {', '.join(alone[:6])}{more}.",
    )


def _tools(
    logs: Sequence[Log], records: tuple[str, ...], names: Sequence[str]
) -> tuple[list[_Tool], list[Ran]]:
    tools, ran = [], []
    for name in dict.fromkeys(names or DETECTORS):
        lacking = [
            f"{log.source} has {log.lacks[what]}"
            for log in logs
            for what in sorted(DETECTORS[name].reads)
            if what in log.lacks
        ]
        if not lacking and "x" in DETECTORS[name].reads and not records:
            lacking = ["the logs have no column of records in common"]
        if lacking:
            require(name not in names, f"Detector '{name}' cannot run: {lacking[0]}.")
            ran.append(Ran(name, None, lacking[0], 0))
        else:
            reads = records if "x" in DETECTORS[name].reads else ()
            tools.append(_Tool(name, DETECTORS[name](), reads))
    return tools, ran


# ---------------------------------------------------------------- calibration
@dataclass(frozen=True)
class _Limit:
    """A calibrated detector.

    Attributes:
        tool: the detector.
        ran: its limit, or why it has none.
        fitted: what it learnt, for each fold of the accounts.
        fold: of every account of the audited log; None: all are in the first.
    """

    tool: _Tool
    ran: Ran
    fitted: Sequence[Mapping[str, Tensor]]
    fold: Sequence[int] | None = None

    def learnt(self, account: Account) -> Mapping[str, Tensor]:
        return self.fitted[0 if self.fold is None else self.fold[account.number]]


def _sample(log: Log, records: tuple[str, ...], chosen: set[int]) -> tuple[Tensor, Tensor]:
    """Records of the chosen accounts ``[m, d]`` and their accounts, as many of each."""
    each = max(1, _REFERENCES // max(len(chosen), 1))
    xs, owners = [], []
    for account in log.accounts(records):
        if account.number in chosen and account.queries.x is not None:
            x = account.queries.x[~account.queries.x[:, 0].isnan()]
            places = torch.linspace(0, max(len(x) - 1, 0), min(each, len(x))).long()
            xs.append(x[places])
            owners.append(torch.full((len(places),), account.number))
    owner = torch.cat(owners)
    # In an order that depends on no order of the log.
    order = torch.from_numpy(log.ranks())[owner].argsort(stable=True)
    return torch.cat(xs)[order], owner[order]


def _enough(log: Log, x: Tensor) -> None:
    require(
        len(x) > 1,
        f"{log.source} has too few records to say what is ordinary; give a longer log, or name the "
        "detectors that need none: --detector volume --detector concentration.",
    )


def _robust(log: Log, tools: Sequence[_Tool], fpr: float) -> list[_Limit]:
    """Limits from all accounts; what is ordinary for one half is learnt from the other half."""
    ranks = log.ranks()
    fold = (ranks % 2).tolist()
    references: list[Tensor] = []
    learning = next((tool for tool in tools if tool.learns), None)
    if learning is not None:
        most = set(np.flatnonzero(ranks < _REFERENCES).tolist())
        x, owner = _sample(log, learning.records, most)
        side = torch.tensor(fold)[owner]
        for other in (1, 0):
            x_side, owners = x[side == other], owner[side == other]
            _enough(log, x_side)
            references.append(x_side[torch.isin(owners, ordinary(x_side, owners))])
    fitted: dict[str, list[Mapping[str, Tensor]]] = {
        tool.name: [tool.detector.fit(x) for x in references] if tool.learns else [{}, {}]
        for tool in tools
    }
    peaks: dict[str, list[float]] = {tool.name: [] for tool in tools}
    for account, tool in _each(log, tools):
        peaks[tool.name].append(tool.peak(account.queries, fitted[tool.name][fold[account.number]]))
    limits = []
    for tool in tools:
        known = torch.tensor(peaks[tool.name], dtype=torch.float64)
        known = known[torch.isfinite(known)]
        if len(known) < FEWEST:
            why = f"it needs {FEWEST} accounts that asked enough to be judged, and has {len(known)}"
            ran = Ran(tool.name, None, why, len(known))
        else:
            window = int(getattr(tool.detector, "window", 1))
            ran = Ran(tool.name, robust_limit(tool.name, known, fpr, window), "", len(known))
        limits.append(_Limit(tool, ran, fitted[tool.name], fold))
    return limits


def _conformal(log: Log, tools: Sequence[_Tool], fpr: float, notes: list[str]) -> list[_Limit]:
    """Limits from benign accounts; a third of them says what is ordinary, where one must learn."""
    ranks = log.ranks()
    learners = set(np.flatnonzero(ranks < round(_LEARN * len(ranks))).tolist())
    learning = next((tool for tool in tools if tool.learns), None)
    x = _sample(log, learning.records, learners)[0] if learning is not None else None
    if x is not None:
        _enough(log, x)
    fitted: dict[str, Mapping[str, Tensor]] = {
        tool.name: tool.detector.fit(x) if tool.learns and x is not None else {} for tool in tools
    }
    peaks: dict[str, list[float]] = {tool.name: [] for tool in tools}
    for account, tool in _each(log, tools):
        if not (tool.learns and account.number in learners):
            peaks[tool.name].append(tool.peak(account.queries, fitted[tool.name]))
    limits = []
    for tool in tools:
        known = torch.tensor(peaks[tool.name], dtype=torch.float64)
        least = 1 / (len(known) + 1)
        limit = float(threshold(known, max(fpr, least)))
        if math.isfinite(limit):
            ran = Ran(tool.name, limit, "", len(known))
            if least > fpr * (1 + 1e-9):
                notes.append(
                    f"{tool.name}: {len(known)} accounts promise no rate below {least:.2g}; that "
                    "is used."
                )
        else:
            ran = Ran(tool.name, None, "no benign account asked enough to calibrate it", len(known))
        limits.append(_Limit(tool, ran, [fitted[tool.name]]))
    return limits


def _each(log: Log, tools: Sequence[_Tool]) -> Iterator[tuple[Account, _Tool]]:
    """Every account under every detector, each reading the columns it needs."""
    records = next((tool.records for tool in tools if tool.records), ())
    for account in log.accounts(records):
        for tool in tools:
            yield account, tool


# ---------------------------------------------------------------- flags
def _flags(log: Log, limits: Sequence[_Limit]) -> list[tuple[float, Flag]]:
    """Flags with the seconds of their time, in its order."""
    flags = []
    by_name = {limit.tool.name: limit for limit in limits}
    for account, tool in _each(log, [limit.tool for limit in limits]):
        limit = by_name[tool.name]
        assert limit.ran.limit is not None
        rows = tool.seen(account.queries)
        first = alarm(
            tool.detector.watch(limit.learnt(account)),
            account.queries.take(rows),
            torch.tensor(limit.ran.limit, dtype=torch.float64),
        )
        if first is not None:
            row = int(rows[first[0]])
            times = account.queries.time
            flag = Flag(
                account=log.names[account.number],
                detector=tool.name,
                query=row + 1,
                time=log.scale.show(float(times[row])),
                statistic=first[1],
                limit=limit.ran.limit,
                queries=len(times),
                first=log.scale.show(float(times[0])),
                last=log.scale.show(float(times[-1])),
            )
            flags.append((float(times[row]), flag))
    return sorted(flags, key=lambda pair: (pair[0], pair[1].account, pair[1].detector))
