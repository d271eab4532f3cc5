"""Boards as LaTeX tables for papers: plain pdflatex; the same bytes each time."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from bench.contract.names import words
from bench.report import certainty
from bench.report.boards import FLAGS, BoardKey, Boards
from bench.report.closure import slugs
from bench.report.frame import flags_of
from bench.report.listing import ordered, shared_flags
from bench.report.text import ABSENT, Row, allowed, estimate, leakage, number, resting

Columns = Literal["1", "2", "page"]
"""Where tables are to stand, see :data:`LAYOUTS`."""
LINES = 56
"""Lines of a table with its caption and notes that fit on a page."""
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "\N{LESS-THAN OR EQUAL TO}": r"$\le$",
}
_ACCENTS = {
    "\u0300",
    "\u0301",
    "\u0302",
    "\u0303",
    "\u0304",
    "\u0308",
    "\u030a",
    "\u030c",
    "\u0327",
}
_LETTERS = frozenset("\u00e6\u00c6\u00f8\u00d8\u0153\u0152\u00df\u0142\u0141")
_OPENS = frozenset("[(")
_PIECE = 5  # letters of a name that even the narrowest column holds, in whatever font
_LONG = 16  # letters of a word that a line of text surely holds


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        head: its heading.
        align: how it is aligned; ``X``: in several lines, as there is room.
        cell: what it shows of a row.
    """

    head: str
    align: str
    cell: Callable[[Row], str]


@dataclass(frozen=True)
class Layout:
    """A way to set a table.

    Attributes:
        environment: the float that it stands in.
        columns: what it shows.
        name: characters of a defense in one line, where the table is as narrow as it may be.
        line: characters of a note in one line, likewise.
        yields: what ``certain`` takes the place of, where that is known.
    """

    environment: str
    columns: tuple[str, ...]
    name: int
    line: int
    yields: str = ""


COLUMNS = {
    "places": Column(r"\#", "r", lambda row: tex(row["places"])),
    "defense": Column("Defense", "X", lambda row: name(row["defense"])),
    "L": Column("$L$", "l", lambda row: tex(leakage(row))),
    "utility": Column("Utility", "l", lambda row: tex(estimate(row, "utility", 3))),
    "M": Column("$M$", "l", lambda row: tex(estimate(row, "M", signed=True))),
    "epsilon": Column(r"$\varepsilon$", "r", lambda row: tex(number(row["epsilon"]))),
    "attack": Column("Attack", "l", lambda row: tex(row["attack_key"])),
    "front": Column("Front", "r", lambda row: tex(number(row["front"]))),
    "seeds": Column("Seeds", "r", lambda row: str(row["n_seeds"])),
    "certain": Column(
        "Certain",
        "r",
        lambda row: tex(f"{number(row['certain_share'], 3)} ({number(row['certain_base'], 3)})"),
    ),
}
"""What a table can show; ``certain`` only where it is known."""
_NARROW = ("places", "defense", "L", "utility")
LAYOUTS: Mapping[Columns, Layout] = {
    "1": Layout("table", (*_NARROW, "M", "attack", "certain"), 15, 95, yields="M"),
    "2": Layout("table", _NARROW, 15, 65),
    "page": Layout("table*", tuple(COLUMNS), 25, 140),
}
"""By ``--columns``: the text of an A4 article in one column (from 345 pt), one column of a style
with two (from 241 pt), and both columns of it (from 504 pt)."""
_MEANING = {
    "L": "$L$: leakage to the worst attack, 0 (the model taught the attacker nothing) to 1 (as "
    r"good as the records), its brackets for the largest of all attacks; $\le$: no leakage is "
    "seen, and the interval ends there.",
    "M": "$M$: the part of it that is about training members.",
    "front": "Front: probability of being on the Pareto front of utility and leakage.",
    "certain": "Certain: share of the members whose secret some attack knows for certain; in "
    "brackets: without the model.",
}


