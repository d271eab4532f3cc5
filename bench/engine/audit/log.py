"""Holds the queries of a log account by account, in little memory.

Every query is a row of 16 bytes and four more for each number of its record. Rows are dealt out to
``PARTS`` parts by their account, and lie on disk once they take more than ``HELD`` bytes, so that a
pass over all accounts needs the memory of one part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from bench.contract import UserError, require
from bench.engine.audit import access, columns, serving, tables
from bench.engine.audit.files import ACCESS, EVENTS, Source
from bench.engine.audit.payloads import RECORD
from bench.engine.audit.times import Clock, Scale
from defenses.common.streams import Queries

PARTS = 64
HELD = 64 << 20
"""Bytes of rows that stay in memory."""


class Rows:
    """Rows of queries in parts; an account lies in one part, in the order it was read."""

    def __init__(self, width: int, folder: Path) -> None:
        self.kind = np.dtype(
            [("time", "<f8"), ("account", "<i4"), ("label", "<i4"), ("x", "<f4", (width,))]
        )
        self.folder = folder
        self.held: list[list[NDArray[Any]]] = [[] for _ in range(PARTS)]
        self.bytes = 0

    def add(self, rows: NDArray[Any]) -> None:
        """Append rows."""
        part = rows["account"] % PARTS
        order = np.argsort(part, kind="stable")
        bounds = np.searchsorted(part[order], np.arange(PARTS + 1))
        for number in range(PARTS):
            places = order[bounds[number] : bounds[number + 1]]
            if len(places):
                self.held[number].append(rows[places])
        self.bytes += rows.nbytes
        if self.bytes > HELD:
            self._put_away()

    def _put_away(self) -> None:
        try:
            for number, pieces in enumerate(self.held):
                with (self.folder / str(number)).open("ab") as stream:
                    for piece in pieces:
                        piece.tofile(stream)
                pieces.clear()
        except OSError as error:
            raise UserError(
                f"The log is sorted on disk in '{self.folder}', which cannot be written ({error}); "
                "free some space, or set TMPDIR to a folder with more."
            ) from error
        self.bytes = 0

    def parts(self) -> Iterator[NDArray[Any]]:
        """The rows of every part, by account and time."""
        for number, pieces in enumerate(self.held):
            path = self.folder / str(number)
            stored = [np.fromfile(path, self.kind)] if path.exists() else []
            rows = np.concatenate([np.empty(0, self.kind), *stored, *pieces])
            if len(rows):
                yield rows[np.lexsort((rows["time"], rows["account"]))]


@dataclass(frozen=True)
class Account:
    """The queries of one account.

    Attributes:
        number: of the account.
        queries: in the order of their time.
    """

    number: int
    queries: Queries


@dataclass
class Log:
    """The queries of a log.

    Attributes:
        source: where they were read.
        scale: how its times were understood.
        names: of the accounts, by number.
        plan: which columns are what.
        count: number of queries.
        first, last: seconds of the first query and of the last.
        lacks: why it has no labels or records, by what is lacking.
        notes: what was understood, in sentences.
        rows: the queries.
    """

    source: Source
    scale: Scale
    names: list[str]
    plan: columns.Layout
    count: int
    first: float
    last: float
    notes: list[str]
    rows: Rows

    @property
    def days(self) -> float:
        """From the first query to the last."""
        return (self.last - self.first) / 86400

    @property
    def lacks(self) -> dict[str, str]:
        """Why it has no labels or records."""
        lacks = {}
        if not self.plan.answers:
            lacks["label"] = "no answers ('label', 'score' or 'score0', 'score1', ...)"
        if not self.plan.records:
            lacks["x"] = "no columns of records ('x0', 'x1', ... or other numbers)"
        if self.source.format in ACCESS:
            why = "an access log shows who asked when, not what was asked or answered"
            lacks = dict.fromkeys(("label", "x"), f"no records and no answers: {why}")
        return lacks

    def ranks(self) -> NDArray[np.int64]:
        """Place of every account in a shuffle of all, which depends on their names alone."""
        order = np.array(sorted(range(len(self.names)), key=self.names.__getitem__))
        ranks = np.empty(len(order), dtype=np.int64)
        ranks[order] = np.random.default_rng(0).permutation(len(order))
        return ranks

    def accounts(self, records: tuple[str, ...] = ()) -> Iterator[Account]:
        """The queries of every account; of their records, the columns ``records``."""
        places = [self.plan.records.index(name) for name in records]
        for rows in self.rows.parts():
            starts = np.flatnonzero(np.diff(rows["account"], prepend=-1))
            for own in np.split(rows, starts[1:]):
                label = torch.from_numpy(own["label"].astype(np.int64))
                x = torch.from_numpy(own["x"][:, places].astype(np.float64)) if places else None
                time = torch.from_numpy(own["time"] * self.scale.factor)
                known = Queries(time, label if self.plan.answers else None, x)
                yield Account(int(own["account"][0]), known)


def read(
    source: Source,
    classes: dict[str, int],
    mapping: Mapping[str, str],
    folder: Path,
    unit: str | None = None,
    prefix: str = "",
) -> Log:
    """Read a log.

    Args:
        source: where it is.
        classes: number of every label met so far; labels of several logs are numbered together.
        mapping: name of the column for a role, where it is another one.
        folder: an empty one, for what does not fit into memory.
        unit: of times that are numbers; None: by their size.
        prefix: of the paths that ask the model, in an access log.

    Raises:
        UserError: it cannot be read, is empty, or does not say who asked when.
    """
    try:
        return _read(source, classes, mapping, folder, unit, prefix)
    except (pa.ArrowException, UnicodeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{source} holds values of a kind that no log has ({reason}).") from error


def _read(
    source: Source,
    classes: dict[str, int],
    mapping: Mapping[str, str],
    folder: Path,
    unit: str | None,
    prefix: str,
) -> Log:
    where = str(source)
    notes: list[str] = []
    clock = Clock(where, unit)
    plan: columns.Layout | None = None
    accounts: dict[str, int] = {}
    count = unfit = 0
    for read_table in _tables(source, mapping, prefix, notes):
        if not len(read_table):
            continue
        plain = source.format in EVENTS
        table = read_table if plain else columns.renamed(read_table, mapping, where)
        if plan is None:
            plan = columns.layout(table, where)
            answers = columns.Answers(where, plan, classes)
            rows = Rows(len(plan.records), folder)
        new = np.zeros(len(table), dtype=rows.kind)
        for role in ("time", "account"):
            require(role in table.column_names, f"{where}, row {count + 1} has no {role}.")
        new["time"] = clock.read(_plain(table["time"]), count)
        new["account"] = columns.codes(_accounts(table, where, count), accounts)
        new["label"] = answers.read(table, count) if plan.answers else -1
        if plain:
            new["x"] = columns.bodies(table, plan.records)
            unfit += int(np.isnan(new["x"][:, :1]).sum())
        else:
            new["x"] = columns.numbers(table, plan.records, where, count)
        rows.add(new)
        count += len(table)
    if unfit:
        notes.append(f"{where}: {unfit:,} queries hold no record like most and only count.")
    require(count > 0 and plan is not None, f"{where} holds no query; give a log with a row each.")
    assert plan is not None
    scale = clock.settle()
    first, last = clock.low[1] * scale.factor, clock.high[1] * scale.factor
    notes[:0] = [
        f"{where}: {count:,} queries of {len(accounts):,} accounts ({source.format}). "
        f"Times: {scale.words}, from {scale.show(first)} to {scale.show(last)}. "
        f"{answers.sentence()} {_shown(plan)}"
    ]
    return Log(source, scale, list(accounts), _stripped(plan), count, first, last, notes, rows)


def _tables(
    source: Source, mapping: Mapping[str, str], prefix: str, notes: list[str]
) -> Iterator[pa.Table]:
    require(
        not prefix or source.format in ACCESS,
        f"--path is for access logs ({', '.join(ACCESS)}); {source} is read as {source.format}.",
    )
    if source.format in ACCESS:
        return access.requests(source, prefix, notes)
    if source.format in EVENTS:
        return serving.calls(source, mapping, notes)
    return tables.tables(source)


def _plain(column: pa.ChunkedArray) -> pa.Array:
    values = column.combine_chunks()
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _accounts(table: pa.Table, where: str, before: int) -> pa.Array:
    names = columns.text(_plain(table["account"]))
    empty = names.is_null().to_numpy(zero_copy_only=False)
    require(
        not empty.any(),
        f"{where}, row {before + int(empty.argmax()) + 1} has no account; fill it in or drop the "
        "row.",
    )
    return names


def _stripped(plan: columns.Layout) -> columns.Layout:
    names = tuple(name.removeprefix(RECORD) for name in plan.records)
    return columns.Layout(plan.label, plan.scores, plan.score, names, plan.ignored)


def _shown(plan: columns.Layout) -> str:
    names = _stripped(plan).records
    words = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    shown = f"Records: {len(names)} numbers ({words})." if names else "Records: none."
    ignored = [name.removeprefix(RECORD) for name in plan.ignored]
    if ignored:
        more = f" and {len(ignored) - 8} more" if len(ignored) > 8 else ""
        shown += f" Not looked at: {', '.join(ignored[:8])}{more}."
    return shown
