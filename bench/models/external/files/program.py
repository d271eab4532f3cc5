"""A model that was given as a program of ``torch.export`` (.pt2).

``torch.export.load`` can run code of the file: it falls back to unrestricted pickles, and evaluates
texts of the archive as Python. :mod:`bench.models.external.files.program_copy` says where, and
makes the copy that is opened instead: without pickles and with plain names alone.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from bench.contract import UserError, require
from bench.contract.secrets import in_one_line
from bench.models.external.files.batches import Batched
from bench.models.external.files.batches import batches as in_batches
from bench.models.external.files.program_copy import checked_copy
from bench.models.external.opened import Answered, Inputs, Opened, unanswered

_TYPES = {7: torch.float32, 8: torch.float64}
"""What torch's archive calls them."""
_SEVERAL = 256


def open_program(content: bytes, name: str) -> Opened:
    """Open a program that ``torch.export.save`` wrote.

    Args:
        content: of the file.
        name: of the file, for messages.

    Raises:
        UserError: it cannot be read, could run code, or does not map one tensor of records to one
            tensor of scores.
    """
    copy, graph = checked_copy(content, name)
    _check_predicts(graph, name)
    shape, fixed, dtype = _input(graph, name)
    try:
        with _quiet():
            inner = torch.export.load(io.BytesIO(copy)).module()
    except Exception as error:
        raise UserError(
            f"{name} cannot be opened by torch {torch.__version__}: {in_one_line(error)}. Programs "
            "of another version of torch may not be readable: export it with this one, or give "
            "the model as ONNX."
        ) from None
    module = Batched(_frozen(inner), fixed, dtype)

    def ask(values: Inputs) -> Answered:
        return _ask(module, values, shape, name)

    operators = Counter(node["target"] for node in graph["graph_module"]["graph"]["nodes"])
    facts = {
        "format": "torch.export",
        "inputs": [{"shape": [fixed, *shape], "type": str(dtype).removeprefix("torch.")}],
        "operators": dict(sorted(operators.items())),
        "parameters": sum(value.numel() for value in inner.parameters()),
    }
    return Opened(ask, (), module, facts)


def _frozen(inner: nn.Module) -> nn.Module:
    for parameter in inner.parameters():
        parameter.requires_grad_(False)
    return inner


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch warns of while it loads: errors reach us as exceptions."""
    log = logging.getLogger("torch")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _check_predicts(graph: dict[str, Any], name: str) -> None:
    """Refuse a program whose dropout or batch norm still trains."""
    trains = [
        node["target"]
        for node in graph["graph_module"]["graph"]["nodes"]
        for item in node["inputs"]
        if item["name"] in ("training", "train") and item["arg"].get("as_bool") is True
    ]
    require(
        not trains,
        f"{name} was exported in training mode ({', '.join(trains[:3])}), so its answers depend on "
        "chance or on each other. Call model.eval() before torch.export.export.",
    )


def _input(
    graph: dict[str, Any], name: str
) -> tuple[tuple[int | None, ...], int | None, torch.dtype]:
    """Shape of a record, how many records it wants at a time, and their type."""
    module = graph["graph_module"]
    (user,) = (item for item in module["signature"]["input_specs"] if "user_input" in item)
    about = module["graph"]["tensor_values"][user["user_input"]["arg"]["as_tensor"]["name"]]
    if about["dtype"] not in _TYPES or not about["sizes"]:
        raise UserError(
            f"{name} does not read float numbers [n, ...]. Export a module that reads float32 "
            "records, the first dimension being their number."
        )
    count, *rest = about["sizes"]
    shape = tuple(size.get("as_int") for size in rest)
    return shape, _batch(count, graph.get("range_constraints", {})), _TYPES[about["dtype"]]


def _batch(count: dict[str, Any], ranges: dict[str, Any]) -> int | None:
    """How many records are asked at a time; None: any number will do."""
    if "as_int" in count:
        return int(count["as_int"])
    symbols = re.findall(r"[su]\d+", count["as_expr"]["expr_str"])
    allowed = ranges.get(symbols[0], {}) if symbols else {}
    least, most = allowed.get("min_val"), allowed.get("max_val")
    if most is not None and most <= _SEVERAL:
        return int(most)
    return max(int(least), _SEVERAL) if least is not None and least > 1 else None


def _ask(module: nn.Module, values: Inputs, shape: tuple[int | None, ...], name: str) -> Answered:
    if isinstance(values, pd.DataFrame):
        raise UserError(
            f"{name} reads encoded numbers of the shape {list(shape)} and not a table's raw "
            "columns. Give it the records encoded, or give a model that brings its preprocessing "
            "along (ONNX or skops)."
        )
    require(len(values) > 0, f"{name} was asked about no record at all.")
    got = values.shape[1:]
    require(
        len(got) == len(shape)
        and all(want is None or want == size for size, want in zip(got, shape, strict=True)),
        f"{name} reads records of the shape {list(shape)}, and a record has the shape {list(got)}. "
        "Give data of the shape that the model was trained on.",
    )
    x = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    try:
        with torch.no_grad():
            parts = [module(x[torch.from_numpy(b.rows)]) for b in in_batches(len(x), None)]
    except Exception as error:
        raise unanswered(
            name,
            error,
            "Export it with a first dimension of any size (dynamic_shapes), or with a fixed one.",
        ) from None
    scores = torch.cat(parts).numpy()
    require(
        scores.ndim == 2 and len(scores) == len(x),
        f"{name} answers {len(x)} records with the shape {list(scores.shape)}; one row of scores "
        "for each record is needed. Export a module that returns [n, classes].",
    )
    return Answered(scores=scores)
