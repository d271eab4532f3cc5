"""A table of one's own as its card reads it: what every cell means, and one hash of that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.contract import UserError, nearest, require
from bench.contract.gaps import GAPS
from bench.data import cells
from bench.data.cells import Cells
from bench.data.table_card import TableCard, replacing

PART = "(part)"
"""Column of the part of its own split that a record is in."""
Counts = dict[str, dict[str, int]]
"""Column to how often each text stands in it."""


@dataclass(frozen=True)
class Meant:
    """What the cells of a table mean.

    Attributes:
        frame: all records: numbers as float64, everything else as text, gaps as NaN.
        classes: the classes in label order; none of a regression.
        gaps: texts that were taken as gaps; ``""`` where nothing stands.
        joined: labels that the card replaced.
        others: columns of the file that the card does not name.
        notes: what was understood while the file was read, a sentence each.
        sha256: hash of what the table means; the same for CSV and Parquet.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    gaps: Counts
    joined: Counts
    others: tuple[str, ...]
    notes: tuple[str, ...]
    sha256: str


def read(card: TableCard, paths: Mapping[str, Path]) -> Meant:
    """Read the columns that a card names.

    Args:
        card: the card.
        paths: the table, or a file for each part of its split, by part.

    Raises:
        UserError: a file that cannot be read without guessing, a text among the numbers, a label
            that the card does not know, or a rule of the card that nothing follows.
    """
    stored = _joined_files(card, paths)
    gaps: Counts = {}
    joined: Counts = {}
    columns: dict[str, pd.Series[Any]] = {}
    classes: tuple[str, ...] = ()
    for column in card.used:
        text = stored.frame[column]
        changes = card.labels.get(column, {})
        parts = card.split[1] if card.split and column == card.split[0] else {}
        named = {*parts, *(_classes_named(card) if column == card.target else ())}
        plain = _plain(card, column, set(text), {*named, *changes, *changes.values()})
        text = text.map(plain)
        if parts:
            columns[PART] = _parts(card, text, {plain[old]: parts[old] for old in parts}, stored)
            continue
        if changes:
            changes = {plain[old]: plain[new] for old, new in changes.items()}
            joined[column] = _counted(text[text.isin(list(changes))])
            _require_used(card, column, changes, text)
        after = text.map(lambda label, changes=changes: changes.get(label, label))
        is_gap = after.isin({plain[mark] for mark in card.gaps - named} | {""})
        gaps[column] = _counted(text[is_gap])
        text = after.mask(is_gap)
        columns[column] = _numbers(card, column, text, stored) if column in card.numbers else text
        if column == card.target and card.task == "classification":
            classes = _classes(card, text, plain)
    frame = pd.DataFrame(columns)
    if card.files:
        frame[PART] = stored.frame[PART]
    return Meant(
        frame,
        classes,
        {column: counts for column, counts in gaps.items() if counts},
        joined,
        stored.others,
        stored.notes,
        _sha256(card, frame, classes),
    )


def classes_in(card: TableCard, paths: Mapping[str, Path]) -> tuple[str, ...]:
    """The classes, from the target column alone.

    Raises:
        UserError: as :func:`read`.
    """
    return read(
        replace(card, columns={}, person=None, split=None, labels=_own(card)), paths
    ).classes


def _classes_named(card: TableCard) -> tuple[str, ...]:
    return card.classes if card.positive is None else (*card.classes, card.positive)


def _own(card: TableCard) -> dict[str, dict[str, str]]:
    return {column: labels for column, labels in card.labels.items() if column == card.target}


def _joined_files(card: TableCard, paths: Mapping[str, Path]) -> Cells:
    """The cells of all files, one below the other."""
    parts = []
    for part, path in paths.items():
        one = cells.read(
            card.name, path, card.used, encoding=card.encoding, delimiter=card.delimiter
        )
        frame, places, notes = one.frame, one.places, one.notes
        if card.decimal == ",":  # Numbers that are stored as such have a point.
            for column in one.pointed & set(card.numbers):
                frame[column] = frame[column].str.replace(".", ",", regex=False)
        if card.files:
            frame[PART] = part
            places = [f"'{path.name}', {place}" for place in places]
            notes = tuple(f"'{path.name}': {note}" for note in notes)
        parts.append(replace(one, frame=frame, places=places, notes=notes))
    return Cells(
        pd.concat([one.frame for one in parts], ignore_index=True),
        [place for one in parts for place in one.places],
        frozenset(),
        tuple(dict.fromkeys(column for one in parts for column in one.others)),
        tuple(note for one in parts for note in one.notes),
    )


def _counted(text: pd.Series[Any]) -> dict[str, int]:
    return {str(value): int(count) for value, count in text.value_counts().sort_index().items()}


def _plain(card: TableCard, column: str, texts: set[str], named: set[str]) -> dict[str, str]:
    """One spelling of every text of a column and of those that the card names for it."""
    if column in card.numbers:
        meant = {text: cells.number(text, card.decimal) for text in texts | named | card.gaps}
        return {
            text: text if isinstance(value, str) else _written(value, card.decimal)
            for text, value in meant.items()
        }
    write = cells.spelling(texts - card.gaps)
    every = texts | named | card.gaps
    return {text: text if text in GAPS else write(text) for text in every}


