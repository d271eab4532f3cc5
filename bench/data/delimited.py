"""Text files of delimited values, read strictly: every row fits the header, or the file is refused.

What spreadsheets, R and pandas write is understood and said (a comma at the end of every line, row
names without a header); nothing is guessed that could move a value into another column.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from bench.contract import UserError, require

DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
ENCODINGS = (
    *("utf-8", "utf-16", "latin-1", "iso-8859-15", "cp1250", "cp1251", "cp1252"),
    *("cp437", "cp850", "mac-roman", "gb18030", "shift_jis", "euc-kr"),
)
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # Begins like the mark of UTF-16, so it is looked for first.
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CHUNK, _REPEATED = 4096, 10_000
"""Rows that are taken at once, and different texts of a column that are looked out for."""
_UNPRINTED = set(map(chr, range(0x80, 0xA0)))
"""Control characters of Latin-1, where Windows files have quotes, dashes and the euro sign."""


@dataclass(frozen=True)
class Delimited:
    """The cells of a file.

    Attributes:
        header: names of all columns, without the blanks around them; ``""`` has no name.
        columns: the cells of the columns that were asked for, blanks around them taken off.
        lines: the line of the file on which each record begins, from 1.
        notes: what was dropped or understood, a sentence each.
    """

    header: tuple[str, ...]
    columns: dict[str, list[str]]
    lines: list[int]
    notes: list[str]


def decode(data: bytes, where: str, encoding: str | None = None) -> str:
    """The text in a file.

    Args:
        data: its bytes.
        where: the file, to begin messages with.
        encoding: one of :data:`ENCODINGS`; None: what a byte order mark says, else UTF-8.

    Raises:
        UserError: the bytes are no such text; says what to set.
    """
    marked = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    require(
        marked is None or encoding in (None, marked),
        f"{where} begins with the mark of {marked}, and its card says 'encoding: {encoding}'; take "
        "'encoding' out of the card.",
    )
    chosen = marked or encoding or "utf-8"
    if encoding not in (None, "utf-8", "utf-16") and not data.isascii():
        require(
            not _is_utf8(data),
            f"{where} is UTF-8, and its card says 'encoding: {encoding}', which would spoil its "
            "letters; take 'encoding' out of the card.",
        )
    try:
        text = data.decode("utf-8-sig" if chosen == "utf-8" else chosen)
    except UnicodeError as error:
        at = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = data.count(b"\n", 0, at) + 1
        raise UserError(
            f"{where}, line {line} is no {chosen} text. Say in the card how the file is encoded, "
            "such as 'encoding: latin-1' or 'encoding: cp1252' (Windows), or save it as UTF-8."
        ) from error
    require(
        "\0" not in text,
        f"{where} holds NUL bytes, so it is no text in {chosen}; if it is UTF-16, write 'encoding: "
        "utf-16' into the card, or save the table as CSV in UTF-8.",
    )
    require(
        chosen not in ("latin-1", "iso-8859-15") or not _UNPRINTED & set(text),
        f"{where} holds bytes that are no letters in {chosen}; the file is probably of Windows: "
        "write 'encoding: cp1252' into the card.",
    )
    return text


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def parse(
    data: bytes,
    where: str,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    header: bool = True,
    comment: str | None = None,
    keep: Collection[str] | None = None,
) -> Delimited:
    """The table in a file, every row as wide as the header.

    Empty lines are skipped. One more field at the end of every row is dropped if it is empty in
    all; one more at the beginning is taken for row names, as R writes them, if no two are equal.

    Args:
        data: the file.
        where: the file, to begin messages with, such as ``"Data set 'loans': 'loans.csv'"``.
        encoding: as in :func:`decode`.
        delimiter: one of :data:`DELIMITERS`; None: a comma.
        header: whether the first line names the columns; if not, they are numbered from 1.
        comment: lines that begin with it are skipped.
        keep: columns whose cells are wanted, those that are there; None: all that have a name.

    Raises:
        UserError: it is no text, no table, a row does not fit, or names of columns repeat.
    """
    chunks = _Chunks(decode(data, where, encoding), where, delimiter or ",", comment)
    first = next((rows[0] for _, rows in chunks), None)
    require(first is not None, f"{where} is empty; it must hold a header and records.")
    assert first is not None
    names = [cell.strip() if header else str(i + 1) for i, cell in enumerate(first)]
    if header and delimiter is None and len(names) == 1:
        _require_commas(names[0], where)
    shape, kept = _Shape(len(names)), _Kept(names, keep)
    for lines, rows in chunks.after(int(header)):
        shape.see(lines, rows)
        if shape.first_bad is None:
            kept.add(lines, rows)
    notes: list[str] = []
    skipped, width = _fitted(names, shape, where, notes)
    _require_names(names[:width], {i - skipped for i in shape.empty}, where)
    if shape.first_bad is not None:  # Every record has one field more: read again without it.
        kept = _Kept(names, keep)
        for lines, rows in chunks.after(int(header)):
            kept.add(lines, [row[skipped:] for row in rows])
    columns = {name: cells for name, cells in kept.columns.items() if name in names[:width]}
    return Delimited(tuple(names[:width]), columns, kept.lines, notes)


Rows = list[list[str]]


class _Chunks:
    """The fields of lines that are not empty, and the lines on which they begin, in chunks."""

    def __init__(self, text: str, where: str, delimiter: str, comment: str | None) -> None:
        self.text, self.where, self.delimiter, self.comment = text, where, delimiter, comment

    def __iter__(self) -> Iterator[tuple[list[int], Rows]]:
        return self.after(0)

    def after(self, skipped: int) -> Iterator[tuple[list[int], Rows]]:
        """The chunks without the first rows."""
        every = itertools.islice(self._rows(), skipped, None)
        while chunk := list(itertools.islice(every, _CHUNK)):
            yield [line for line, _ in chunk], [fields for _, fields in chunk]

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        stream = io.StringIO(self.text, newline="")
        reader = csv.reader(stream, delimiter=self.delimiter, skipinitialspace=True, strict=True)
        before = 0
        try:
            for fields in reader:
                line, before = before + 1, reader.line_num
                if len(fields) < 2 and not "".join(fields).strip():
                    continue
                if self.comment is None or not fields[0].startswith(self.comment):
                    yield line, fields
        except csv.Error as error:
            reason = str(error)
            if "unexpected end" in reason:
                reason = "a quotation mark that is opened there is never closed"
            elif "expected after" in reason:
                reason = "something stands behind a closing quotation mark"
            raise UserError(
                f"{self.where}, line {before + 1} cannot be read: {reason}. Mend that line; a "
                'quotation mark within quotes is written twice ("").'
            ) from error


class _Shape:
    """How wide the rows are, and where something stands in them."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.widths = Counter[int]()
        self.first_bad: tuple[int, int] | None = None  # Line and width.
        self.empty = set(range(width + 1))  # Fields in which nothing has stood so far.
        self.row_names = Counter[str]()

    def see(self, lines: list[int], rows: Rows) -> None:
        """Take rows into account."""
        widths = Counter(map(len, rows))
        self.widths += widths
        if self.first_bad is None and set(widths) != {self.width}:
            bad = next(i for i, row in enumerate(rows) if len(row) != self.width)
            self.first_bad = lines[bad], len(rows[bad])
        if self.width + 1 in widths:
            self.row_names.update(row[0].strip() for row in rows if len(row) == self.width + 1)
        self.empty = {
            i for i in self.empty if not any(row[i].strip() for row in rows if len(row) > i)
        }


