"""Load and split a data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from bench.contract import Card, Split, Splits, check_splits, sparse
from bench.engine.components import build
from bench.engine.stages.result import Machine, Parents, Result

_SPLITS = ("train", "test", "public", "fillers")
_CARD: TypeAdapter[Card] = TypeAdapter(Card)


def run(payload: Mapping[str, Any], parents: Parents, machine: Machine) -> Result:
    """Card, facts and the tensors of every split."""
    dataset = build(payload["dataset"], "dataset", machine.packages)
    part = dataset.of_repeat(payload.get("repeat", 0))
    splits = part.load(payload["seed"], machine.data_root)
    check_splits(splits)
    tensors = {
        f"{name}.{key}": value.contiguous()
        for name in _SPLITS
        if getattr(splits, name) is not None
        for key, value in _columns(getattr(splits, name)).items()
        if value is not None
    }
    facts = {**splits.facts, **({"fixed_split": True} if part.fixed_split else {})}
    return Result({"card": dataclasses.asdict(splits.card), "facts": facts}, tensors)


def _columns(split: Split) -> dict[str, Any]:
    """The tensors of a split by name; of records in compressed rows ``x.starts`` and so on."""
    columns = dict(vars(split))
    if sparse.is_sparse(split.x):
        columns |= {f"x.{part}": value for part, value in sparse.parts_of(columns.pop("x")).items()}
    return columns


def splits_of(data: Result) -> Splits:
    """The splits that a data node keeps."""
    parts: dict[str, dict[str, Any]] = {name: {} for name in _SPLITS}
    for key, value in data.tensors.items():
        name, _, column = key.partition(".")
        parts[name][column] = value
    card = _CARD.validate_python(data.output["card"])
    for columns in parts.values():
        if columns and "x" not in columns:
            rows = {part: columns.pop(f"x.{part}") for part in sparse.PARTS}
            columns["x"] = sparse.from_parts(rows, card.shape[0])
    train, test, public = (Split(**parts[name]) for name in _SPLITS[:3])
    fillers = Split(**parts["fillers"]) if parts["fillers"] else None
    return Splits(card, train, test, public, data.output["facts"], fillers)
