"""Says what the columns of a log are, and reads them as numbers and text."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bench.contract import UserError, nearest, require
from bench.engine.audit.payloads import RECORD

_SCORES = re.compile(r"score_?(\d{1,9})")
_RECORDS = re.compile(r"x_?(\d{1,9})")
_NO_RECORD = {
    "time",
    "account",
    "label",
    "score",
    "digest",
    "confidence",
    "id",
    "request_id",
    "status",
    "status_code",
    "latency",
    "latency_ms",
}
"""Numbers that are not part of what was asked."""

_ROLES = ("time", "account", "label", "score")

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Which columns are what.

    Attributes:
        label: whether there is a column ``label``.
        scores: columns of the scores of every class, by the number of the class.
        score: whether there is a column ``score``, of the second of two classes.
        records: columns of the record.
        ignored: all others.
    """

    label: bool
    scores: tuple[str, ...]
    score: bool
    records: tuple[str, ...]
    ignored: tuple[str, ...]

    @property
    def answers(self) -> str:
        """What was answered, as the log shows it."""
        if self.label:
            return "labels"
        return "scores" if self.scores or self.score else ""


def renamed(table: pa.Table, mapping: Mapping[str, str], where: str) -> pa.Table:
    """The table with the columns of ``mapping`` (role to name) under the names of their roles.

    Raises:
        UserError: there is no such column.
    """
    for role, name in mapping.items():
        require(
            role in _ROLES or bool(_SCORES.fullmatch(role) or _RECORDS.fullmatch(role)),
            f"--map {role}=... names no part of a log; map time, account, label, score, or score0, "
            f"score1, ... or x0, x1, ....{nearest(role, _ROLES)}",
        )
        require(
            name in table.column_names,
            f"{where} has no column '{name}', as --map says.{nearest(name, table.column_names)}",
        )
    roles = {name: role for role, name in mapping.items()}
    kept = [n for n in table.column_names if n in roles or n not in mapping]
    return table.select(kept).rename_columns([roles.get(name, name) for name in kept])


def layout(table: pa.Table, where: str) -> Layout:
    """Which columns are what, by their names and the first rows.

    Raises:
        UserError: there is no column of times or of accounts.
    """
    names = table.column_names
    for role in ("time", "account"):
        require(
            role in names,
            f"{where} has no column '{role}'; a log has 'time' and 'account', and 'label', scores "
            f"or records. If it has another name, give --map {role}=NAME.{nearest(role, names)}",
        )
    scores, records = _numbered(names, _SCORES), _numbered(names, _RECORDS)
    sent = [n for n in names if n.startswith(RECORD)]
    if sent:
        # Of requests that were answered, if any was: in the others callers write what they like.
        shown = [table[n].is_valid() for n in ("label", "score", *scores) if n in names]
        served = table.filter(functools.reduce(pc.or_, shown)) if shown else table
        records = [n for n in sent if 2 * _known(served[n]) >= len(served) > 0]
    elif not records:
        skipped = {*scores, *_NO_RECORD}
        others = [n for n in names if n not in skipped]
        records = [n for n in others if _known(table[n]) > 0 and _is_numbers(table[n])]
    label = "label" in names
    score = "score" in names and not label and not scores
    used = {"time", "account", *records, *([] if label else scores)}
    used |= {"label"} if label else {"score"} if score else set()
    return Layout(
        label,
        () if label else tuple(scores),
        score,
        tuple(records),
        tuple(n for n in names if n not in used),
    )


def _numbered(names: Sequence[str], pattern: re.Pattern[str]) -> list[str]:
    """Columns whose whole name fits, by the number in it."""
    matches = [(pattern.fullmatch(name), name) for name in names]
    return [name for _, name in sorted((int(match[1]), name) for match, name in matches if match)]


def _is_numbers(column: pa.ChunkedArray) -> bool:
    """Whether every value that is there is a number."""
    try:
        _parsed(column.combine_chunks())
    except pa.ArrowInvalid:
        return False
    return True


def _known(column: pa.ChunkedArray) -> int:
    """How many values are numbers."""
    return int(np.isfinite(_values(column.combine_chunks())).sum())


