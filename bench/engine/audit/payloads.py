"""Records and answers in the bodies of requests to model servers.

The bodies are those of KServe's V1 protocol (``instances``, ``predictions``), of the Open Inference
Protocol, called V2 (``inputs`` and ``outputs`` of tensors with name, shape, datatype and data), of
MLflow's scoring server (``dataframe_split``, ``dataframe_records``, ``inputs``, ``instances``;
``predictions``), and of Seldon (``data`` with ``names`` and an ``ndarray`` or a ``tensor``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

RECORD = "record:"
"""How the name of a field of a record begins, so that a field called ``time`` is no time."""

Row = dict[str, Any]


def records(body: Any) -> list[Row]:
    """The fields of every record that a request asks about; none where it has another form."""
    if not isinstance(body, Mapping):
        return []
    listed = next((body[key] for key in ("instances", "dataframe_records") if key in body), None)
    split = body.get("dataframe_split")
    if isinstance(listed, list):
        rows = [_row(item) for item in listed]
    elif isinstance(split, Mapping) and isinstance(split.get("data"), list):
        names = [str(name) for name in _list(split.get("columns"))]
        rows = [_named(names, row) for row in split["data"]]
    elif "inputs" in body:
        rows = _inputs(body["inputs"])
    elif isinstance(body.get("instance"), (list, Mapping)):
        rows = [_row(body["instance"])]  # as Seldon's request logger splits batches
    else:
        data = body.get("payload", body)
        names, listed = _seldon(data.get("data") if isinstance(data, Mapping) else None)
        rows = [_named(names, row) for row in listed]
    return rows


def _inputs(inputs: Any) -> list[Row]:
    """Tensors of V2, or MLflow's list of records or lists by column."""
    if isinstance(inputs, list) and _are_tensors(inputs):
        return _beside([_tensor(tensor, f"{RECORD}{tensor.get('name')}") for tensor in inputs])
    if isinstance(inputs, Mapping):
        lists = {name: v if isinstance(v, list) else [v] for name, v in inputs.items()}
        length = min(map(len, lists.values()), default=0)
        return [_row({name: values[i] for name, values in lists.items()}) for i in range(length)]
    return [_row(item) for item in inputs] if isinstance(inputs, list) else []


def answers(body: Any) -> list[Row]:
    """For every record its ``label``, its ``score`` or ``score0, score1, ...``."""
    if not isinstance(body, Mapping):
        return []
    for key in ("predictions", "outputs"):
        value = body.get(key)
        if isinstance(value, list) and _are_tensors(value):
            tensors = [_tensor(tensor, "") for tensor in value]
            wide = [rows for rows in tensors if rows and len(rows[0]) > 1]
            rows = next(iter([*wide, *tensors]), [])
            return [_answer(list(row.values())) for row in rows]
        if isinstance(value, list):
            return [_answer(item) for item in value]
    if isinstance(body.get("instance"), list):
        return [_answer(body["instance"])]
    data = body.get("payload", body)
    _, rows = _seldon(data.get("data") if isinstance(data, Mapping) else None)
    return [_answer(row) for row in rows]


def _answer(value: Any) -> Row:
    if isinstance(value, Mapping):
        value = next((value[k] for k in ("scores", "probabilities", "label") if k in value), None)
    values = list(_leaves(value))
    if len(values) > 1:
        if all(isinstance(v, (int, float)) for v in values):
            return {f"score{i}": float(v) for i, v in enumerate(values)}
        return {}
    single = values[0] if values else None
    if isinstance(single, float) and 0 <= single <= 1:
        return {"score": single}
    # A number with a fraction above 1 is no class: the model estimates an amount.
    fraction = isinstance(single, float) and single % 1 != 0
    return {} if single is None or fraction else {"label": _label(single)}


def _label(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) else str(value)


def _row(item: Any) -> Row:
    if isinstance(item, Mapping):
        return {f"{RECORD}{name}": value for name, value in _fields(item)}
    return {f"{RECORD}x{i}": value for i, value in enumerate(_leaves(item))}


def _fields(item: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in item.items():
        leaves = list(_leaves(value))
        single = not isinstance(value, (list, Mapping))
        yield from ((name if single else f"{name}{i}", leaf) for i, leaf in enumerate(leaves))


def _named(names: Sequence[str], row: Any) -> Row:
    values = list(_leaves(row))
    if len(names) != len(values):
        names = [f"x{i}" for i in range(len(values))]
    return {f"{RECORD}{name}": value for name, value in zip(names, values, strict=True)}


def _leaves(value: Any) -> Iterator[Any]:
    """Plain values in order, without recursion."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            item = list(item.values())
        if isinstance(item, list):
            stack += reversed(item)
        else:
            yield item


def _are_tensors(items: list[Any]) -> bool:
    return bool(items) and all(
        isinstance(item, Mapping) and {"shape", "data"} <= item.keys() for item in items
    )


def _tensor(tensor: Mapping[str, Any], name: str) -> list[Row]:
    """A row for each place along the first axis; data may be nested or flat."""
    values = list(_leaves(tensor["data"]))
    return _cut(values, tensor["shape"], name)


def _cut(values: list[Any], shape: Any, name: str) -> list[Row]:
    sizes = [n for n in shape if isinstance(n, int)] if isinstance(shape, list) else []
    whole = math.prod(sizes[:8]) if sizes and len(sizes) < 9 and min(sizes) > 0 else 0
    if whole != len(values) or not whole:
        return []
    width = whole // sizes[0]
    return [
        {f"{name}{i}" if width > 1 else name: values[row * width + i] for i in range(width)}
        for row in range(sizes[0])
    ]


def _beside(parts: list[list[Row]]) -> list[Row]:
    """Rows of several tensors of one batch, side by side."""
    parts = [part for part in parts if part]
    length = max(map(len, parts), default=0)
    parts = [part for part in parts if len(part) == length]
    return [{k: v for part in parts for k, v in part[i].items()} for i in range(length)]


def _seldon(data: Any) -> tuple[list[str], list[Any]]:
    """Names and rows of Seldon's ``data``."""
    if not isinstance(data, Mapping):
        return [], []
    names = [str(name) for name in _list(data.get("names"))]
    if isinstance(data.get("ndarray"), list):
        return names, data["ndarray"]
    tensor = data.get("tensor")
    if isinstance(tensor, Mapping):
        values = list(_leaves(tensor.get("values")))
        return names, [list(row.values()) for row in _cut(values, tensor.get("shape"), "v")]
    return names, []


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
