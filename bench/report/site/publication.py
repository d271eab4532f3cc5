"""A report as something to cite: its version, what changed since the last one, badges, a feed."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from bench.contract.errors import require
from bench.report.boards import BoardKey
from bench.report.citation import bibtex
from bench.report.frame import UNDEFENDED, dicts
from bench.report.names import sees
from bench.report.site.suite import Suite
from bench.report.text import number

_LOG = logging.getLogger(__name__)
LIST = "boards.json"
"""What a report says of its boards, and how that changed: for programs, and for the next report."""
SCHEMA = "invbench.boards/1"
MOVED = 0.05
"""Change of L from which a row counts as moved."""
_KEPT = 50
"""Changes that are kept, the newest first."""
_SHOWN = 80
"""Characters of a key that a message shows."""

Row = dict[str, Any]


class _Moved(BaseModel):
    board: str
    defense: str
    before: float
    after: float


class _Change(BaseModel):
    version: str
    date: str
    added: list[str]
    removed: list[str]
    moved: list[_Moved]
    new_rows: int


class _Board(BaseModel):
    title: str
    L: dict[str, float | None]


class _Listed(BaseModel):
    """What must hold of a list that another report left, for this one to build on it."""

    form: Literal["invbench.boards/1"] = Field(alias="schema")
    version: str
    boards: dict[str, _Board]
    changes: list[_Change]


@dataclass(frozen=True)
class Publication:
    """Who publishes a report and where.

    Attributes:
        authors: of the report; none: not stated.
        licence: of its pages and figures, as ``CC BY 4.0``; empty: not stated.
        url: address of the folder that holds ``index.html``; empty: not stated.
        packs: by trial, the pack that it is in, as ``invbench reproduce --from`` takes it; a trial
            that is not named is in the store.
    """

    authors: tuple[str, ...] = ()
    licence: str = ""
    url: str = ""
    packs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(
            not self.url or self.url.startswith(("https://", "http://")),
            f"The address of a report is '{self.url[:80]}'; allowed: one that begins with https:// "
            "or http://.",
        )

    def address(self, page: str, version: str) -> str:
        """Address of a page in the version that is cited; empty where none is known."""
        return f"{self.url.rstrip('/')}/{page}#version={version}" if self.url else ""


@dataclass(frozen=True)
class Public:
    """One version of a report and who publishes it.

    Attributes:
        of: who publishes it.
        version: that is published: the date of the last trial and the beginning of the digest, so
            that equal records are one version.
        digest: sha256 of every trial as the report lists them.
    """

    of: Publication
    version: str
    digest: str

    def cite(self, suite: Suite, key: BoardKey | None = None) -> Row:
        """What a page says of how to cite it: the whole report, or one of its boards."""
        page = "index.html" if key is None else f"boards/{suite.ids[key]}.html"
        title = suite.name if key is None else f"{suite.title(key)} {sees(key.access, key.budget)}"
        return {
            "version": self.version,
            "date": suite.facts.last[:10],
            "authors": "; ".join(self.of.authors),
            "licence": self.of.licence,
            "address": self.of.address(page, self.version),
            "bibtex": bibtex(
                f"{title}, Inversion Bench",
                self.version,
                date.fromisoformat(suite.facts.last[:10]),
                self.of.authors,
                self.of.address(page, self.version) or None,
                self.digest,
            ),
        }


def public(publication: Publication, last: str, trials: str) -> Public:
    """The version that some records are.

    Args:
        publication: who publishes it.
        last: when the last trial was recorded (RFC 3339).
        trials: every trial as text.
    """
    digest = hashlib.sha256(trials.encode("utf-8", "backslashreplace")).hexdigest()
    return Public(publication, f"{last[:10]}-{digest[:8]}", digest)


def listed(suite: Suite, name: str, before: Mapping[str, Any]) -> Row:
    """The boards with their figures and what changed: the content of ``LIST``.

    Args:
        suite: what is reported.
        name: of the version.
        before: what the last report in the same folder said; empty: there was none.
    """
    boards = {
        suite.ids[key]: {
            "title": f"{suite.title(key)} {sees(key.access, key.budget)}",
            "L": {row["defense"]: _plain(row["L"]) for row in dicts(rows)},
        }
        for key, rows in suite.boards
    }
    history = list(before.get("changes", ()))
    if before.get("version") != name:
        change = _change(before.get("boards") or {}, boards)
        history = [{"version": name, "date": suite.facts.last[:10], **change}, *history][:_KEPT]
    return {
        "schema": SCHEMA,
        "suite": suite.name,
        "version": name,
        "date": suite.facts.last[:10],
        "boards": boards,
        "changes": history,
    }


def _change(before: Mapping[str, Any], now: Mapping[str, Any]) -> Row:
    moved = [
        {"board": board, "defense": defense, "before": old, "after": new}
        for board in now
        if board in before
        for defense, new in now[board]["L"].items()
        for old in [before[board]["L"].get(defense)]
        if old is not None and new is not None and abs(new - old) >= MOVED
    ]
    return {
        "added": [board for board in now if board not in before],
        "removed": [before[board]["title"] for board in before if board not in now],
        "moved": moved,
        "new_rows": sum(
            len(set(now[board]["L"]) - set(before[board]["L"])) for board in now if board in before
        ),
    }


def last(out: Path) -> Row:
    """What the report that lies in a folder says of its boards; empty: there is none.

    A list that cannot be read counts as none, with a warning: the changes that it held end there.
    """
    path = out / LIST
    try:
        return _Listed.model_validate_json(path.read_bytes()).model_dump(by_alias=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValidationError as error:
        fault = error.errors()[0]
        # Keys are text of the file's: spelled so that none can steer a terminal.
        place = ".".join(map(str, fault["loc"]))[:_SHOWN]
        reason = f"{place!a}: {fault['msg']}" if place else fault["msg"]
    except OSError as error:
        reason = error.strerror or str(error)
    _LOG.warning(
        "'%s' cannot be read as the list of boards of an earlier report (%s). The changes that it "
        "held are left out of changes.html and feed.xml; to keep them, put a good copy of the file "
        "there and write the report again.",
        path,
        reason,
    )
    return {}


def summary(change: Mapping[str, Any], titles: Mapping[str, str]) -> Row:
    """A change in words, for the page of changes and the feed."""
    return {
        "version": change["version"],
        "date": change["date"],
        "added": [{"id": board, "title": titles.get(board, board)} for board in change["added"]],
        "removed": change["removed"],
        "new_rows": change["new_rows"],
        "moved": [
            {
                "id": row["board"],
                "board": titles.get(row["board"], row["board"]),
                "defense": row["defense"],
                "before": number(row["before"]),
                "after": number(row["after"]),
            }
            for row in change["moved"]
        ],
    }


def badge(rows: Any) -> Row:
    """What a badge says of a board: leakage without a defense, and the least with one."""
    known = [row for row in dicts(rows) if math.isfinite(row["L"])]
    plain = next((row["L"] for row in known if row["defense"] == UNDEFENDED), math.nan)
    least = min((row["L"] for row in known), default=math.nan)
    text = f"L {number(plain)} \N{RIGHTWARDS ARROW} {number(least)}"
    return {"label": "inversion bench", "text": text, "width": 7 * len(text) + 14}


def _plain(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None