def _values(column: pa.Array) -> Numbers:
    """Numbers, NaN where there is no value and infinity where it is no number."""
    try:
        return _parsed(column)
    except pa.ArrowInvalid:
        return np.array([_one(column[i : i + 1]) for i in range(len(column))])


def _parsed(column: pa.Array) -> Numbers:
    """Numbers, NaN where there is no value; text is parsed."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        text = pc.utf8_trim_whitespace(column)
        text = pc.if_else(pc.equal(text, ""), pa.scalar(None, text.type), text)
        lower = pc.utf8_lower(text)
        text = pc.if_else(pc.equal(lower, "true"), "1", text)
        text = pc.if_else(pc.equal(lower, "false"), "0", text)
        # "nan" and "inf" are no numbers of a record, and must not pass for a value that is missing.
        text = pc.if_else(pc.match_substring_regex(lower, r"^[+-]?(nan|inf)"), "?", text)
        column = text.cast(pa.float64())
    elif pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    elif not any(
        is_number(column.type)
        for is_number in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    ):
        raise pa.ArrowInvalid("no numbers")
    values = column.cast(pa.float64(), safe=False)
    return np.array(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def numbers(
    table: pa.Table, names: Sequence[str], where: str, before: int, gaps: bool = False
) -> Numbers:
    """Columns as numbers, float64 ``[n, columns]``; NaN where ``gaps`` are allowed.

    Raises:
        UserError: a value is missing or no finite number.
    """
    result = np.empty((len(table), len(names)))
    for place, name in enumerate(names):
        require(
            name in table.column_names,
            f"{where}, row {before + 1} and the rows below it lack '{name}', which the rows above "
            "have; write the same fields in every row.",
        )
        column = table[name].combine_chunks()
        values = _values(column)
        bad = np.isinf(values) | (np.abs(values) > 3e38) | (np.isnan(values) & (not gaps))
        if bad.any():
            row = int(bad.argmax())
            value = column[row].as_py()
            what = "is empty" if value is None or str(value).strip() == "" else f"is '{value}'"
            raise UserError(
                f"{where}: column '{name}' holds something that is no finite number: in row "
                f"{before + row + 1} it {what}. Fill it in, or name the columns that are the "
                "record with --map x0=NAME --map x1=NAME ..."
            )
        result[:, place] = values
    return result


def bodies(table: pa.Table, names: Sequence[str]) -> Numbers:
    """Records of the bodies of requests; NaN in all columns of one that is no such record.

    Whoever asks writes the bodies: what does not fit must not stop an audit.
    """
    result = np.full((len(table), len(names)), np.nan)
    for place, name in enumerate(names):
        if name in table.column_names:
            result[:, place] = _values(table[name].combine_chunks())
    result[~(np.abs(result) < 3e38).all(1)] = np.nan
    return result


def _one(value: pa.Array) -> float:
    try:
        return float(_parsed(value)[0])
    except pa.ArrowInvalid:
        return np.inf


def text(column: pa.Array) -> pa.Array:
    """Values as text, null where there is none; 7.0 is 7, and 007 is 007."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type):
        column = pa.array(
            [None if v is None or math.isnan(v) else repr(v) for v in column.to_pylist()]
        )
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    whole = pc.replace_substring_regex(trimmed, r"^(-?\d+)\.0+$", r"\1")
    return pc.if_else(pc.equal(whole, ""), pa.scalar(None, pa.string()), whole)


def codes(values: pa.Array, numbered: dict[str, int]) -> NDArray[np.int32]:
    """Number of every text, int32 ``[n]``, and -1 where there is none; new ones are numbered."""
    encoded = values.dictionary_encode()
    numbers = [numbered.setdefault(name, len(numbered)) for name in encoded.dictionary.to_pylist()]
    places = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.asarray(np.array([*numbers, -1], dtype=np.int32)[places])


