"""Detectors of probing over a log of one's own: who is flagged, when, and by how much."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bench.contract import UserError, nearest, require
from defenses.common.accounts import by_account
from defenses.common.detectors import DETECTORS
from defenses.common.streams import Detector, Queries, alarm, largest, threshold

FEWEST = 20
"""Benign accounts: fewer say nothing of a rate."""
_LEARN = 1 / 3
"""Share of the benign accounts whose records say what is ordinary; the others calibrate."""
_KNOWN = ("time", "account", "label", "score", "digest", "confidence")
_SCORES = re.compile(r"score_?(\d+)")
_RECORDS = re.compile(r"x_?(\d+)")


@dataclass(frozen=True)
class Log:
    """Queries in the order of their time.

    Attributes:
        path: where they were read.
        shown: the time of each as it was written.
        names: of the accounts, by number.
        account: number of the account, int64 ``[n]``.
        queries: times, and labels (-1: no answer) and records where the log has them.
        lacks: why it has no labels or records, by what is lacking.
    """

    path: Path
    shown: Sequence[Any]
    names: Sequence[str]
    account: Tensor
    queries: Queries
    lacks: dict[str, str]

    @property
    def days(self) -> float:
        """From the first query to the last."""
        return float(self.queries.time[-1] - self.queries.time[0]) / 86400

    def of(self, accounts: Tensor) -> Tensor:
        """Places of the queries of ``accounts`` (their numbers)."""
        return torch.isin(self.account, accounts).nonzero().squeeze(1)


@dataclass(frozen=True)
class Flag:
    """An account that a detector flagged.

    Attributes:
        account: its name.
        detector: name.
        query: number of the account's query, from 1.
        time: as written in the log.
        statistic: there.
        limit: what it exceeds.
    """

    account: str
    detector: str
    query: int
    time: Any
    statistic: float
    limit: float


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        flags: by account and time.
        audited: accounts looked at.
        notes: what was calibrated on what, and what could not run, in sentences.
    """

    flags: Sequence[Flag]
    audited: int
    notes: Sequence[str]


# ---------------------------------------------------------------- reading
def read(path: Path, classes: dict[str, int]) -> Log:
    """A log of queries as CSV, Parquet or JSON lines, sorted by time.

    Args:
        path: its ending says what it is.
        classes: number of every label met so far; labels of several logs are numbered together.

    Raises:
        UserError: no such file, no such table, an empty one, or one without time and account.
    """
    frame = _frame(path)
    require(len(frame) > 0, f"'{path}' holds no query; give a log with a row per query.")
    frame.columns = frame.columns.astype(str)
    for column in ("time", "account"):
        require(
            column in frame.columns,
            f"'{path}' has no column '{column}'; a log has 'time' and 'account', and 'label', "
            f"scores or records.{nearest(column, frame.columns)}",
        )
        gaps = frame[column].isna()
        require(
            not gaps.any(),
            f"'{path}', row {int(gaps.argmax()) + 1} has no {column}; fill it in or drop the row.",
        )
    seconds = _seconds(path, frame["time"])
    order = np.argsort(seconds, kind="stable")
    frame = frame.iloc[order].reset_index(drop=True)
    numbers, names = pd.factorize(frame["account"].astype(str))
    lacks: dict[str, str] = {}
    label, x = _labels(path, frame, classes, lacks), _records(path, frame, lacks)
    queries = Queries(torch.from_numpy(seconds[order]), label, x)
    account = torch.from_numpy(numbers.astype(np.int64))
    return Log(path, frame["time"].tolist(), list(names), account, queries, lacks)


def _frame(path: Path) -> pd.DataFrame:
    named = {"account": str}  # 007 is another account than 7
    readers: dict[str, Any] = {
        ".csv": lambda p: pd.read_csv(p, dtype=named),
        ".parquet": pd.read_parquet,
        ".jsonl": lambda p: pd.read_json(p, lines=True, dtype=False),
    }
    require(
        path.suffix in readers,
        f"'{path}' ends in '{path.suffix}'; give a log that ends in {', '.join(readers)}.",
    )
    require(path.is_file(), f"There is no log '{path}'; name a file that exists.")
    try:
        frame: pd.DataFrame = readers[path.suffix](path)
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame()
    except (ValueError, OSError) as error:  # pandas and pyarrow raise kinds of ValueError
        said = str(error).strip().partition("\n")[0]
        raise UserError(
            f"'{path}' cannot be read as {path.suffix[1:]} ({said}); write it again."
        ) from error
    return frame


