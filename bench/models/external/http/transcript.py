"""What a model behind HTTP was asked and answered, shared by every process that asks it.

One SQLite file holds the answers, the budget, the rate and the counts. Records are kept as digests.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.contract import UserError
from bench.models.external.http import owners
from bench.models.external.http.shared import SharedFile

Asked = tuple[bytes, int]
"""A record's digest, and how many times its asker had asked this very record before."""

LEASE_S = 300.0
"""A claim that is not renewed for so long is dead: its process was killed."""
_SLICE_S = 30.0
_LONGEST_S = 3600.0
_MANY = 400
"""Records that one look-up asks for; SQLite takes some thousand values in one statement."""

_TABLES = (
    """CREATE TABLE IF NOT EXISTS answers(
        endpoint TEXT, record BLOB, occurrence INTEGER, scores BLOB, labels TEXT,
        owner TEXT, until REAL, PRIMARY KEY(endpoint, record, occurrence)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS told(
        endpoint TEXT, name TEXT, value TEXT, PRIMARY KEY(endpoint, name)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS places(
        place TEXT PRIMARY KEY, sent INTEGER DEFAULT 0, recalled INTEGER DEFAULT 0,
        retries INTEGER DEFAULT 0, refusals INTEGER DEFAULT 0, waited REAL DEFAULT 0,
        free_at REAL DEFAULT 0) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS limits(
        place TEXT PRIMARY KEY, held_until REAL DEFAULT 0, most INTEGER) WITHOUT ROWID""",
)
_COUNTS = ("sent", "recalled", "retries", "refusals", "waited")


