"""Whom the law makes one tell of a breach, and by when: data with sources (PROTOCOL 8.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from pydantic import Field, model_validator

from bench.decide.policy import Frozen, parse
from bench.engine.conf import config_dir


class Duty(Frozen):
    """Whom to tell and by when; without a number there is no fixed last moment."""

    tell: str = Field(min_length=1)
    article: str = Field(min_length=1)
    when: str = Field(min_length=1)
    unless: str = ""
    read: str = Field(pattern=r"^https?://")
    """Where the text was read."""
    hours: int | None = Field(None, ge=1, le=10_000)
    days: int | None = Field(None, ge=1, le=1000)
    days_after_year_end: int | None = Field(None, ge=1, le=1000)

    @model_validator(mode="after")
    def _one(self) -> Duty:
        if sum(n is not None for n in (self.hours, self.days, self.days_after_year_end)) > 1:
            raise ValueError("give one of hours, days and days_after_year_end")
        return self

    def deadline(self, aware: datetime) -> datetime | None:
        """The last moment, in the time zone of ``aware``; None: there is no fixed one.

        Hours run through nights and weekends; days end at 23:59:59.
        """
        if self.hours is not None:
            # Through UTC: a change to summer time makes no hour longer.
            return (aware.astimezone(UTC) + timedelta(hours=self.hours)).astimezone(aware.tzinfo)
        start, count = aware.date(), self.days
        if self.days_after_year_end is not None:
            start, count = date(aware.year, 12, 31), self.days_after_year_end
        if count is None:
            return None
        return datetime.combine(start + timedelta(days=count), time(23, 59, 59), aware.tzinfo)


class Law(Frozen):
    """A law and its duties."""

    name: str = Field(min_length=1)
    text: str
    applies: str
    sectors: list[str] = Field(default_factory=list)
    """Whose data it is about; empty: anybody's."""
    official: str = Field(pattern=r"^https?://")
    duties: list[Duty] = Field(min_length=1)


class _Laws(Frozen):
    laws: list[Law] = Field(min_length=1)


@dataclass(frozen=True)
class Due:
    """A duty with its last moment."""

    law: Law
    duty: Duty
    deadline: datetime | None


def load(path: Path | None = None) -> tuple[Law, ...]:
    """The laws in a file; None: those that come with the program.

    Raises:
        UserError: it cannot be read, or a key is missing, unknown or wrong.
    """
    return tuple(parse(_Laws, path or config_dir() / "duties.yaml").laws)


def due(laws: tuple[Law, ...], sector: str, aware: datetime) -> Iterator[Due]:
    """The duties for data of a sector; all of them where it is not known (empty)."""
    for law in laws:
        if not sector or not law.sectors or sector in law.sectors:
            for duty in law.duties:
                yield Due(law, duty, duty.deadline(aware))