def _seconds(path: Path, column: pd.Series[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Times as seconds: numbers as they are, dates since 1970."""
    numbers = pd.to_numeric(column, errors="coerce")
    if column.dtype.kind != "M" and not numbers.isna().any():
        bad = ~np.isfinite(numbers.to_numpy(dtype=float))
        require(not bad.any(), f"'{path}', row {int(bad.argmax()) + 1}: time is not finite.")
        return np.array(numbers, dtype=np.float64)
    dates = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
    wrong = dates.isna()
    require(
        not wrong.any(),
        f"'{path}', row {int(wrong.argmax()) + 1} has the time '{column[int(wrong.argmax())]}'; "
        "give seconds, or dates by ISO 8601, the same in every row.",
    )
    start = pd.Timestamp(0, tz="UTC")
    return np.array((dates - start) / pd.Timedelta(seconds=1), dtype=np.float64)


def _labels(
    path: Path, frame: pd.DataFrame, classes: dict[str, int], lacks: dict[str, str]
) -> Tensor | None:
    """``label``, the largest of ``score0, score1, ...``, or ``score`` of the second of two."""
    scores = _numbered(frame, _SCORES)
    if "label" in frame:
        said = frame["label"]
        number = pd.to_numeric(said, errors="coerce")
        said = said.astype(object).where(number.isna() | (number % 1 != 0), number)
        keys = [str(int(v)) if isinstance(v, float) and v % 1 == 0 else str(v) for v in said]
        refused = (said.isna() | (number == -1)).tolist()
    elif scores:
        values = _numbers(path, frame, scores)
        keys = [str(k) for k in values.argmax(1).tolist()]
        refused = [False] * len(keys)
    elif "score" in frame:
        sure = _numbers(path, frame, ["score"])[:, 0]
        keys = [str(int(p >= 0.5)) for p in sure.tolist()]
        refused = [False] * len(keys)
    else:
        lacks["label"] = "no column 'label', 'score' or 'score0', 'score1', ..."
        return None
    found = [
        -1 if gone else classes.setdefault(key, len(classes))
        for key, gone in zip(keys, refused, strict=True)
    ]
    return torch.tensor(found, dtype=torch.int64)


def _records(path: Path, frame: pd.DataFrame, lacks: dict[str, str]) -> Tensor | None:
    """Columns ``x0, x1, ...``, or else all other columns of numbers."""
    columns = _numbered(frame, _RECORDS)
    if not columns:
        others = frame.drop(columns=[*_numbered(frame, _SCORES), *_KNOWN], errors="ignore")
        columns = [str(c) for c in others.select_dtypes(["number", "bool"]).columns]
    if not columns:
        lacks["x"] = "no columns of records ('x0', 'x1', ... or other numbers)"
        return None
    return torch.from_numpy(_numbers(path, frame, columns))


def _numbered(frame: pd.DataFrame, pattern: re.Pattern[str]) -> list[str]:
    """Columns whose whole name fits, by the number in it."""
    found = [(pattern.fullmatch(column), column) for column in map(str, frame.columns)]
    return [c for _, c in sorted((int(match[1]), column) for match, column in found if match)]


def _numbers(
    path: Path, frame: pd.DataFrame, columns: Sequence[str]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    numbers = frame[list(columns)].apply(pd.to_numeric, errors="coerce")
    table = np.array(numbers, dtype=np.float64)
    finite = np.isfinite(table).all(0)
    require(
        bool(finite.all()),
        f"'{path}': column '{columns[int(finite.argmin())]}' holds something that is no finite "
        "number; fill gaps before the audit.",
    )
    return table


# ---------------------------------------------------------------- auditing
def audit(
    log: Path, benign: Path | None, names: Sequence[str], fpr: float, calibrate: float
) -> Audit:
    """Calibrate detectors on benign accounts and run them over the others.

    Args:
        log: what to audit.
        benign: a log of accounts known to be benign; None: the accounts of ``log`` that asked
            first are taken for benign, and are not audited. They had the longest time to ask much,
            and a prober among them hides others like it: thresholds err on the high side.
        names: detectors; none: all that the logs allow.
        fpr: benign accounts flagged by each detector, at most.
        calibrate: share of the accounts that asked first; only without ``benign``.

    Raises:
        UserError: an unreadable log, fewer than 20 benign accounts, none left to audit, or a
            detector asked for by name that the logs do not allow.
    """
    for name in names:
        require(name in DETECTORS, f"There is no detector '{name}'.{nearest(name, DETECTORS)}")
    require(0 < fpr < 1, f"--fpr is {fpr}; give a rate above 0 and below 1.")
    require(0 < calibrate < 1, f"--calibrate is {calibrate}; give a share above 0 and below 1.")
    classes: dict[str, int] = {}
    asked = read(log, classes)
    known = asked if benign is None else read(benign, classes)
    # Accounts are numbered in the order of their first query.
    usual = len(known.names) if benign is not None else int(calibrate * len(known.names))
    require(
        usual >= FEWEST,
        f"'{known.path}' gives {usual} benign accounts to calibrate on; at least {FEWEST} are "
        "needed: give a longer log, or --benign with one of accounts known to be benign.",
    )
    first = usual if benign is None else 0
    audited = torch.arange(first, len(asked.names))
    require(len(audited) > 0, f"'{log}' has no account left to audit; lower --calibrate.")
    source = f"the first {usual} accounts, taken for benign and not audited"
    notes = [f"Calibrated on {source if benign is None else f'{usual} accounts of {benign}'}."]
    if asked.days > 1.5 * known.days:
        notes.append(
            f"'{log}' spans {asked.days:.3g} days, '{benign}' {known.days:.3g}: an account has "
            "more time to be flagged than its rate is calibrated for."
        )
    flags: list[Flag] = []
    ran = 0
    for name in dict.fromkeys(names or DETECTORS):
        lacking = [
            f"'{part.path}' has {part.lacks[what]}"
            for part in (asked, known)
            for what in sorted(DETECTORS[name].reads)
            if what in part.lacks
        ]
        if lacking:
            require(name not in names, f"Detector '{name}' cannot run: {lacking[0]}.")
            notes.append(f"Skipped {name}: {lacking[0]}.")
            continue
        ran += 1
        detector = DETECTORS[name]()
        limit, fitted, note = _calibrated(detector, name, known, usual, fpr)
        notes += [note] if note else []
        flags += _flags(detector, name, asked, audited, fitted, limit)
    require(ran > 0, f"No detector can run on '{log}'.")
    place = {name: i for i, name in enumerate(asked.names)}
    flags.sort(key=lambda f: (place[f.account], f.query))
    return Audit(flags, len(audited), notes)


def _answered(detector: Detector, log: Log, rows: Tensor) -> Tensor:
    """Of ``rows``, those that the detector may look at: a refused query has no label."""
    if "label" not in detector.reads or log.queries.label is None:
        return rows
    return rows[log.queries.label[rows] >= 0]


def _calibrated(
    detector: Detector, name: str, known: Log, usual: int, fpr: float
) -> tuple[Tensor, dict[str, Tensor], str]:
    """Threshold, what the detector learnt, and a sentence where it says less than was asked."""
    learns = type(detector).fit is not Detector.fit
    learnt = round(_LEARN * usual) if learns else 0
    fitted: dict[str, Tensor] = {}
    if learns and known.queries.x is not None:
        fitted = detector.fit(known.queries.x[known.of(torch.arange(learnt))][:5000])
    rows = _answered(detector, known, known.of(torch.arange(learnt, usual)))
    peaks = largest(detector, fitted, known.queries.take(rows), known.account[rows])
    silent = torch.full((usual - learnt - len(peaks),), -math.inf, dtype=torch.float64)
    peaks = torch.cat([peaks, silent])
    least = 1 / (len(peaks) + 1)
    limit = threshold(peaks, max(fpr, least))
    if not bool(torch.isfinite(limit)):
        return limit, fitted, f"Skipped {name}: no benign account asked enough to calibrate it."
    note = f"{name}: {len(peaks)} accounts promise no rate below {least:.2g}; that is used."
    return limit, fitted, note if least > fpr * (1 + 1e-9) else ""


def _flags(
    detector: Detector,
    name: str,
    log: Log,
    audited: Tensor,
    fitted: dict[str, Tensor],
    limit: Tensor,
) -> list[Flag]:
    flags = []
    everything = log.of(audited)
    for account, places in by_account(log.account[everything]):
        own = everything[places]
        rows = _answered(detector, log, own)
        found = alarm(detector.watch(fitted), log.queries.take(rows), limit)
        if found is not None:
            row = int(rows[found[0]])
            number = int((own <= row).sum())
            flags.append(
                Flag(log.names[account], name, number, log.shown[row], found[1], float(limit))
            )
    return flags
