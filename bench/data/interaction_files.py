"""Files of interactions, read strictly: who took what, from a long table or a basket a line."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from bench.contract import UserError, require
from bench.data.basket_lines import read_baskets
from bench.data.events import Events, not_utf8, ordered

Layout = Literal["auto", "table", "recbole", "movielens", "baskets"]
ROLES = ("user", "item", "rating", "timestamp")
_KNOWN: Mapping[str, frozenset[str]] = {
    "user": frozenset({"user", "userid", "uid", "customer", "customerid"}),
    "item": frozenset({"item", "itemid", "iid", "movieid", "product", "productid"}),
    "rating": frozenset({"rating", "stars"}),
    "timestamp": frozenset({"timestamp", "time"}),
}
"""Names of columns that are understood, without capitals, blanks, dashes and underscores."""
_RECBOLE = {"user": "token", "item": "token", "rating": "float", "timestamp": "float"}
_ENDINGS: Mapping[str, Layout] = {
    ".csv": "table",
    ".tsv": "table",
    ".parquet": "table",
    ".inter": "recbole",
    ".data": "movielens",
    ".dat": "baskets",
    ".txt": "baskets",
    ".basket": "baskets",
}
_BLOCK = 1 << 24


def read_events(path: Path, layout: Layout, named: Mapping[str, str | None]) -> Events:
    """The interactions of a file.

    Args:
        path: the file.
        layout: how it is laid out; ``auto`` goes by the end of its name.
        named: names of the columns of a table by their role (:data:`ROLES`); None: a usual name.

    Raises:
        UserError: the first line, or record of a Parquet file, that is not as it should be.
    """
    where = f"'{path}'"
    try:
        with path.open("rb") as file:
            first = file.readline(1 << 20)
        chosen = _layout(path, first) if layout == "auto" else layout
        if chosen == "baskets":
            return read_baskets(path, where, b"," in first)
        if path.suffix == ".parquet":
            return _parquet(path, where, named)
        return _table(path, where, chosen, first, named)
    except OSError as error:
        raise UserError(f"{where} cannot be read ({error.strerror or error}).") from error


def basket_a_line(path: Path, layout: Layout) -> bool:
    """Whether a record is a basket and not a person, as far as options and name tell."""
    by_name = _ENDINGS.get(path.suffix) == "baskets" and path.name != "ratings.dat"
    return layout == "baskets" or (layout == "auto" and by_name)


def _layout(path: Path, first: bytes) -> Layout:
    if b"::" in first and path.suffix == ".dat":
        return "movielens"
    require(
        path.suffix in _ENDINGS,
        f"'{path}' ends in '{path.suffix}', which tells no layout; allowed: "
        f"{', '.join(sorted(_ENDINGS))}, or say dataset.interactions.layout=table, recbole, "
        "movielens or baskets.",
    )
    return _ENDINGS[path.suffix]


# ---------------------------------------------------------------- columns
def _roles(where: str, names: Sequence[str], named: Mapping[str, str | None]) -> dict[str, str]:
    """The column of every role that a table has.

    Raises:
        UserError: a name stands twice, no column or several are the users' or the items', or a
            column that was asked for is not there.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, f"{where} has the column {twice} twice; keep one of them.")
    listed = ", ".join(map(repr, names))
    roles = {}
    for role in ROLES:
        wanted = named.get(role)
        if wanted is not None:
            require(
                wanted in names,
                f"{where} has no column '{wanted}' (dataset.interactions.{role}); its first line "
                f"names {listed}.",
            )
            roles[role] = wanted
            continue
        usual = [name for name in names if _plain(name) in _KNOWN[role]]
        require(
            len(usual) < 2 and (usual != [] or role in ("rating", "timestamp")),
            f"{where} has {'several columns' if usual else 'no column'} that may be the {role}: "
            f"its first line is {listed}. Name the column with dataset.interactions.{role}=COLUMN; "
            "a file without a header is read with layout=movielens or layout=baskets.",
        )
        if usual:
            roles[role] = usual[0]
    return roles


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c not in " _-")


