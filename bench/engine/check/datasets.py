"""The contract of data sets, tried: sound splits, a card and facts that tell the truth."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from bench.contract import Dataset, Split, Splits, check_splits, sparse
from bench.contract.data import duplicates_across
from bench.engine.check.findings import Check, attempt, global_seeds, require_that
from bench.engine.check.probes import Ground
from bench.engine.config import Option
from bench.goals import goal_named

_SPLITS = ("train", "test", "public")
_FACTS = frozenset(
    {"sha256", "n_rows", "class_counts", "duplicates_across_splits", "split_protocol"}
)


def try_dataset(option: Option, part: Dataset, ground: Ground) -> Iterator[Check]:
    """Load it three times and hold what it says against what it holds."""
    missing = part.missing(ground.data_root)
    yield require_that(f"{option.name}: its files are there", missing is None, missing or "")
    if missing is not None:
        return
    loaded: list[Splits] = []

    def load() -> str:
        splits = part.of_repeat(0).load(0, ground.data_root)
        loaded.append(splits)
        return "" if isinstance(splits, Splits) else f"'load' returned {type(splits).__name__}"

    yield attempt(f"{option.name}: loads", load)
    if not loaded or not isinstance(loaded[0], Splits):
        return
    splits = loaded[0]
    yield attempt(f"{option.name}: its splits are sound", lambda: _unsound(splits))
    yield attempt(f"{option.name}: its tensors have the contract's types", lambda: _types(splits))
    yield attempt(f"{option.name}: follows from its seed", lambda: _seeding(part, splits, ground))
    yield attempt(
        f"{option.name}: its card agrees with its class",
        lambda: _card(part, splits, ground.data_root),
    )
    yield attempt(
        f"{option.name}: its card agrees with its records", lambda: _records(part, splits)
    )
    yield attempt(f"{option.name}: says what it found", lambda: _facts(splits))


def _unsound(splits: Splits) -> str:
    check_splits(splits)
    return ""


def _types(splits: Splits) -> str:
    outcome = splits.card.outcome is not None
    wanted = {
        "x": torch.float32,
        "y": torch.float32 if outcome else torch.int64,
        "person": torch.int64,
        "s": torch.int64,
    }
    for name, column in itertools.product(_SPLITS, wanted):
        value: Tensor | None = getattr(getattr(splits, name), column)
        if value is not None and value.dtype != wanted[column]:
            return f"'{name}.{column}' is {value.dtype}, it must be {wanted[column]}"
    return ""


def _seeding(part: Dataset, splits: Splits, ground: Ground) -> str:
    with global_seeds(1):
        again = part.of_repeat(0).load(0, ground.data_root)
    if not _same(splits, again):
        return "the same seed gave other splits; draw with generators made from the seed alone"
    if getattr(part, "fixed_split", False):
        return ""
    if _same(splits, part.of_repeat(1).load(1, ground.data_root)):
        return (
            "another seed gave the same split; draw it from the seed, or declare 'fixed_split' "
            "where the data comes with a split of its own"
        )
    return ""


def _same(one: Splits, other: Splits) -> bool:
    """Whether two loads are equal bit for bit; NaN is equal to NaN."""
    for name, column in itertools.product(_SPLITS, (field.name for field in fields(Split))):
        a, b = (getattr(getattr(splits, name), column) for splits in (one, other))
        if (a is None) != (b is None):
            return False
        if a is None:
            continue
        if a.shape != b.shape or a.layout != b.layout:
            return False
        parts = [list(sparse.parts_of(x).values()) if sparse.is_sparse(x) else [x] for x in (a, b)]
        for one_part, other_part in zip(*parts, strict=True):
            if not torch.equal(torch.nan_to_num(one_part), torch.nan_to_num(other_part)):
                return False
    return True


def _card(part: Dataset, splits: Splits, data_root: Path | None) -> str:
    card = splits.card
    said = {
        "sector": (card.sector, part.sector),
        "modality": (card.modality, part.modality),
        "n_classes": (card.n_classes, part.count_classes(data_root)),
        "tasks": (tuple(card.tasks), tuple(part.tasks)),
        "name": (card.name, part.called or card.name),
    }
    for key, (on_card, of_class) in said.items():
        if on_card != of_class:
            return f"the card's {key} is {on_card!r}, the class says {of_class!r}; one is wrong"
    secret = [name for name in part.goals if goal_named(name).hides_attribute]
    if secret and card.sensitive is None:
        return f"the class offers the goal '{secret[0]}', the card names no sensitive attribute"
    if "regression" in part.tasks and card.outcome is None:
        return "the class offers regression, the card has no outcome"
    return ""


def _records(part: Dataset, splits: Splits) -> str:
    card = splits.card
    if card.columns and len(card.columns) != card.shape[0]:
        return f"the card names {len(card.columns)} columns, a record has {card.shape[0]}"
    if card.shared_classes and card.outcome is None and card.n_classes:
        labels = splits.public.y
        if int(labels.min()) < 0 or int(labels.max()) >= card.n_classes:
            return (
                f"labels of 'public' reach from {int(labels.min())} to {int(labels.max())}, the "
                f"card has {card.n_classes} classes; set 'shared_classes' to false if they mean "
                "others"
            )
        present = len(torch.unique(splits.train.y))
        if present < card.n_classes:
            return (
                f"the card has {card.n_classes} classes, 'train' holds records of {present}; "
                "stratify the split or drop the classes"
            )
    return _sensitive(splits)


def _sensitive(splits: Splits) -> str:
    sensitive = splits.card.sensitive
    if sensitive is None:
        return ""
    start, stop = sensitive.columns
    if not 0 <= start < stop <= splits.card.shape[0]:
        return f"its sensitive columns {start} to {stop} are not within a record"
    if len(sensitive.values) != len(sensitive.codes) or len(sensitive.values) < 2:
        return f"it has {len(sensitive.values)} sensitive values and {len(sensitive.codes)} codes"
    codes = torch.tensor(sensitive.codes, dtype=torch.float32)
    for name in _SPLITS:
        split: Split = getattr(splits, name)
        assert split.s is not None
        if int(split.s.min()) < 0 or int(split.s.max()) >= len(sensitive.values):
            return f"'{name}.s' holds a value that the card does not list"
        if sensitive.numeric:
            continue  # The candidates are a grid, the records are not on it.
        wrong = int((split.x[:, start:stop] != codes[split.s]).any(1).sum())
        if wrong:
            return (
                f"in {wrong} records of '{name}' the sensitive columns hold another value than "
                "'s' says by the card's codes"
            )
    return ""


def _facts(splits: Splits) -> str:
    facts, card = splits.facts, splits.card
    missing = sorted(_FACTS - set(facts))
    if missing:
        return f"its facts lack {', '.join(missing)}"
    held = sum(len(getattr(splits, name)) for name in _SPLITS)
    if not isinstance(facts["n_rows"], int) or facts["n_rows"] < held:
        return f"'n_rows' is {facts['n_rows']}, its splits hold {held} records"
    shared = duplicates_across(splits)
    if facts["duplicates_across_splits"] != shared:
        return (
            f"'duplicates_across_splits' is {facts['duplicates_across_splits']}, {shared} records "
            "stand in more than one split"
        )
    if card.outcome is not None:
        return ""
    right = [
        torch.bincount(torch.cat(labels), minlength=card.n_classes).tolist()
        for labels in (
            [splits.train.y, splits.test.y],
            [splits.train.y],
            [splits.train.y, splits.test.y, splits.public.y],
        )
    ]
    if facts["class_counts"] not in right:
        return f"'class_counts' is {facts['class_counts']}, 'train' and 'test' hold {right[0]}"
    return ""