def _written(value: float, decimal: str) -> str:
    """A number as text, whole ones without a decimal point."""
    return repr(value).removesuffix(".0").replace(".", decimal)


def _require_used(
    card: TableCard, column: str, changes: Mapping[str, str], text: pd.Series[Any]
) -> None:
    """Refuse to replace a label that no record holds."""
    there = sorted(map(str, set(text)))
    idle = sorted(set(changes) - set(there))
    if idle:
        raise UserError(
            f"Data set '{card.name}': its card's 'labels' replaces {idle[:3]}, which no record "
            f"holds in '{column}'; take it out or mend it."
            + (nearest(idle[0], there) if len(there) <= 20 else "")
        )


def _parts(
    card: TableCard, text: pd.Series[Any], known: Mapping[str, str], stored: Cells
) -> pd.Series[Any]:
    """The part of the table's own split that every record is in."""
    parts = text.map(dict(known))
    unknown = parts.isna().to_numpy()
    at = int(unknown.argmax())
    require(
        not bool(unknown.any()),
        f"Data set '{card.name}', column '{text.name}', {stored.places[at]} holds "
        f"'{text.iloc[at]}', which the card's 'split' does not know ({list(known)}); add it there, "
        "or mend the file.",
    )
    return parts


def _numbers(card: TableCard, column: str, text: pd.Series[Any], stored: Cells) -> pd.Series[Any]:
    """A column of numbers; gaps stay.

    Raises:
        UserError: the first text that is none, where it stands and why it is none.
    """
    meant = {value: cells.number(value, card.decimal) for value in text.dropna().unique()}
    wrong = {value for value, number in meant.items() if isinstance(number, str)}
    if wrong:
        bad = text.isin(wrong).to_numpy()
        at = int(bad.argmax())
        more = f" ({int(bad.sum())} records hold such)" if bad.sum() > 1 else ""
        raise UserError(
            f"Data set '{card.name}', column '{column}', {stored.places[at]} holds "
            f"'{text.iloc[at]}', which is no number{more}: {meant[text.iloc[at]]}."
        )
    return text.map(meant).astype(np.float64)


def _classes(
    card: TableCard, target: pd.Series[Any], spelled: Mapping[str, str]
) -> tuple[str, ...]:
    """The classes in label order: the card's, or else those in the table, sorted.

    Raises:
        UserError: a label that the card does not list, a class that no record has, or fewer than
            two labels.
    """
    labels = sorted(set(target.dropna()))
    where = f"Data set '{card.name}': the target '{card.target}'"
    require(
        len(labels) > 1,
        f"{where} is {labels} in every record, so there is nothing to learn; name another column "
        "as 'target'.",
    )
    classes = tuple(spelled[name] for name in card.classes)
    if classes:
        unknown = [label for label in labels if label not in classes]
        require(
            not unknown,
            f"{where} holds {unknown[:5]}; the card's classes are {list(classes)}. Mend the file, "
            "add the class to 'classes', or join it with another one: "
            f"{replacing(card.target, (unknown or ['?'])[0], classes[0])}.",
        )
        absent = [name for name in classes if name not in labels]
        require(
            not absent,
            f"{where} is {absent[:5]} in no record; the table holds {labels[:20]}. Take the class "
            "out of 'classes', or mend its spelling.",
        )
    ordered = classes or tuple(labels)
    if card.positive is None:
        return ordered
    positive = spelled[card.positive]
    require(
        len(ordered) == 2 and positive in ordered,
        f"{where}: 'positive' is '{card.positive}'; it must be one of two classes, and the table "
        f"holds {labels[:20]}.",
    )
    return (*(name for name in ordered if name != positive), positive)


def _sha256(card: TableCard, frame: pd.DataFrame, classes: tuple[str, ...]) -> str:
    """Hash of what is predicted, hidden and read, and of every cell as it is meant."""
    about = {
        "target": card.target,
        "sensitive": card.sensitive,
        "person": card.person,
        "repeats": card.repeats,
        "unit": card.unit,
        "classes": classes,
        "columns": [[column, str(card.columns.get(column))] for column in frame.columns],
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for column in frame.columns:
        values = frame[column]
        if column in card.numbers:
            known = values.fillna(0.0).to_numpy(np.float64).astype("<f8")
            digest.update(values.notna().to_numpy().tobytes() + known.tobytes())
        else:
            # No cell holds NUL.
            texts = ("\0-" if pd.isna(value) else f"\0+{value}" for value in values)
            digest.update("".join(texts).encode())
        digest.update(b"\0\0")
    return digest.hexdigest()


def complete(card: TableCard, frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """The records whose target, sensitive value and person are known, and how many lack which.

    Raises:
        UserError: an empty column, or a sensitive column that is the same everywhere.
    """
    empty = [column for column in frame.columns if frame[column].isna().all()]
    require(
        not empty,
        f"Data set '{card.name}' has no value at all in {empty}; take them out of the card.",
    )
    dropped = {}
    for column in (card.target, card.sensitive, card.person):
        if column is not None:
            dropped[column] = int(frame[column].isna().sum())
            frame = frame[frame[column].notna()]
    frame = frame.reset_index(drop=True)
    require(
        frame[card.sensitive].nunique() > 1,
        f"Data set '{card.name}': the sensitive column '{card.sensitive}' is the same in every "
        "record whose target is known, so there is nothing to hide; name another.",
    )
    return frame, dropped