class BudgetSpent(UserError):
    """The records that may be sent to an endpoint have been sent.

    Attributes:
        sent: records sent so far, by every process.
        limit: records that may be sent.
        wanted: records that were to be sent now.
    """

    def __init__(self, sent: int, limit: int, wanted: int) -> None:
        self.sent = sent
        self.limit = limit
        self.wanted = wanted
        super().__init__(
            f"The budget of the endpoint is spent: {sent} of {limit} records were sent, and "
            f"{wanted} more are wanted. Every answer is kept, and none is asked again. If the "
            "owner of the endpoint permits it, raise `budget` and run the same campaign again; "
            "otherwise ask with fewer records or attacks."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """It travels between processes as what it was made of."""
        return type(self), (self.sent, self.limit, self.wanted)

    @property
    def left(self) -> int:
        """Records that may still be sent."""
        return max(0, self.limit - self.sent)


@dataclass(frozen=True)
class Answer:
    """What one record was answered.

    Attributes:
        scores: float64 ``[k]``; None: none.
        label: a text or a whole number; None: none.
    """

    scores: npt.NDArray[np.float64] | None = None
    label: str | int | None = None


class Transcript:
    """The shared file, which is open as long as this object lives.

    Args:
        path: the SQLite file, made if absent; on a disk of this machine.
        endpoint: what decides the answers, as a digest: answers are kept for each.
        place: where requests go, as a digest: budget, rate and counts are kept for each; None:
            :meth:`counts` adds up all.
        budget: records that may be sent to the place, by every process; None: any number.
        rate_per_s: records a second that may be sent to the place; None: any number.
        lease_s: how long a claim lives that is not renewed.

    Raises:
        UserError: the file cannot be opened or made, or is no transcript.
    """

    def __init__(
        self,
        path: Path,
        *,
        endpoint: str = "",
        place: str | None = None,
        budget: int | None = None,
        rate_per_s: float | None = None,
        lease_s: float = LEASE_S,
    ) -> None:
        self.path = path
        self.endpoint = endpoint
        self.place = place
        self.budget = budget
        self.rate_per_s = rate_per_s
        self.lease_s = lease_s
        self._owner = owners.new()
        self._claimed: set[Asked] = set()
        self._open = SharedFile(path, _TABLES).transaction

    def known(self, asked: Sequence[Asked]) -> dict[Asked, Answer]:
        """The answers that are kept, of those asked for."""
        found: dict[Asked, Answer] = {}
        with self._open() as file:
            for start in range(0, len(asked), _MANY):
                found |= self._look(file, asked[start : start + _MANY])
        return found

    def claim(self, asked: Sequence[Asked]) -> tuple[dict[Asked, Answer], list[Asked]]:
        """Take those that nobody has answered and nobody else is asking.

        Returns:
            the answers that are kept by now, and those that are ours to send. The rest is being
            asked by another process; ask for it again in a while.
        """
        now = time.time()
        if owners.forked(self._owner):
            self._owner = owners.new()
            self._claimed = set()
        with self._open() as file:
            known = self._look(file, asked)
            mine = [one for one in asked if one not in known and not self._taken(file, one, now)]
            file.executemany(
                "INSERT INTO answers(endpoint, record, occurrence, owner, until) "
                "VALUES(?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET owner = excluded.owner, "
                "until = excluded.until",
                [(self.endpoint, *one, self._owner, now + self.lease_s) for one in mine],
            )
        self._claimed.update(mine)
        return known, mine

    def keep(self, asked: Sequence[Asked], answers: Sequence[Answer]) -> None:
        """Keep what the records that we claimed were answered."""
        with self._open(durable=True) as file:
            file.executemany(
                "INSERT INTO answers(endpoint, record, occurrence, scores, labels) "
                "VALUES(?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET scores = excluded.scores, "
                "labels = excluded.labels, owner = NULL, until = NULL",
                [
                    (self.endpoint, *one, *_packed(answer))
                    for one, answer in zip(asked, answers, strict=True)
                ],
            )
        self._claimed.difference_update(asked)

    def release(self) -> None:
        """Give up every claim of ours that is not answered."""
        if not self._claimed:
            return
        with self._open() as file:
            file.executemany(
                "DELETE FROM answers WHERE endpoint = ? AND record = ? AND occurrence = ? "
                "AND owner = ? AND scores IS NULL AND labels IS NULL",
                [(self.endpoint, *one, self._owner) for one in self._claimed],
            )
        self._claimed.clear()

    def holds(self, one: Asked) -> bool:
        """Whether a claim of ours is still ours: a process that slept too long has lost it."""
        return one in self._claimed

    def spend(self, n: int) -> None:
        """Count records that are about to be sent.

        Raises:
            BudgetSpent: there would be more than the budget allows; none is counted.
        """
        with self._open(durable=True) as file:
            (sent,) = self._row(file, "sent")
            if self.budget is not None and sent + n > self.budget:
                raise BudgetSpent(sent, self.budget, n)
            self._add(file, sent=n)

    def refund(self, n: int) -> None:
        """Give back records that certainly were not processed."""
        self.note(sent=-n)

    def wait(self, n: int) -> float:
        """Wait until the rate allows ``n`` more records, and renew our claims meanwhile.

        Every process takes its turn in one queue, so that all together keep the rate.

        Returns:
            seconds waited.
        """
        waited = 0.0
        while True:
            held, _ = self._limits()
            waited += self._turn(n)
            if self._limits()[0] == held:  # else the endpoint asked to wait meanwhile
                return waited

    def _turn(self, n: int) -> float:
        """Wait for the turn of ``n`` records in the queue."""
        now = time.time()
        with self._open() as file:
            (free_at,) = self._row(file, "free_at")
            # A clock that was set back must not stop everything.
            start = min(max(now, free_at), now + _LONGEST_S)
            after = start + n / self.rate_per_s if self.rate_per_s else free_at
            file.execute("UPDATE places SET free_at = ? WHERE place = ?", (after, self._place()))
            self._add(file, waited=start - now)
            self._renew(file)
        while (left := start - time.time()) > 0:
            time.sleep(min(left, _SLICE_S))
            if left > _SLICE_S:
                with self._open() as file:
                    self._renew(file)
        return float(start - now)

    def hold(self, seconds: float) -> None:
        """Let no process send anything for so long, as the endpoint asked."""
        until = time.time() + seconds
        with self._open() as file:
            self._row(file, "free_at")
            file.execute(
                "UPDATE places SET free_at = max(free_at, ?) WHERE place = ?",
                (until, self._place()),
            )
            file.execute(
                "INSERT INTO limits(place, held_until) VALUES(?, ?) ON CONFLICT DO UPDATE SET "
                "held_until = max(held_until, excluded.held_until)",
                (self._place(), until),
            )

    def allow(self, most: int) -> None:
        """Keep for every process that a request may hold so many records, where none is fewer."""
        with self._open() as file:
            file.execute(
                "INSERT INTO limits(place, most) VALUES(?, ?) ON CONFLICT DO UPDATE SET "
                "most = min(coalesce(most, excluded.most), excluded.most)",
                (self._place(), most),
            )

    @property
    def most(self) -> int | None:
        """Records that a request may hold, as far as that was found out; None: any number."""
        return self._limits()[1]

    def _limits(self) -> tuple[float, int | None]:
        with self._open() as file:
            found = file.execute(
                "SELECT held_until, most FROM limits WHERE place = ?", (self._place(),)
            )
            return found.fetchone() or (0.0, None)

    def note(self, **counts: float) -> None:
        """Add to the counts: sent, recalled, retries, refusals, waited."""
        if not any(counts.values()):
            return
        with self._open() as file:
            self._add(file, **counts)

    def told(self, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the endpoint told of itself; of two processes the first is believed.

        Args:
            values: plain JSON values, kept under names that have none yet.
        """
        with self._open() as file:
            file.executemany(
                "INSERT OR IGNORE INTO told VALUES(?, ?, ?)",
                [(self.endpoint, name, json.dumps(it)) for name, it in (values or {}).items()],
            )
            kept = file.execute("SELECT name, value FROM told WHERE endpoint = ?", (self.endpoint,))
            return {name: json.loads(value) for name, value in kept}

    def counts(self) -> dict[str, int | float]:
        """For reports: records sent and recalled, retries, refusals (429), seconds waited."""
        names = ", ".join(f"total({name})" for name in _COUNTS)
        where, values = ("", ()) if self.place is None else (" WHERE place = ?", (self.place,))
        with self._open() as file:
            found = file.execute(f"SELECT {names} FROM places{where}", values).fetchone()
        counts: dict[str, int | float] = {
            name: int(value) for name, value in zip(_COUNTS, found, strict=True)
        }
        counts["waited"] = round(found[-1], 3)
        return counts

    def _place(self) -> str:
        return self.place or ""

    def _look(self, file: sqlite3.Connection, asked: Sequence[Asked]) -> dict[Asked, Answer]:
        digests = list({digest for digest, _ in asked})
        wanted = set(asked)
        marks = ",".join("?" * len(digests))
        found = file.execute(
            "SELECT record, occurrence, scores, labels FROM answers WHERE endpoint = ? AND "
            f"(scores IS NOT NULL OR labels IS NOT NULL) AND record IN ({marks})",
            (self.endpoint, *digests),
        )
        return {
            (record, occurrence): _unpacked(scores, labels)
            for record, occurrence, scores, labels in found
            if (record, occurrence) in wanted
        }

    def _taken(self, file: sqlite3.Connection, one: Asked, now: float) -> bool:
        row = file.execute(
            "SELECT owner, until FROM answers WHERE endpoint = ? AND record = ? AND occurrence = ?",
            (self.endpoint, *one),
        ).fetchone()
        return row is not None and row[0] != self._owner and now < row[1] and owners.alive(row[0])

    def _renew(self, file: sqlite3.Connection) -> None:
        until = time.time() + self.lease_s
        for one in list(self._claimed):
            renewed = file.execute(
                "UPDATE answers SET until = ? WHERE endpoint = ? AND record = ? AND "
                "occurrence = ? AND owner = ?",
                (until, self.endpoint, *one, self._owner),
            )
            if not renewed.rowcount:
                self._claimed.discard(one)

    def _row(self, file: sqlite3.Connection, *names: str) -> tuple[Any, ...]:
        file.execute("INSERT OR IGNORE INTO places(place) VALUES(?)", (self._place(),))
        found = file.execute(
            f"SELECT {', '.join(names)} FROM places WHERE place = ?", (self._place(),)
        )
        return tuple(found.fetchone())

    def _add(self, file: sqlite3.Connection, **counts: float) -> None:
        if unknown := set(counts) - set(_COUNTS):
            raise ValueError(f"no such counts: {sorted(unknown)}")
        self._row(file, "sent")
        changes = ", ".join(f"{name} = {name} + ?" for name in counts)
        file.execute(
            f"UPDATE places SET {changes} WHERE place = ?", (*counts.values(), self._place())
        )


def _packed(answer: Answer) -> tuple[bytes | None, str | None]:
    scores = None if answer.scores is None else np.asarray(answer.scores, dtype="<f8").tobytes()
    return scores, None if answer.label is None else json.dumps(answer.label)


def _unpacked(scores: bytes | None, labels: str | None) -> Answer:
    return Answer(
        scores=None if scores is None else np.frombuffer(scores, dtype="<f8").astype(np.float64),
        label=None if labels is None else json.loads(labels),
    )
