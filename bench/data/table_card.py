"""The card of a table of one's own, read and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from bench.contract import nearest, require
from bench.contract.data import given_name
from bench.contract.documents import parse_yaml, read_text
from bench.contract.gaps import GAPS
from bench.data.cells import SUFFIXES
from bench.data.delimited import DELIMITERS, ENCODINGS

KINDS = ("number", "category")
TASKS = ("classification", "regression")
PARTS = ("members", "holdout", "public")
PREPROCESSING = ("ours", "model")
"""What a split of the table's own calls its parts."""


@dataclass(frozen=True)
class TableCard:
    """A card; :class:`bench.data.table.Table` says what its keys mean."""

    name: str
    sector: str
    source: str
    terms: str
    target: str
    sensitive: str
    columns: dict[str, Literal["number", "category"]]
    task: Literal["classification", "regression"] = "classification"
    classes: tuple[str, ...] = ()
    positive: str | None = None
    secret: str = ""
    unit: str = ""
    person: str | None = None
    repeats: bool = False
    publishable: bool = False
    encoding: str | None = None
    delimiter: str | None = None
    decimal: str = "."
    gaps: frozenset[str] = GAPS
    preprocessing: Literal["ours", "model"] = "ours"
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    """Column to the label that takes the place of another."""
    split: tuple[str, dict[str, str]] | None = None
    """Column that splits the table, and the part that each of its values means."""
    files: dict[str, str] | None = None
    """A file for each part."""

    @property
    def used(self) -> tuple[str, ...]:
        """Columns that must be in the file."""
        extra = (self.target, self.person, self.split[0] if self.split else None)
        return (*self.columns, *(column for column in extra if column is not None))

    @property
    def numbers(self) -> tuple[str, ...]:
        """Columns that hold numbers, with the target of a regression."""
        own = self.of_kind("number")
        return (*own, self.target) if self.task == "regression" else own

    @property
    def fixed(self) -> bool:
        """Whether the table has a split of its own."""
        return self.split is not None or self.files is not None

    @property
    def members_known(self) -> bool:
        """Whether the table says which records the model was trained on."""
        return self.files is None or "members" in self.files

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """Names of the columns that are numbers, or categories."""
        return tuple(name for name, its_kind in self.columns.items() if its_kind == kind)


def read_card(path: Path) -> TableCard:
    """The card in a YAML file.

    Raises:
        UserError: the file is no such card; says which key, what is allowed and what to do.
    """
    where = f"Table card '{path}'"
    return _parsed(read_text(path, where), where)


@lru_cache(maxsize=16)
def _parsed(text: str, where: str) -> TableCard:
    """The card in a text; a plan asks for the same one many times."""
    content = parse_yaml(text, where)
    require(isinstance(content, dict), f"{where} holds no keys; write 'key: value' lines.")
    known = {item.name: item for item in fields(TableCard)}
    for key in content:
        require(key in known, f"{where} has an unknown key '{key}'." + nearest(str(key), known))
    needed = [k for k, f in known.items() if f.default is f.default_factory is MISSING]
    lacking = [key for key in needed if key not in content]
    require(not lacking, f"{where} lacks {lacking}; add those keys.")
    content = {k: v for k, v in content.items() if v is not None or k in needed}
    _check_texts(content, where)
    _check_columns(content, where)
    _check_classes(content, where)
    changed: dict[str, Any] = {"classes": tuple(content.get("classes", ()))}
    if "gaps" in content:
        changed["gaps"] = frozenset({"", *(gap.strip() for gap in content["gaps"])})
    if "labels" in content:
        changed["labels"] = _labels(content["labels"], content["target"], content["columns"], where)
    if "split" in content:
        changed["split"] = _split(content["split"], where)
    if "files" in content:
        changed["files"] = _files(content["files"], where)
    card = TableCard(**{**content, **changed})
    require(
        not (card.split and card.files),
        f"{where} has both 'split' and 'files'; the table has one split of its own: keep one.",
    )
    column = card.split[0] if card.split else None
    require(
        column not in (*card.columns, card.target, card.person) or column is None,
        f"{where}: the column '{column}' splits the table and cannot be the target, the person or "
        "a column that the model reads; take it out there.",
    )
    return card


def replacing(column: str, old: object, new: str) -> str:
    """The line of a card that replaces a label, for messages."""
    return f"labels: {json.dumps({column: {str(old): new}}, ensure_ascii=False)}"


def _check_texts(content: Mapping[str, Any], where: str) -> None:
    """Keys that hold a text, a truth value, a list of texts, or one of a few words."""
    texts = ("name", "sector", "source", "terms", "target", "sensitive", "secret", "unit", "person")
    for key in (*texts, "positive", "encoding", "delimiter", "decimal", "preprocessing"):
        value = content.get(key, "")
        require(
            isinstance(value, str),
            f"{where}: '{key}' is {value!r}; allowed: a text. Put it in quotes.",
        )
    for key in ("repeats", "publishable"):
        value = content.get(key, False)
        require(isinstance(value, bool), f"{where}: '{key}' is {value!r}; allowed: true or false.")
    for key in ("classes", "gaps"):
        value = content.get(key, [])
        require(
            isinstance(value, list) and all(isinstance(item, str) for item in value),
            f"{where}: '{key}' is {value!r}; allowed: a list of texts. Put each in quotes.",
        )
    name = content["name"]
    require(
        bool(name.strip()) and not set(name) & set("/[]"),
        f"{where}: 'name' is {name!r}; it names boards and trials: use letters, digits, blanks and "
        "dashes, no '/', '[' or ']'.",
    )
    words = {
        "task": TASKS,
        "encoding": ENCODINGS,
        "delimiter": DELIMITERS,
        "decimal": (".", ","),
        "preprocessing": PREPROCESSING,
    }
    for key, allowed in words.items():
        value = content.get(key)
        require(
            value is None or value in allowed,
            f"{where}: '{key}' is {value!r}." + nearest(str(value), map(_shown, allowed)),
        )
    require(
        content.get("decimal") != "," or content.get("delimiter") != ",",
        f"{where}: a comma is both 'decimal' and 'delimiter'; only one of them can be a comma.",
    )