def _table(
    path: Path, where: str, layout: Layout, first: bytes, named: Mapping[str, str | None]
) -> Events:
    """A file of lines with a user, an item and more in each."""
    try:
        line = first.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UserError(not_utf8(where, 1, error)) from error
    require(line.strip() != "", f"{where}: line 1 is empty; a table begins with its columns.")
    colons = layout == "movielens" and "::" in line
    delimiter = "\t" if layout != "table" else max(",\t;", key=line.count)
    if layout == "movielens":
        count = len(line.split("::" if colons else delimiter))
        require(
            2 <= count <= 4,
            f"{where}: line 1 has {count} fields; MovieLens' u.data (tabs) and ratings.dat (::) "
            "have a user, an item, a rating and a timestamp in each line and no header.",
        )
        names, skipped = list(ROLES[:count]), 0
        roles = {name: name for name in names}
    else:
        quoted = layout == "table"
        cells = _cells(where, 1, line, delimiter) if quoted else line.split(delimiter)
        names, skipped = [cell.strip() for cell in cells], 1
        if layout == "recbole":
            names, types = _recbole(where, names)
        roles = _roles(where, names, named)
        if layout == "recbole":
            for role, name in roles.items():
                require(
                    types[name] == _RECBOLE[role],
                    f"{where}: column '{name}' is of type '{types[name]}'; the {role} must be "
                    f"'{name}:{_RECBOLE[role]}'.",
                )
    return _delimited(
        path, where, _Form(delimiter, names, skipped, roles, colons, layout == "table"), layout
    )


def _cells(where: str, number: int, line: str, delimiter: str) -> list[str]:
    """The fields of one line of a CSV file."""
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise UserError(f"{where}: line {number} cannot be read ({error}); mend it.") from error


