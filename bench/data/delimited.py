"""Text files of delimited values, read strictly: every row fits the header, or the file is refused.

What spreadsheets, R and pandas write is understood and said (a comma at the end of every line, row
names without a header); nothing is guessed that could move a value into another column.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Sequence
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
_UNPRINTED = set(map(chr, range(0x80, 0xA0)))
"""Control characters of Latin-1, where Windows files have quotes, dashes and the euro sign."""


@dataclass(frozen=True)
class Delimited:
    """The cells of a file.

    Attributes:
        header: names of the columns, without the blanks around them; ``""`` has no name.
        rows: the cells of every record, as many as ``header`` has, blanks around them taken off.
        lines: the line of the file on which each record begins, from 1.
        notes: what was dropped or understood, a sentence each.
    """

    header: tuple[str, ...]
    rows: list[list[str]]
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

    Raises:
        UserError: it is no text, no table, a row does not fit, or names of columns repeat.
    """
    text = decode(data, where, encoding)
    rows, lines = _rows(text, where, delimiter or ",")
    require(bool(rows), f"{where} is empty; it must hold a header and records.")
    if header:
        names, names_line = rows.pop(0), lines.pop(0)
        if delimiter is None and len(names) == 1:
            _require_commas(names[0], where)
    else:
        names, names_line = [str(i + 1) for i in range(len(rows[0]))], lines[0]
    notes: list[str] = []
    names = _fitted(names, rows, lines, where, notes)
    _require_names(names, rows, names_line, where)
    return Delimited(tuple(names), rows, lines, notes)


def _rows(text: str, where: str, delimiter: str) -> tuple[list[list[str]], list[int]]:
    """The fields of every line that is not empty, and the line on which each begins."""
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True, strict=True)
    rows: list[list[str]] = []
    lines, before = [], 0
    try:
        for fields in reader:
            cells = [cell.strip() for cell in fields]
            if len(cells) > 1 or any(cells):
                rows.append(cells)
                lines.append(before + 1)
            before = reader.line_num
    except csv.Error as error:
        reason = str(error)
        if "unexpected end" in reason:
            reason = "a quotation mark that is opened there is never closed"
        elif "expected after" in reason:
            reason = "something stands behind a closing quotation mark"
        raise UserError(
            f"{where}, line {before + 1} cannot be read: {reason}. Mend that line; a quotation "
            'mark within quotes is written twice ("").'
        ) from error
    return rows, lines


def _require_commas(line: str, where: str) -> None:
    """Refuse a header that another delimiter would cut."""
    for delimiter, words in DELIMITERS.items():
        shown = "\\t" if delimiter == "\t" else delimiter
        require(
            delimiter not in line,
            f"{where} has no comma in its header, but {words}: write 'delimiter: \"{shown}\"' into "
            "the card.",
        )


def _fitted(
    names: list[str], rows: list[list[str]], lines: list[int], where: str, notes: list[str]
) -> list[str]:
    """The header, after surplus fields of all rows are dropped from ``rows``."""
    widths = Counter(map(len, rows))
    wide = len(names) + 1
    if set(widths) == {wide}:
        if all(row[-1] == "" for row in rows):
            for row in rows:
                row.pop()
            notes.append("every record ends with a delimiter: the empty last field was dropped")
        else:
            firsts = Counter(row[0] for row in rows)
            name, count = firsts.most_common(1)[0]
            require(
                count == 1 and "" not in firsts,
                f"{where}: every record has {wide} fields, the header {len(names)}, and the first "
                f"fields are no row names ('{name}' stands in {count} records). Name every "
                "column in the header.",
            )
            for row in rows:
                row.pop(0)
            notes.append(
                "the header is one name short: the first field of every record was taken for its "
                "row name (as R writes it) and left out"
            )
    elif set(widths) - {len(names)}:
        bad = next(i for i, row in enumerate(rows) if len(row) != len(names))
        wrong = sum(count for width, count in widths.items() if width != len(names))
        raise UserError(
            f"{where}, line {lines[bad]} has {len(rows[bad])} fields, the header has {len(names)} "
            f"({wrong} of {len(rows)} records do not fit). Mend those lines; a value that holds "
            "the delimiter stands in quotes."
        )
    while len(names) > 1 and names[-1] == "" and all(row[-1] == "" for row in rows):
        names = names[:-1]
        for row in rows:
            row.pop()
        notes.append("a last column without name and values was dropped")
    return names


def _require_names(
    names: Sequence[str], rows: Sequence[Sequence[str]], line: int, where: str
) -> None:
    """Refuse names that stand twice, and values without a name except row names in front."""
    twice = [name for name, count in Counter(filter(None, names)).items() if count > 1]
    require(
        not twice,
        f"{where}, line {line} names the column {twice[:3]} twice; give every column a name of its "
        "own.",
    )
    unnamed = [
        at + 1
        for at, name in enumerate(names)
        if at > 0 and name == "" and any(row[at] for row in rows)
    ]
    require(
        not unnamed,
        f"{where}, line {line}: column {unnamed[:3]} (counted from 1) has values but no name; "
        "name it in the header.",
    )