def leaderboard_tex(
    boards: Boards,
    suite: str,
    lacking: str = "",
    columns: Columns = "1",
    titles: Mapping[BoardKey, str] | None = None,
) -> str:
    """Every board as a table on a page of its own, with its places, flags and notes as on its page.

    Flags are marks, and below the table stands what they mean; one that all rows share is said
    once. Needs the packages ``booktabs`` and ``tabularx``.

    Args:
        boards: of the suite.
        suite: its name.
        lacking: what was planned and is not there, in a sentence; empty: everything is there.
        columns: where the tables are to stand.
        titles: of boards; one that is not there is named by its data set, model and goal.
    """
    parts = [f"% Inversion Bench: {_plain(suite)}. Needs the packages booktabs and tabularx."]
    parts += [f"% {_plain(lacking)}."] if lacking else []
    labels = slugs(key for key, _ in boards)
    for key, rows in boards:
        title = (titles or {}).get(key, f"{key.dataset}, {key.model}: {words(key.goal)}")
        notes = [
            rf"\textit{{{tex(words(kind))}}}: {prose(note)}" for kind, note in boards.notes[key]
        ]
        noted = {kind for kind, _ in boards.notes[key]}
        board = _Board(title, key, rows, f"tab:{labels[key]}", notes, noted, LAYOUTS[columns])
        parts += [*board.tables(), r"\clearpage"]
    return "\n\n".join(parts) + "\n"


def tex(text: object) -> str:
    """Text that LaTeX sets as it is; characters that pdflatex does not know become ``?``."""
    return escaped("".join(c if c in _SPECIAL or _known(c) else "?" for c in _plain(text)))


def escaped(text: object) -> str:
    """Text whose characters mean nothing to LaTeX but themselves."""
    return "".join(_SPECIAL.get(c, c) for c in _plain(text))


def name(text: object, piece: int = _PIECE) -> str:
    """A name that fits into any column: lines end at its signs, or else within a long word."""
    tokens = re.findall(r"[^\W_]+|.", _plain(text))
    broken: list[str] = []
    for i, token in enumerate(tokens):
        if token[0].isalnum():
            parts = (token[at : at + piece] for at in range(0, len(token), piece))
            broken.append(r"\penalty5000 ".join(map(tex, parts)))
        elif token in _OPENS:
            broken.append((r"\allowbreak " if i else "") + tex(token))
        else:
            broken.append(tex(token) + (r"\allowbreak " if i + 1 < len(tokens) else ""))
    return "".join(broken)


def prose(text: object) -> str:
    """Sentences whose long words, such as names, may go on in another line."""
    return " ".join(
        name(word, _LONG) if len(word) > _LONG else tex(word) for word in _plain(text).split(" ")
    )


def _known(c: str) -> bool:
    if c.isascii():
        return c.isprintable()
    parts = unicodedata.normalize("NFD", c)
    accented = len(parts) == 2 and parts[0].isascii() and parts[1] in _ACCENTS
    return c in _LETTERS or (accented and ord(c) < 0x180)


def _plain(text: object) -> str:
    return " ".join(str(text).split())