def _recbole(where: str, cells: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Names and types of the columns of RecBole's header."""
    pairs = [cell.partition(":") for cell in cells]
    for name, colon, kind in pairs:
        require(
            bool(name and colon) and kind in ("token", "float", "token_seq", "float_seq"),
            f"{where}: line 1 has the field '{name}{colon}{kind}'; RecBole's header has a name and "
            "a type in each, such as 'user_id:token', separated by tabs.",
        )
    return [name for name, _, _ in pairs], {name: kind for name, _, kind in pairs}


# ---------------------------------------------------------------- text
@dataclass(frozen=True)
class _Form:
    """How the lines of a table are made."""

    delimiter: str
    names: list[str]
    skipped: int
    roles: Mapping[str, str]
    colons: bool
    quoted: bool

    def fields(self, where: str, number: int, line: str) -> list[str]:
        if self.colons:
            return line.split("::")
        if not self.quoted:
            return line.split(self.delimiter)
        return _cells(where, number, line, self.delimiter)


def _delimited(path: Path, where: str, form: _Form, layout: Layout) -> Events:
    """Read with explicit types, a block at a time; what is wrong is looked for only afterwards."""
    token, number = pa.dictionary(pa.int32(), pa.string()), pa.float64()
    kinds = {
        name: token if role in ("user", "item") else number for role, name in form.roles.items()
    }
    source: Any = str(path)
    if form.colons:
        data = path.read_bytes()
        require(b"\t" not in data, f"{where} holds tabs and '::'; one of them must separate.")
        source = pa.BufferReader(data.replace(b"::", b"\t"))
    try:
        table = arrow_csv.read_csv(
            source,
            arrow_csv.ReadOptions(
                column_names=form.names, skip_rows=form.skipped, block_size=_BLOCK
            ),
            arrow_csv.ParseOptions(
                delimiter=form.delimiter,
                quote_char='"' if form.quoted else False,
                ignore_empty_lines=False,
            ),
            arrow_csv.ConvertOptions(
                column_types=kinds,
                include_columns=list(kinds),
                null_values=[],
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise UserError(_reason(path, where, form, str(error))) from error
    columns = {role: table.column(name) for role, name in form.roles.items()}
    unread = [name for name in form.names if name not in kinds]
    return _events(where, columns, "line", form.skipped + 1, layout, unread)


def _reason(path: Path, where: str, form: _Form, error: str) -> str:
    """The sentence for the first line that is not as it should be."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as reason:
                return not_utf8(where, number, reason)
            if number <= form.skipped:
                continue
            if not line.strip():
                return f"{where}: line {number} is empty; remove it."
            cells = form.fields(where, number, line)
            if len(cells) != len(form.names):
                return (
                    f"{where}: line {number} has {len(cells)} fields, it must have "
                    f"{len(form.names)} ({', '.join(form.names)})."
                )
            for role in ("rating", "timestamp"):
                name = form.roles.get(role)
                value = cells[form.names.index(name)] if name else "0"
                if not _number(value):
                    return f"{where}: line {number} has the {role} '{value}'; {_NUMBER}"
    return f"{where} is no table that can be read ({error})."


_NUMBER = "allowed: a finite number, 0 or more."


def _number(value: str) -> bool:
    try:
        return math.isfinite(float(value)) and float(value) >= 0
    except ValueError:
        return False


def _parquet(path: Path, where: str, named: Mapping[str, str | None]) -> Events:
    try:
        file = parquet.ParquetFile(path)
        names = list(file.schema_arrow.names)
        roles = _roles(where, names, named)
        table = file.read(columns=list(roles.values()))
    except pa.ArrowException as error:
        raise UserError(f"{where} is no Parquet file that can be read ({error}).") from error
    columns = {}
    for role, name in roles.items():
        column = table.column(name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        whole = pa.types.is_integer(kind)
        fits = text or whole if role in ("user", "item") else whole or pa.types.is_floating(kind)
        require(
            fits,
            f"{where}: column '{name}' ({role}) holds {column.type}; allowed: "
            f"{'texts or whole numbers' if role in ('user', 'item') else 'numbers'}.",
        )
        if column.null_count:
            row = pc.index(pc.is_null(column), True).as_py()
            raise UserError(f"{where}: record {row + 1} has no {role}; every record needs one.")
        if role in ("user", "item"):
            column = column.cast(pa.string()).dictionary_encode()
        columns[role] = column
    unread = [name for name in names if name not in roles.values()]
    return _events(where, columns, "record", 1, "table", unread)


def _events(
    where: str,
    columns: Mapping[str, pa.ChunkedArray],
    what: str,
    first: int,
    layout: str,
    unread: Sequence[str],
) -> Events:
    """Check columns and number users and items."""
    for role in ("rating", "timestamp"):
        if role in columns:
            values = columns[role].to_numpy().astype(np.float64)
            bad = ~(np.isfinite(values) & (values >= 0))
            if bad.any():
                row = int(bad.argmax())
                raise UserError(
                    f"{where}: {what} {first + row} has the {role} '{values[row]:g}'; {_NUMBER}"
                )
    coded = {}
    for role in ("user", "item"):
        column = columns[role].unify_dictionaries().combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # no chunk at all
            column = pa.array([], pa.string()).dictionary_encode()
        codes, names = column.indices.to_numpy(), column.dictionary.to_pylist()
        coded[role] = ordered([name.strip() for name in names], codes)
        empty = [i for i, name in enumerate(names) if not name.strip()]
        if empty:
            row = int(np.isin(codes, empty).argmax())
            raise UserError(f"{where}: {what} {first + row} has an empty {role}; give it a name.")
    require(len(coded["user"][1]) > 0, f"{where} holds no interactions.")
    rating = columns["rating"].to_numpy().astype(np.float64) if "rating" in columns else None
    facts: dict[str, Any] = {"layout": layout, "columns_unread": list(unread)}
    (users, user), (items, item) = coded["user"], coded["item"]
    return Events(users, items, user, item, rating, facts)
