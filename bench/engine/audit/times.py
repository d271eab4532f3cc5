"""Understands the times of a log: numbers by their size, dates by their form, one way a column."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bench.contract import UserError, require

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(2101, 1, 1, tzinfo=UTC).timestamp()
_SMALL = 366 * 86400.0
"""Numbers up to a year of seconds may count from a start of their own."""
_COMPACT = (19900101000000.0, 21001231235959.0)
_DATE = (19900101.0, 21001231.0)
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_CLF = re.compile(r"\s*\[?\d{1,2}/[A-Za-z]{3}/\d{4}:")
_ZONE = r"(Z|z|[+-]\d{2}:?(\d{2})?)$"
_ALLOWED = (
    "give seconds, milliseconds, microseconds or nanoseconds since 1970, digits as in "
    "20251011143000, dates by ISO 8601 or as in an access log, the same in every row"
)

Array = NDArray[np.float64]


def _since_1970(dates: pd.Series[Any]) -> Array:
    """Seconds of dates in UTC."""
    moments = dates.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    return np.asarray(moments.astype(np.int64) / 1e6)


@dataclass
class Clock:
    """Reads the time column of one log, table by table.

    Attributes:
        where: the log and its column, to begin messages with.
        unit: of numbers, a key of ``UNITS``; None: by their size.
        kind: ``number``, ``compact``, ``iso``, ``clf`` or ``stamp``; "" before the first row.
        zoned: whether dates name their time zone; None where that is not known.
        low, high: row, from 1, and value of the smallest and the largest number.
    """

    where: str
    unit: str | None = None
    kind: str = ""
    zoned: bool | None = None
    first: float = 0.0
    low: tuple[int, float] = field(default=(0, np.inf))
    high: tuple[int, float] = field(default=(0, -np.inf))

    def read(self, column: pa.Array, before: int) -> Array:
        """Numbers as they are, dates as seconds since 1970, float64 ``[n]``.

        Args:
            column: one or more values.
            before: rows before these.

        Raises:
            UserError: a row has no time, no readable one, or one of another form.
        """
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            self._same("stamp", before, column)
            self.zoned = getattr(column.type, "tz", None) is not None
            empty = column.is_null().to_numpy(zero_copy_only=False)
            self._demand(~empty, before, column)
            values = np.asarray(column.cast(pa.timestamp("us")).cast(pa.int64()), dtype=np.float64)
            return self._dates(values / 1e6, before, column)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            return self._text(pc.utf8_trim_whitespace(column), before)
        empty = column.is_null().to_numpy(zero_copy_only=False)
        self._demand(~empty, before, column)
        # Nanoseconds since 1970 lose some hundred of themselves, which is no error here.
        return self._numbers(np.asarray(column.cast(pa.float64(), safe=False)), before, column)

    def _same(self, kind: str, before: int, column: pa.Array) -> None:
        self.kind = self.kind or kind
        require(
            self.kind == kind,
            f"{self.where}, row {before + 1} has the time '{column[0].as_py()}', unlike the rows "
            f"above it; {_ALLOWED}.",
        )

    def _demand(self, good: NDArray[np.bool_], before: int, column: pa.Array) -> None:
        if not good.all():
            row = int(np.argmin(good))
            value = column[row].as_py()
            what = "has no time" if value in (None, "") else f"has the time '{value}'"
            like = ", unlike the rows above it" if before + row and value else ""
            raise UserError(f"{self.where}, row {before + row + 1} {what}{like}; {_ALLOWED}.")

    def _text(self, column: pa.Array, before: int) -> Array:
        texts = column.fill_null("")
        first = texts[0].as_py()
        kind = "number" if _NUMBER.fullmatch(first) else "clf" if _CLF.match(first) else "iso"
        kind = self.kind or kind
        if kind in ("number", "compact"):
            good = pc.match_substring_regex(texts, rf"^{_NUMBER.pattern}$")
            self._demand(good.to_numpy(zero_copy_only=False), before, column)
            plain = pc.replace_substring_regex(texts, r"^\+", "")
            return self._numbers(np.asarray(plain.cast(pa.float64())), before, column)
        self._same(kind, before, column)
        if kind == "clf":
            bare = pd.Series(texts.to_pylist(), dtype=object).str.strip("[]")
            dates = pd.to_datetime(bare, format="%d/%b/%Y:%H:%M:%S %z", utc=True, errors="coerce")
            self.zoned = True
        else:
            # Python's logging separates milliseconds by a comma.
            dotted = pc.replace_substring_regex(texts, r",(\d+)", r".\1")
            bare = pd.Series(dotted.to_pylist(), dtype=object)
            # 2025 alone would be a year, and a time of day a date of today.
            shaped = bare.str.match(r"\d{4}-?\d{2}-?\d{2}").to_numpy(dtype=bool)
            self._demand(shaped, before, column)
            zoned = pc.match_substring_regex(dotted, _ZONE).to_numpy(zero_copy_only=False)
            clock = pc.match_substring_regex(dotted, r"\d[T ]\d").to_numpy(zero_copy_only=False)
            zoned = zoned & clock
            self.zoned = bool(zoned[0]) if self.zoned is None else self.zoned
            self._demand(zoned == self.zoned, before, column)
            dates = pd.to_datetime(bare, format="ISO8601", utc=True, errors="coerce")
        self._demand(dates.notna().to_numpy(), before, column)
        return self._dates(_since_1970(dates), before, column)

    def _dates(self, seconds: Array, before: int, column: pa.Array) -> Array:
        self._demand((seconds >= _EARLIEST) & (seconds < _LATEST), before, column)
        self._bound(seconds, before)
        return seconds

    def _bound(self, values: Array, before: int) -> None:
        if not self.low[0]:
            self.first = float(values[0])
        low, high = int(values.argmin()), int(values.argmax())
        self.low = min(self.low, (before + low + 1, float(values[low])), key=lambda pair: pair[1])
        self.high = max(
            self.high, (before + high + 1, float(values[high])), key=lambda pair: pair[1]
        )

    def _numbers(self, values: Array, before: int, column: pa.Array) -> Array:
        self._demand(np.isfinite(values), before, column)
        if self.unit is None:
            compact = (_COMPACT[0] <= values[0] <= _COMPACT[1]) and values[0] % 1 == 0
            self._same("compact" if compact else "number", before, column)
        else:
            self._same("number", before, column)
        if self.kind == "compact":
            # Numbers of another size become years that do not exist.
            texts = pd.Series(values).map("{:.0f}".format)
            dates = pd.to_datetime(texts, format="%Y%m%d%H%M%S", utc=True, errors="coerce")
            self._demand(dates.notna().to_numpy() & (values % 1 == 0), before, column)
            return self._dates(_since_1970(dates), before, column)
        self._bound(values, before)
        return values

    # ------------------------------------------------------------ what it was
    def settle(self) -> Scale:
        """How the numbers that were read become seconds.

        Raises:
            UserError: numbers that are no plausible times, or not all in one unit.
        """
        if self.kind != "number":
            zone = "" if self.zoned else ", without a time zone: taken for UTC"
            forms = {
                "compact": "digits (year to second), taken for UTC",
                "clf": "dates as in an access log",
                "iso": f"dates by ISO 8601{zone}",
                "stamp": f"timestamps{zone}",
            }
            return Scale(1.0, True, forms[self.kind])
        if self.unit is not None:
            factor = UNITS[self.unit]
            dated = self.low[1] * factor >= _EARLIEST and self.high[1] * factor < _LATEST
            since = "1970" if dated else "an unstated start"
            return Scale(factor, dated, f"{_WORDS[self.unit]} since {since}, as stated")
        for unit, factor in UNITS.items():
            if _EARLIEST <= self.first * factor < _LATEST:
                for row, value in (self.low, self.high):
                    require(
                        _EARLIEST <= value * factor < _LATEST,
                        f"{self.where}, row {row} has the time '{value:.17g}', which is no time "
                        f"between 1990 and 2100 in {_WORDS[unit]} since 1970, as row 1 is; "
                        f"{_ALLOWED}.",
                    )
                return Scale(factor, True, f"{_WORDS[unit]} since 1970")
        low, high = self.low[1], self.high[1]
        dates = low % 1 == 0 and _DATE[0] <= low and high <= _DATE[1]
        row, value = self.low if low < 0 else self.high
        require(
            low >= 0 and high <= _SMALL and not dates,
            f"{self.where}, row {row} has the time '{value:.17g}', which is no time between 1990 "
            "and 2100 in seconds, milliseconds, microseconds or nanoseconds since 1970; if times "
            f"count from another start, state their unit with --time-unit, else {_ALLOWED}.",
        )
        return Scale(1.0, False, "seconds from an unstated start")


@dataclass(frozen=True)
class Scale:
    """How the times of a log were understood.

    Attributes:
        factor: seconds of one.
        dated: whether they are dates.
        words: the same in words.
    """

    factor: float
    dated: bool
    words: str

    def show(self, seconds: float) -> str:
        """A time for people: ISO 8601 in UTC, or a number of seconds."""
        if not self.dated:
            return f"{seconds:.15g}"
        moment = datetime.fromtimestamp(round(seconds, 3), UTC)
        text = moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
        return text.replace("+00:00", "Z")