@dataclass(frozen=True)
class _Board:
    title: str
    key: BoardKey
    rows: pd.DataFrame
    label: str
    notes: Sequence[str]
    noted: set[str]
    layout: Layout

    @property
    def columns(self) -> tuple[str, ...]:
        absent = self.layout.yields if certainty.known(self.rows) else "certain"
        return tuple(column for column in self.layout.columns if column != absent)

    def tables(self) -> list[str]:
        """As many as the rows need; what belongs to the board as a whole stands below the last."""
        attacks = dict.fromkeys(row["worst_attack"] for row in ordered(self.rows))
        keys = {attack: f"A{i}" for i, attack in enumerate(filter(None, attacks), 1)}
        rows = [
            {**r, "attack_key": keys.get(r["worst_attack"], ABSENT)} for r in ordered(self.rows)
        ]
        shared = shared_flags(self.rows)
        seen = [flag for flag in FLAGS if any(flag in flags_of(row) for row in rows)]
        marks = dict(zip((flag for flag in seen if flag not in shared), _letters(), strict=False))
        last = [
            f"{key}: {name(attack, _LONG)}"
            for attack, key in keys.items()
            if "attack" in self.columns
        ]
        last = ["Worst attacks: " + "; ".join(last)] if last else []
        last += [f"All rows: {prose(FLAGS[f])}" for f in seen if f in shared - self.noted]
        last += self.notes
        parts = list(self._parts(rows, [*(FLAGS[flag] for flag in marks), *last]))
        tables = []
        for i, part in enumerate(parts):
            raised = {flag for row in part for flag in flags_of(row)}
            notes = [_mark([m]) + prose(FLAGS[f]) for f, m in marks.items() if f in raised]
            notes += last if i + 1 == len(parts) else []
            tables.append(self._table(part, marks, notes, i))
        return tables

    def _parts(self, rows: list[Row], notes: list[str]) -> Iterator[list[Row]]:
        """The rows of each table: what does not fit on a page goes on on another."""
        room = LINES - self._height(self._caption(0), *notes)
        part: list[Row] = []
        used = 0
        for row in rows:
            height = -(-len(row["defense"]) // self.layout.name)
            if part and used + height > room:
                yield part
                part, used = [], 0
            part.append(row)
            used += height
        yield part

    def _height(self, *texts: str) -> int:
        return sum(-(-len(text) // self.layout.line) for text in texts)

    def _table(self, rows: list[Row], marks: Mapping[str, str], notes: list[str], at: int) -> str:
        columns = [COLUMNS[name] for name in self.columns]
        align = "".join(c.align for c in columns).replace("X", r">{\raggedright\arraybackslash}X")
        again = f"-{at + 1}" if at else ""
        return "\n".join(
            [
                rf"\begin{{{self.layout.environment}}}[tp]",
                r"\centering\emergencystretch=3em",
                self._caption(at),
                rf"\label{{{self.label}{again}}}",
                r"\fontsize{7}{8.4}\selectfont\setlength{\tabcolsep}{2.5pt}",
                rf"\begin{{tabularx}}{{\linewidth}}{{@{{}}{align}@{{}}}}",
                r"\toprule",
                " & ".join(c.head for c in columns) + r" \\",
                r"\midrule",
                *(self._line(row, marks) for row in rows),
                r"\bottomrule",
                r"\end{tabularx}",
                *(
                    [r"\par\smallskip\raggedright", "\\par\n".join(notes) + r"\par"]
                    if notes
                    else []
                ),
                rf"\end{{{self.layout.environment}}}",
            ]
        )

    def _line(self, row: Row, marks: Mapping[str, str]) -> str:
        raised = _mark([marks[flag] for flag in flags_of(row) if flag in marks])
        cells = [
            COLUMNS[column].cell(row) + (raised if column == "defense" else "")
            for column in self.columns
        ]
        return " & ".join(cells) + r" \\"

    def _caption(self, at: int) -> str:
        title = prose(self.title) + ("" if self.title.endswith("?") else ".")
        access = f"The attacker has access to {tex(allowed(self.key.access, self.key.budget))}."
        if at:
            return rf"\caption[]{{{title} {access} (continued)}}"
        said = [
            f"{_seeds(self.rows)}; brackets: 95\\% intervals over them.",
            *(_MEANING[column] for column in self.columns if column in _MEANING),
            r"\#: places, shared by rows that cannot be told apart.",
            tex(resting(self.rows)),
        ]
        return rf"\caption[{{{title} {access}}}]{{{title} {access} {' '.join(filter(None, said))}}}"


def _letters() -> Iterator[str]:
    return iter("abcdefghijklmnopqrstuvwxyz")


def _mark(letters: Sequence[str]) -> str:
    return r"\allowbreak ".join(rf"\textsuperscript{{{letter}}}" for letter in letters)


def _seeds(rows: pd.DataFrame) -> str:
    """How many seeds the rows of a board have: ``10 seeds``, ``3 to 10 seeds``."""
    measured = rows.loc[rows["n_seeds"] > 0, "n_seeds"]
    least, most = (int(measured.min()), int(measured.max())) if len(measured) else (0, 0)
    return f"{least} seed{'s' * (most != 1)}" if least == most else f"{least} to {most} seeds"