def _shown(word: str) -> str:
    return '"\\t"' if word == "\t" else word


def _check_columns(content: Mapping[str, Any], where: str) -> None:
    """The columns that the model reads, the target, the sensitive one and the person."""
    columns = content["columns"]
    require(
        isinstance(columns, dict) and len(columns) >= 2,
        f"{where}: 'columns' must name two columns or more, each 'number' or 'category'.",
    )
    for column, kind in columns.items():
        require(
            isinstance(column, str) and kind in KINDS,
            f"{where}: column {column!r} is '{kind}'; allowed: number or category, and names that "
            "are text (put others in quotes).",
        )
    numbers = [column for column, kind in columns.items() if kind == "number"]
    ours = {"(part)", *map(given_name, numbers)}
    taken = sorted(ours & {*columns, content["target"], content.get("person")})
    require(
        not taken,
        f"{where}: a column is called {taken[:3]}, a name that the encoding needs; rename it in "
        "the file and here.",
    )
    sensitive, target, person = (content.get(k) for k in ("sensitive", "target", "person"))
    require(
        sensitive in columns,
        f"{where}: the sensitive column '{sensitive}' is not among its columns."
        + nearest(str(sensitive), columns),
    )
    require(
        person != target,
        f"{where}: '{target}' is both the target and the person; the person is whose a record is.",
    )
    for key, value in (("target", target), ("person", person)):
        require(
            value not in columns,
            f"{where}: '{value}' is the {key} and cannot be a column that the model reads; take it "
            "out of 'columns'.",
        )


def _check_classes(content: Mapping[str, Any], where: str) -> None:
    """Classes of a classification, two or more; the positive one is one of two."""
    task, classes = content.get("task", TASKS[0]), content.get("classes") or []
    require(
        (not classes or task == "classification")
        and len(classes) != 1
        and len(set(classes)) == len(classes),
        f"{where}: 'classes' is {classes!r}; allowed: two different labels or more, and none of a "
        "regression.",
    )
    positive = content.get("positive")
    require(
        positive is None
        or (
            task == "classification"
            and (not classes or (len(classes) == 2 and positive in classes))
        ),
        f"{where}: 'positive' is {positive!r}; allowed: one of two classes, which are {classes!r} "
        "here, and nothing of a regression.",
    )


def _labels(
    given: object, target: str, columns: Mapping[str, str], where: str
) -> dict[str, dict[str, str]]:
    """Labels that take the place of others, by column; those without a column are the target's."""
    shape = (
        f"{where}: 'labels' must say which label takes the place of which, such as labels: "
        '{"<=50K.": "<=50K"} for the target, or labels: {illness: {"Flu": "flu"}} for another '
        'column; "" takes a label out as a gap. Put labels in quotes.'
    )
    require(isinstance(given, dict), shape)
    assert isinstance(given, dict)
    own = {key: value for key, value in given.items() if not isinstance(value, dict)}
    by_column = {key: value for key, value in given.items() if isinstance(value, dict)}
    if own:
        by_column[target] = {**by_column.get(target, {}), **own}
    known = (*columns, target)
    for column, changes in by_column.items():
        require(
            column in known,
            f"{where}: 'labels' has a column '{column}'." + nearest(str(column), known),
        )
        require(all(isinstance(text, str) for pair in changes.items() for text in pair), shape)
        after = {label.strip() for label in changes.values()}
        chained = sorted(after & {label.strip() for label in changes} - {""})
        require(
            not chained,
            f"{where}: 'labels' replaces {chained[:3]}, which takes the place of others; write the "
            "last label for each.",
        )
    return {
        column: {old.strip(): new.strip() for old, new in changes.items()}
        for column, changes in by_column.items()
    }


def _split(given: object, where: str) -> tuple[str, dict[str, str]]:
    """The column that splits the table, and the part that each of its values means."""
    shape = (
        f"{where}: 'split' must name a column that holds 'members', 'holdout' and, if there are "
        "any, 'public', or say which values mean that: split: {column: fold, members: [train], "
        "holdout: [test], public: [aux]}. Put values in quotes."
    )
    if isinstance(given, str):
        return given, {part: part for part in PARTS}
    require(isinstance(given, dict) and set(given) <= {"column", *PARTS}, shape)
    assert isinstance(given, dict)
    require(isinstance(given.get("column"), str) and {"members", "holdout"} <= set(given), shape)
    parts: dict[str, str] = {}
    for part in PARTS:
        values = given.get(part, [])
        for value in values if isinstance(values, list) else [values]:
            require(isinstance(value, str) and value.strip() not in parts, shape)
            parts[value.strip()] = part
    return given["column"], parts


def _files(given: object, where: str) -> dict[str, str]:
    """A file for each part."""
    require(
        isinstance(given, dict)
        and "holdout" in given
        and set(given) <= set(PARTS)
        and all(isinstance(f, str) and Path(f).suffix in SUFFIXES for f in given.values())
        and len(set(given.values())) == len(given),
        f"{where}: 'files' must name a file ({', '.join(SUFFIXES)}) for 'holdout' and, if there "
        "are any, others for 'members' and 'public'; without 'members' nobody knows who was "
        "trained on, and only a model that is given can be attacked.",
    )
    assert isinstance(given, dict)
    return {part: given[part] for part in PARTS if part in given}
