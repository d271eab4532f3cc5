"""The card of a table of one's own: read, checked, and the table held against it."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bench.contract import UserError, nearest, require
from bench.contract.documents import read_yaml
from bench.data import frames

KINDS = ("number", "category")
TASKS = ("classification", "regression")
GAPS = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "?")
"""What a gap looks like in a CSV file."""


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
    unit: str = ""
    person: str | None = None
    repeats: bool = False
    publishable: bool = False
    used: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        extra = (self.target,) if self.person is None else (self.target, self.person)
        object.__setattr__(self, "used", (*self.columns, *extra))

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """Names of the columns that are numbers, or categories."""
        return tuple(name for name, its_kind in self.columns.items() if its_kind == kind)


def read_card(path: Path) -> TableCard:
    """The card in a YAML file.

    Raises:
        UserError: the file is no such card; says which key, what is allowed and what to do.
    """
    where = f"Table card '{path}'"
    content = read_yaml(path, "Table card")
    require(isinstance(content, dict), f"{where} holds no keys; write 'key: value' lines.")
    known = {item.name: item for item in fields(TableCard) if item.init}
    for key in content:
        require(key in known, f"{where} has an unknown key '{key}'." + nearest(str(key), known))
    lacking = [k for k, item in known.items() if item.default is MISSING and k not in content]
    require(not lacking, f"{where} lacks {lacking}; add those keys.")

    columns = content["columns"]
    require(
        isinstance(columns, dict) and len(columns) >= 2,
        f"{where}: 'columns' must name two columns or more, each 'number' or 'category'.",
    )
    for key in ("name", "sector", "source", "terms", "target", "sensitive", "unit", "person"):
        value = content.get(key)
        require(
            isinstance(value, str) or (value is None and key in ("unit", "person")),
            f"{where}: '{key}' is {value!r}; allowed: a text. Put it in quotes.",
        )
    name = content["name"]
    require(
        bool(name.strip()) and not set(name) & set("/[]"),
        f"{where}: 'name' is {name!r}; it names boards and trials: use letters, digits, blanks and "
        "dashes, no '/', '[' or ']'.",
    )
    for key in ("repeats", "publishable"):
        value = content.get(key, False)
        require(isinstance(value, bool), f"{where}: '{key}' is {value!r}; allowed: true or false.")
    for column, kind in columns.items():
        require(
            isinstance(column, str) and kind in KINDS,
            f"{where}: column {column!r} is '{kind}'; allowed: number or category, and names that "
            "are text (put others in quotes).",
        )
    task = content.get("task", TASKS[0])
    require(task in TASKS, f"{where}: 'task' is '{task}'." + nearest(str(task), TASKS))
    sensitive, target, person = (content.get(k) for k in ("sensitive", "target", "person"))
    require(
        sensitive in columns,
        f"{where}: the sensitive column '{sensitive}' is not among its columns."
        + nearest(str(sensitive), columns),
    )
    for key, value in (("target", target), ("person", person)):
        require(
            value not in columns,
            f"{where}: '{value}' is the {key} and cannot be a column that the model reads; take it "
            "out of 'columns'.",
        )
    classes = content.get("classes") or []
    require(
        isinstance(classes, list) and all(isinstance(c, str) for c in classes),
        f"{where}: 'classes' is {classes!r}; allowed: a list of texts. Put each in quotes.",
    )
    require(
        (not classes or task == "classification")
        and len(classes) != 1
        and len(set(classes)) == len(classes),
        f"{where}: 'classes' is {classes!r}; allowed: two different labels or more, and none of a "
        "regression.",
    )
    return TableCard(**{**content, "classes": tuple(classes), "unit": content.get("unit") or ""})


def read_table(name: str, path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """``columns`` of a CSV or Parquet file as text, gaps as NaN.

    Raises:
        UserError: the file cannot be read, has no records, or lacks a column.
    """
    if path.suffix == ".csv":
        frame = frames.read(name, path, na_values=list(GAPS), encoding="utf-8-sig")
    else:
        try:
            frame = pd.read_parquet(path)
        except (ImportError, ValueError, OSError) as error:
            raise UserError(
                f"Data set '{name}': '{path}' cannot be read as Parquet ({error}); install "
                "pyarrow if it is lacking, or save the table as CSV."
            ) from error
    frames.require_columns(name, frame, columns)
    frame = frame[list(columns)]
    require(len(frame) > 0, f"Data set '{name}': '{path}' has a header but no records.")
    return frame.astype(object).where(frame.notna(), np.nan).map(str, na_action="ignore")


def labels_of(card: TableCard, frame: pd.DataFrame) -> tuple[str, ...]:
    """The classes: the card's, or else those in the table, sorted.

    Raises:
        UserError: a label that the card does not list, or fewer than two labels.
    """
    labels = sorted(set(frame[card.target].dropna()))
    unknown = [label for label in labels if label not in card.classes] if card.classes else []
    require(
        not unknown,
        f"Data set '{card.name}', target '{card.target}' holds {unknown[:5]}; the card's classes "
        f"are {list(card.classes)}. Mend the file or the card.",
    )
    require(
        len(labels) > 1,
        f"Data set '{card.name}': the target '{card.target}' is {labels} in every record, so there "
        "is nothing to learn; name another column as 'target'.",
    )
    return card.classes or tuple(labels)


def checked(card: TableCard, frame: pd.DataFrame) -> pd.DataFrame:
    """The complete records of a table: numbers are numbers, target and sensitive value are known.

    Raises:
        UserError: a text among the numbers, an empty column, or a sensitive column that is the
            same everywhere.
    """
    number = card.of_kind("number")
    wanted = (*number, card.target) if card.task == "regression" else number
    frame = frames.numbers(card.name, frame, wanted)
    empty = [column for column in card.used if frame[column].isna().all()]
    require(
        not empty,
        f"Data set '{card.name}' has no value at all in {empty}; take them out of the card.",
    )
    needed = [card.target, card.sensitive, *([card.person] if card.person else [])]
    frame = frame[frame[needed].notna().all(axis=1)].reset_index(drop=True)
    require(
        frame[card.sensitive].nunique() > 1,
        f"Data set '{card.name}': the sensitive column '{card.sensitive}' is the same in every "
        "record whose target is known, so there is nothing to hide; name another.",
    )
    return frame