class _Kept:
    """The cells of the columns that are wanted."""

    def __init__(self, names: Sequence[str], keep: Collection[str] | None) -> None:
        self.at = {
            name: i for i, name in enumerate(names) if name and (keep is None or name in keep)
        }
        self.columns: dict[str, list[str]] = {name: [] for name in self.at}
        self.lines: list[int] = []
        self._seen: dict[str, dict[str, str]] = {name: {} for name in self.at}

    def add(self, lines: list[int], rows: Rows) -> None:
        """Take the cells of rows that are as wide as the header, or wider."""
        self.lines += lines
        fields = list(zip(*rows, strict=True))
        for name, column in self.columns.items():
            cells = list(map(str.strip, fields[self.at[name]]))
            seen = self._seen[name]
            if len(seen) < _REPEATED:  # Labels repeat: one text serves all that are equal.
                for cell in set(cells):
                    seen.setdefault(cell, cell)
                column.extend(map(seen.__getitem__, cells))
            else:
                column.extend(cells)


def _require_commas(line: str, where: str) -> None:
    """Refuse a header that another delimiter would cut."""
    for delimiter, words in DELIMITERS.items():
        shown = "\\t" if delimiter == "\t" else delimiter
        require(
            delimiter not in line,
            f"{where} has no comma in its header, but {words}: write 'delimiter: \"{shown}\"' into "
            "the card.",
        )


def _fitted(names: list[str], shape: _Shape, where: str, notes: list[str]) -> tuple[int, int]:
    """How many fields to skip at the beginning of every row, and how many columns there are."""
    skipped, width = 0, len(names)
    if set(shape.widths) == {width + 1}:
        if width in shape.empty:
            notes.append("every record ends with a delimiter: the empty last field was dropped")
        else:
            name, count = shape.row_names.most_common(1)[0]
            require(
                count == 1 and "" not in shape.row_names,
                f"{where}: every record has {width + 1} fields, the header {width}, and the first "
                f"fields are no row names ('{name}' stands in {count} records). Name every "
                "column in the header.",
            )
            skipped = 1
            notes.append(
                "the header is one name short: the first field of every record was taken for its "
                "row name (as R writes it) and left out"
            )
    elif shape.first_bad is not None:
        line, fields = shape.first_bad
        wrong = sum(count for wide, count in shape.widths.items() if wide != width)
        raise UserError(
            f"{where}, line {line} has {fields} fields, the header has {width} ({wrong} of "
            f"{shape.widths.total()} records do not fit). Mend those lines; a value that holds the "
            "delimiter stands in quotes."
        )
    while width > 1 and names[width - 1] == "" and skipped + width - 1 in shape.empty:
        width -= 1
        notes.append("a last column without name and values was dropped")
    return skipped, width


def _require_names(names: Sequence[str], empty: Collection[int], where: str) -> None:
    """Refuse names that stand twice, and values without a name except row names in front."""
    twice = [name for name, count in Counter(filter(None, names)).items() if count > 1]
    require(
        not twice,
        f"{where} names the column {twice[:3]} twice; give every column a name of its own.",
    )
    unnamed = [at + 1 for at, name in enumerate(names) if at and not name and at not in empty]
    require(
        not unnamed,
        f"{where}: column {unnamed[:3]} (counted from 1) has values but no name; "
        "name it in the header.",
    )