@dataclass
class Answers:
    """Reads what was answered, table by table.

    Attributes:
        where: the log.
        plan: which columns are what.
        classes: number of every class met so far, of all logs.
        odd: row, from 1, and sum of the first row of scores that does not sum to 1; 0: none.
        percent: whether scores are percentages; None before the first row.
        counts: answers of every class, and of none under -1.
    """

    where: str
    plan: Layout
    classes: dict[str, int]
    odd: tuple[int, float] = (0, 0.0)
    percent: bool | None = None
    counts: dict[int, int] = field(default_factory=dict)

    def read(self, table: pa.Table, before: int) -> NDArray[np.int32]:
        """Number of the class that was answered, int32 ``[n]``; -1 where none was."""
        if self.plan.label:
            if "label" not in table.column_names:
                labels = np.full(len(table), -1, dtype=np.int32)
            else:
                shown = text(table["label"].combine_chunks())
                refused = pc.equal(shown, "-1").fill_null(False)
                shown = pc.if_else(refused, pa.scalar(None, pa.string()), shown)
                labels = codes(shown, self.classes)
        elif self.plan.scores:
            labels = self._largest(table, before)
        else:
            labels = self._second(table, before)
        for number, count in zip(*np.unique(labels, return_counts=True), strict=True):
            self.counts[int(number)] = self.counts.get(int(number), 0) + int(count)
        return labels

    def _number(self, labels: NDArray[np.intp], answered: NDArray[np.bool_]) -> NDArray[np.int32]:
        places, inverse = np.unique(labels, return_inverse=True)
        asked = np.bincount(inverse, answered, len(places)) > 0
        table = [
            self.classes.setdefault(str(place), len(self.classes)) if some else -1
            for place, some in zip(places.tolist(), asked.tolist(), strict=True)
        ]
        return np.where(answered, np.array(table, dtype=np.int32)[inverse], np.int32(-1))

    def _largest(self, table: pa.Table, before: int) -> NDArray[np.int32]:
        scores = numbers(table, self.plan.scores, self.where, before, gaps=True)
        empty = np.isnan(scores)
        answered = np.asarray(~empty.any(1))
        partly = empty.any(1) & ~empty.all(1)
        require(
            not partly.any(),
            f"{self.where}, row {before + int(partly.argmax()) + 1} has some of the scores only; "
            "give all of them or none.",
        )
        known = scores[answered]
        if len(known):
            sums = known.sum(1)
            if self.percent is None:
                self.percent = bool(abs(sums[0] - 100) <= 2 and known[0].min() >= 0)
            wanted, slack = (100.0, 2.0) if self.percent else (1.0, 0.02)
            odd = (np.abs(sums - wanted) > slack) | (known.min(1) < 0)
            if odd.any() and not self.odd[0]:
                row = int(np.flatnonzero(answered)[odd.argmax()])
                self.odd = (before + row + 1, float(sums[odd.argmax()]))
        places = np.array([int(_SCORES.fullmatch(n)[1]) for n in self.plan.scores])  # type: ignore[index]
        best = np.where(answered, np.where(empty, -np.inf, scores).argmax(1), 0)
        return self._number(places[best], answered)

    def _second(self, table: pa.Table, before: int) -> NDArray[np.int32]:
        scores = numbers(table, ["score"], self.where, before, gaps=True)[:, 0]
        answered = ~np.isnan(scores)
        bad = answered & ((scores < 0) | (scores > 1))
        require(
            not bad.any(),
            f"{self.where}, row {before + int(bad.argmax()) + 1} has the score "
            f"{scores[bad.argmax()]:.6g}; a 'score' is the probability of the second class, from 0 "
            "to 1 (divide percentages by 100), or give the answer as 'label'.",
        )
        return self._number((np.nan_to_num(scores) >= 0.5).astype(np.intp), answered)

    def sentence(self) -> str:
        """What the answers are, for people."""
        if not self.plan.answers:
            return "Answers: none."
        unanswered = self.counts.get(-1, 0)
        names = {number: name for name, number in self.classes.items()}
        some = sorted((n for n in self.counts if n >= 0), key=lambda n: -self.counts[n])
        shown = ", ".join(f"'{names[n]}' {self.counts[n]:,}" for n in some[:4])
        more = f" and {len(some) - 4} more" if len(some) > 4 else ""
        words = f"Answers: {self.plan.answers} of {len(some)} classes ({shown}{more})"
        words += f", {unanswered:,} queries without an answer" if unanswered else ""
        if self.odd[0]:
            words += (
                f"; scores are no probabilities (row {self.odd[0]} sums to {self.odd[1]:.4g}): "
                "only the largest of each row is used"
            )
        elif self.percent:
            words += "; scores are percentages"
        return words + "."
