"""What an audit of a log says, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Flag:
    """An account that a detector flagged.

    Attributes:
        account: its name.
        detector: name.
        query: number of the account's query, from 1.
        time: of that query: ISO 8601 in UTC, or seconds of the log where it has no dates.
        statistic: there.
        limit: what it exceeds.
        queries: of the account in the whole log.
        first, last: time of the account's first query and of its last.
    """

    account: str
    detector: str
    query: int
    time: str
    statistic: float
    limit: float
    queries: int
    first: str
    last: str


@dataclass(frozen=True)
class Ran:
    """A detector, and what became of it.

    Attributes:
        detector: name.
        limit: what statistics are held against; None where it did not run.
        why: why it did not run; "" where it did.
        accounts: how many calibrated it.
    """

    detector: str
    limit: float | None
    why: str
    accounts: int


@dataclass(frozen=True)
class Audit:
    """What an audit saw.

    Attributes:
        log: where the log was read; ``-`` is standard input.
        benign: the same of the log of benign accounts; None: calibrated on all accounts of ``log``.
        fpr: benign accounts that each detector may flag, as a share.
        queries: in the log.
        audited: accounts looked at: all of the log.
        flagged: names of the flagged accounts, by the time of their first flag.
        dated: whether times are dates.
        first, last: time of the first query of the log and of the last.
        answers: what the log shows of the answers: ``scores``, ``labels`` or "".
        detectors: all that were asked for, and what became of them.
        flags: by account, as in ``flagged``, and query.
        notes: what was understood, and what could not run, in sentences.
    """

    log: str
    benign: str | None
    fpr: float
    queries: int
    audited: int
    flagged: tuple[str, ...]
    dated: bool
    first: str
    last: str
    answers: str
    detectors: tuple[Ran, ...]
    flags: tuple[Flag, ...]
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Plain data; ``audit`` is the version of its form."""
        return {"audit": 1, **asdict(self)}
