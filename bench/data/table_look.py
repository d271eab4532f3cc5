"""What a table of one's own looks like once read, and what in it looks like a mistake."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from bench.contract import UserError
from bench.contract.understood import Sections
from bench.data import cells, table_read
from bench.data.table_card import TableCard, replacing
from bench.data.table_read import PART, Counts, Meant

MOST_SHOWN = 12
"""Lines of a section; the rest is counted."""
MANY, FEW = 50, 10
"""Values of a category that are many, different numbers that are few."""
RARE_PAIR = 20
SENTINELS = (-1.0, -9.0, -99.0, -999.0, -9999.0, 99.0, 999.0, 9999.0, 99999.0)
"""Numbers that questionnaires and exports write for a gap."""
_SAME = 0.999


def sections(card: TableCard, meant: Meant) -> Sections:
    """Columns, labels, gaps, dropped records and warnings.

    Args:
        card: the card.
        meant: the table as the card reads it.
    """
    frame = meant.frame
    shown: dict[str, list[Any]] = {
        "columns": [_column(card, column, frame[column]) for column in frame.columns],
        "classes": _classes(card, meant),
        f"sensitive '{card.sensitive}'": (
            [] if card.sensitive in card.numbers else _shares(frame[card.sensitive])
        ),
        "gaps": _spellings(meant.gaps, "taken as a gap"),
        "labels joined": _spellings(meant.joined, "replaced"),
        "read": [
            *meant.notes,
            *([f"not named in the card: {_listed(meant.others)}"] if meant.others else []),
        ],
    }
    warnings = list(_warnings(card, meant))
    try:
        complete, dropped = table_read.complete(card, frame)
    except UserError:
        complete, dropped = frame.iloc[:0], {}
    shown["records"] = [
        f"{len(frame)} read",
        *(f"{n} left out: '{column}' is not given" for column, n in dropped.items() if n),
    ]
    if len(complete):
        shown["classes x sensitive"], more = _pairs(card, complete)
        warnings += more
    shown["warnings"] = warnings
    return {title: lines for title, lines in shown.items() if lines}


def _listed(names: Iterable[str], most: int = 8) -> str:
    """The first names; the rest counted."""
    every = [repr(name) for name in names]
    rest = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + rest


def _column(card: TableCard, column: str, values: pd.Series[Any]) -> dict[str, Any]:
    """One line about a column."""
    given = values.dropna()
    roles = {card.target: "target", card.sensitive: "sensitive", card.person: "person"}
    roles[PART] = "split"
    is_number = column in card.numbers
    if is_number and len(given):
        span = f"{given.min():.7g} to {given.max():.7g}"
        examples = ", ".join(f"{value:.7g}" for value in given.iloc[:3])
    else:
        span = ""
        examples = ", ".join(given.value_counts().index[:3].astype(str))
    return {
        "column": column,
        "kind": "number" if is_number else "category",
        "role": roles.get(column, ""),
        "different": int(given.nunique()),
        "gaps": int(len(values) - len(given)),
        "range": span,
        "examples": examples,
    }


def _classes(card: TableCard, meant: Meant) -> list[dict[str, Any]]:
    """Each class with its count; of two with a positive one, which it is."""
    lines = _shares(meant.frame[card.target]) if meant.classes else []
    if card.positive is None:
        return lines
    return [{**line, "is": "positive" * (line["label"] == meant.classes[-1])} for line in lines]


def _shares(values: pd.Series[Any]) -> list[dict[str, Any]]:
    """Each label with its count and its share of the records that have one."""
    counts = values.value_counts()
    lines: list[dict[str, Any]] = [
        {"label": str(label), "records": int(count), "share": f"{count / counts.sum():.1%}"}
        for label, count in counts.iloc[:MOST_SHOWN].items()
    ]
    rest = counts.iloc[MOST_SHOWN:]
    if len(rest):
        share = f"{rest.sum() / counts.sum():.1%}"
        lines.append({"label": f"({len(rest)} others)", "records": int(rest.sum()), "share": share})
    return lines


def _spellings(counts: Counts, what: str) -> list[dict[str, Any]]:
    """How often each text was read as something else, by column."""
    return [
        {"column": column, what: text if text else "(nothing)", "cells": count}
        for column, texts in counts.items()
        for text, count in texts.items()
    ]


def _pairs(card: TableCard, frame: pd.DataFrame) -> tuple[list[dict[str, Any]], list[str]]:
    """Records by class and sensitive value, and a sentence about each pair that is rare."""
    if card.task == "regression" or card.sensitive in card.numbers:
        return [], []
    table = pd.crosstab(frame[card.target], frame[card.sensitive])
    if table.shape[0] > MOST_SHOWN or table.shape[1] > 6:
        lines = []
    else:
        lines = [
            {card.target: str(label), **{str(k): int(v) for k, v in row.items()}}
            for label, row in table.iterrows()
        ]
    rare = [
        (int(count), label, value)
        for label, row in table.iterrows()
        for value, count in row.items()
        if 0 < count < RARE_PAIR
    ]
    sentences = [
        f"only {count} of {len(frame)} records have "
        f"'{card.target}' = '{label}' and '{card.sensitive}' = '{value}': too few to split or to "
        f"measure. Join a label with another one ({replacing(card.sensitive, value, '...')}) or "
        'leave it out ("")'
        for count, label, value in sorted(rare, key=lambda pair: pair[0])[:3]
    ]
    if len(rare) > 3:
        sentences.append(f"{len(rare) - 3} more pairs have fewer than {RARE_PAIR} records")
    return lines, sentences


# ---------------------------------------------------------------- what looks like a mistake
def _warnings(card: TableCard, meant: Meant) -> Iterator[str]:
    """Sentences about columns that are probably not what the card says."""
    frame = meant.frame
    for column in frame.columns.drop(PART, errors="ignore"):
        given = frame[column].dropna()
        if not len(given):
            continue
        if column in card.numbers:
            yield from _about_number(column, given)
        elif column != card.person:
            yield from _about_category(card, column, given)
        if column in card.columns and given.nunique() == 1:
            yield f"'{column}' is {given.iloc[0]!r} in every record: it tells nothing"
        gaps = int(frame[column].isna().sum())
        if gaps > len(frame) / 2:
            yield f"'{column}' is not given in {gaps / len(frame):.0%} of the records"
    yield from _leaks(card, frame)
    copies = int(frame.duplicated(list(card.columns)).sum())
    if copies > len(frame) / 10 and not card.repeats:
        yield (
            f"{copies} of {len(frame)} records repeat an earlier one in all columns that the model "
            "reads; they are kept in one split only. 'repeats: true' if they are different people"
        )


def _about_number(column: str, given: pd.Series[Any]) -> Iterator[str]:
    counts = given.value_counts()
    if 2 <= len(counts) <= FEW and len(given) > 5 * FEW:
        yield f"'{column}' is a number with {len(counts)} different values: a category?"
    whole = bool((given % 1 == 0).all())
    if whole and len(given) > 5 * FEW and len(counts) == len(given):
        yield f"'{column}' is a whole number that is different in every record: an id? Take it out"
    for sentinel in SENTINELS:
        count = int(counts.get(sentinel, 0))
        others = given[given != sentinel]
        if count < 2 or others.empty:
            continue
        # Beyond everything else, with nothing near it.
        low, high = float(others.min()), float(others.max())
        reach = max(high - low, 1.0)
        apart = sentinel < low if sentinel < 0 else sentinel - high > reach / 4
        if apart and whole and (sentinel > 0 or low >= 0):
            yield (
                f"'{column}' is {sentinel:g} in {count} records, else {low:g} to {high:g}: a gap? "
                f"Then {replacing(column, f'{sentinel:g}', '')}"
            )


def _about_category(card: TableCard, column: str, given: pd.Series[Any]) -> Iterator[str]:
    counts = given.value_counts()
    if len(counts) > MANY:
        numeric = sum(isinstance(cells.number(str(v), card.decimal), float) for v in counts.index)
        if numeric > 0.9 * len(counts):
            yield f"'{column}' holds {len(counts)} different numbers: 'number' in the card?"
        elif len(counts) > len(given) / 2:
            yield f"'{column}' has {len(counts)} different values in {len(given)} records: names?"
        else:
            yield f"'{column}' has {len(counts)} values: group them, or rare ones are '(other)'"
    if any("\n" in str(value) or "\r" in str(value) for value in counts.index):
        yield f"'{column}' holds line breaks: is a quotation mark missing?"
    for one, other in _alike(counts):
        yield (
            f"'{column}' has both '{one}' ({counts[one]}) and '{other}' ({counts[other]}); if they "
            f"are one, write {replacing(column, other, one)}"
        )


def _alike(counts: pd.Series[int]) -> list[tuple[str, str]]:
    """Pairs of labels that differ in case, blanks, dots or dashes, the more frequent one first."""
    first: dict[str, str] = {}
    pairs = []
    for label in map(str, counts.index):
        plain = unicodedata.normalize("NFKC", label).casefold()
        plain = "".join(letter for letter in plain if letter.isalnum() or letter in "<>=+%/,")
        if plain and first.setdefault(plain, label) != label:
            pairs.append((first[plain], label))
    return pairs[:MOST_SHOWN]


def _leaks(card: TableCard, frame: pd.DataFrame) -> Iterator[str]:
    """Columns that give the target or the sensitive attribute away, one to one."""
    for secret, what in ((card.target, "target"), (card.sensitive, "sensitive attribute")):
        own = frame[secret]
        if own.nunique() < 2:
            continue
        for column in (*card.columns, card.target):
            if column in (secret, card.sensitive if secret == card.target else None):
                continue
            if _tells(frame[column], own):
                yield f"'{column}' gives the {what} '{secret}' away: a copy or a code of it?"
    if _tells(frame[card.sensitive], frame[card.target]):
        yield f"'{card.sensitive}' and the target '{card.target}' say the same"


def _tells(column: pd.Series[Any], secret: pd.Series[Any]) -> bool:
    """Whether few values of a column determine the secret in nearly every record."""
    both = column.notna() & secret.notna()
    column, secret = column[both], secret[both]
    groups = column.nunique()
    if groups < 2 or groups > max(MANY, 2 * secret.nunique()) or 5 * groups > len(column):
        return False
    if pd.api.types.is_float_dtype(secret) and secret.nunique() > MANY:
        return bool(np.array_equal(column.to_numpy(), secret.to_numpy()))
    largest = Counter[Any]()
    for (value, _), count in Counter(zip(column, secret, strict=True)).items():
        largest[value] = max(largest[value], count)
    share = sum(largest.values()) / len(column)
    most = secret.value_counts().iloc[0] / len(secret)
    return share >= _SAME and share > most + (1 - most) / 2
