"""The Open Inference Protocol V2, which KServe, MLServer, Triton and Seldon speak."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pandas as pd

from bench.contract import UserError, nearest
from bench.models.external.http.protocols import column, refuse_errors, rows
from bench.models.external.http.readings import Reading, chosen, is_scores, label, number
from bench.models.external.opened import Inputs

WHOLE = frozenset(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
"""Types of tensors that hold whole numbers."""
REAL = frozenset({"FP16", "BF16", "FP32", "FP64"})
"""Types of tensors that hold numbers with a fraction."""


@dataclass(frozen=True)
class Tensor:
    """An input or output as the model's metadata names it.

    Attributes:
        name: its name.
        datatype: such as FP32, INT64 or BYTES.
        shape: its lengths, -1 where any length is right; the first counts records.
        content_type: how MLServer reads it; empty: as it likes.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] = ()
    content_type: str = ""


@dataclass(frozen=True)
class Metadata:
    """What a model says of itself.

    Attributes:
        inputs: in its order; empty: it does not say.
        outputs: in its order; empty: it does not say.
        content_type: how MLServer reads a whole request; ``pd``: as a table; empty: as it likes.
    """

    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    content_type: str = ""

    def plain(self) -> dict[str, Any]:
        """The same as plain JSON values, as :func:`metadata` reads them."""
        return {
            "inputs": [_plain(tensor) for tensor in self.inputs],
            "outputs": [_plain(tensor) for tensor in self.outputs],
            "parameters": {"content_type": self.content_type},
        }


def infer_url(url: str, model: str = "") -> str:
    """The URL that answers, from it, from the model's URL, or from the server's root.

    Raises:
        UserError: the server's root is given without the name of a model.
    """
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    if not re.search(r"/v2/models/[^/]+", path):
        if not model:
            raise UserError(
                "The URL is the root of a server that may hold several models. Set `model` to the "
                "name of the one to ask, or give the URL .../v2/models/NAME/infer."
            )
        root = path.removesuffix("/models").removesuffix("/v2")
        path = f"{root}/v2/models/{quote(model, safe='')}"
    if not path.endswith("/infer"):
        path += "/infer"
    return parts._replace(path=path).geturl()


def metadata_url(url: str) -> str:
    """Where the model that answers at ``url`` says what its inputs and outputs are."""
    parts = urlsplit(url)
    return parts._replace(path=parts.path.removesuffix("/infer")).geturl()


def metadata(body: Any) -> Metadata:
    """Read the model's metadata; what is not understood is left out."""
    if not isinstance(body, dict):
        return Metadata()
    return Metadata(
        inputs=_tensors(body.get("inputs")),
        outputs=_tensors(body.get("outputs")),
        content_type=_content_type(body),
    )


def kserve_request(inputs: Inputs, about: Metadata, output: str = "") -> dict[str, Any]:
    """The body of a request.

    Args:
        inputs: records.
        about: what the model says of itself.
        output: the output that holds the scores; empty: what the model says, or what it likes.

    Raises:
        UserError: the records do not fit the model's inputs.
    """
    if isinstance(inputs, pd.DataFrame):
        tensors = _of_table(inputs, about)
    else:
        tensors = _of_array(inputs, about.inputs)
    body: dict[str, Any] = {"inputs": tensors}
    if about.content_type:
        body["parameters"] = {"content_type": about.content_type}
    wanted = [output] if output else [out.name for out in about.outputs if is_scores(out.name)][:1]
    if wanted:
        body["outputs"] = [{"name": name} for name in wanted]
    return body


def kserve_answers(body: Any, output: str = "") -> Reading:
    """Read the tensors that the model answered.

    Raises:
        UserError: they are no such answer, or it is not clear which holds the scores.
    """
    refuse_errors(body)
    found = body.get("outputs") if isinstance(body, dict) else None
    if not isinstance(found, list) or not found or not all(map(_is_tensor, found)):
        raise UserError(
            "The answer has no tensors under 'outputs', as the Open Inference Protocol V2 gives "
            "them. Check that the URL is that of a model under /v2/models/, or use the protocol "
            "template with your own `response`."
        )
    named = {str(tensor["name"]): tensor for tensor in found}
    if not output and _is_table(body, named):
        return _columns(named)
    scores = {name: tensor for name, tensor in named.items() if not _is_labels(name, tensor)}
    labels = {name: tensor for name, tensor in named.items() if name not in scores}
    if output in labels or not scores:
        return Reading(labels=_labels(labels[chosen(labels, output)]))
    matrix = _matrix(scores[chosen(scores, output)])
    if len(labels) != 1:
        return Reading(scores=matrix)
    said = _labels(next(iter(labels.values())))
    return Reading(scores=matrix, labels=said if len(said) == len(matrix) else None)


def _plain(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
        "parameters": {"content_type": tensor.content_type},
    }


def _content_type(body: Mapping[str, Any]) -> str:
    parameters = body.get("parameters")
    return str(parameters.get("content_type") or "") if isinstance(parameters, dict) else ""


def _tensors(found: Any) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(
            name=str(tensor["name"]),
            datatype=str(tensor.get("datatype", "FP32")).upper().removeprefix("TYPE_"),
            shape=_lengths(tensor.get("shape")),
            content_type=_content_type(tensor),
        )
        for tensor in (found if isinstance(found, list) else [])
        if isinstance(tensor, dict) and "name" in tensor
    )


def _lengths(shape: Any) -> tuple[int, ...]:
    """A shape, in which some servers name a length that is free, or leave it out."""
    lengths = shape if isinstance(shape, list) else []
    return tuple(int(n) if re.fullmatch(r"-?\d{1,9}", str(n)) else -1 for n in lengths)


def _of_array(inputs: Any, known: Sequence[Tensor]) -> list[dict[str, Any]]:
    if not known:
        return [_tensor(Tensor("input-0", "FP32"), list(inputs.shape), rows(inputs))]
    width = math.prod(inputs.shape[1:])
    if len(known) == 1:
        shape = _shape(known[0], inputs.shape)
        return [_tensor(known[0], list(shape), rows(inputs.reshape(shape)))]
    if len(known) != width:
        names = ", ".join(tensor.name for tensor in known)
        raise UserError(
            f"The model takes {len(known)} inputs ({names}), but a record has {width} numbers. "
            "Give records as a table with the model's own columns."
        )
    flat = inputs.reshape(len(inputs), width)
    return [
        _tensor(tensor, [len(flat), 1], rows(flat[:, place])) for place, tensor in enumerate(known)
    ]


def _shape(tensor: Tensor, given: tuple[int, ...]) -> tuple[int, ...]:
    """The given shape as the model wants it: ``[-1, 784]`` for pictures of 28 by 28."""
    wanted = tensor.shape[1:]
    if not wanted or (
        len(wanted) == len(given) - 1
        and all(want in (-1, have) for want, have in zip(wanted, given[1:], strict=True))
    ):
        return given
    width = math.prod(given[1:])
    if -1 not in wanted and math.prod(wanted) == width:
        return (given[0], *wanted)
    if wanted == (-1,):
        return (given[0], width)
    raise UserError(
        f"The model's input '{tensor.name}' has the shape {list(tensor.shape)} (-1: any length), "
        f"but the records have the shape {[-1, *given[1:]]}. Prepare the records as the model "
        "takes them."
    )


def _of_table(table: pd.DataFrame, about: Metadata) -> list[dict[str, Any]]:
    columns = {str(name): table.iloc[:, place] for place, name in enumerate(table.columns)}
    numeric = all(pd.api.types.is_numeric_dtype(values) for values in columns.values())
    matrix = len(about.inputs) == 1 and about.inputs[0].name not in columns
    if numeric and (matrix or not about.inputs) and about.content_type != "pd":
        return _of_array(table.to_numpy(dtype=np.float64), about.inputs)
    known = about.inputs or tuple(
        Tensor(name, "FP64" if pd.api.types.is_numeric_dtype(values) else "BYTES")
        for name, values in columns.items()
    )
    for tensor in known:
        if tensor.name not in columns:
            raise UserError(
                f"The model takes an input '{tensor.name}', which is no column of the records."
                f"{nearest(tensor.name, columns)} Name the columns as the model does."
            )
    return [_tensor(tensor, [len(table), 1], column(columns[tensor.name])) for tensor in known]


def _tensor(tensor: Tensor, shape: list[int], data: list[Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": shape,
        "data": _typed(data, tensor),
    }
    if tensor.content_type:
        made["parameters"] = {"content_type": tensor.content_type}
    return made


def _typed(value: Any, tensor: Tensor) -> Any:
    """Values as the type of a tensor asks for; a gap stays null."""
    if isinstance(value, list):
        return [_typed(item, tensor) for item in value]
    if value is None or tensor.datatype not in WHOLE | REAL | {"BYTES", "BOOL"}:
        return value
    if tensor.datatype == "BYTES":
        return str(value)
    if isinstance(value, str) or (tensor.datatype in WHOLE and value != int(value)):
        kind = "numbers" if isinstance(value, str) else "whole numbers"
        raise UserError(
            f"The model's input '{tensor.name}' takes {kind} ({tensor.datatype}), but a record "
            "holds another value. Prepare the records as the model takes them."
        )
    if tensor.datatype == "BOOL":
        return bool(value)
    return int(value) if tensor.datatype in WHOLE else float(value)


def _is_tensor(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and "name" in found
        and isinstance(found.get("data"), list)
        and isinstance(found.get("shape"), list)
        and all(isinstance(length, int) for length in found["shape"])
    )


def _is_labels(name: str, tensor: Mapping[str, Any]) -> bool:
    """One text or whole number a record."""
    flat = math.prod(tensor["shape"][1:]) == 1
    return flat and not is_scores(name) and str(tensor.get("datatype")).upper() not in REAL


def _is_table(body: Mapping[str, Any], named: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether each tensor is a column of scores that is named by its class."""
    return (
        len(named) > 1
        and _content_type(body) == "pd"
        and not any(is_scores(name) for name in named)
        and all(
            str(tensor.get("datatype")).upper() in REAL and math.prod(tensor["shape"][1:]) == 1
            for tensor in named.values()
        )
    )


def _columns(named: Mapping[str, Mapping[str, Any]]) -> Reading:
    columns = [_matrix(tensor)[:, 0] for tensor in named.values()]
    if len({len(values) for values in columns}) > 1:
        raise UserError("The answer's columns have different lengths. Correct the server.")
    return Reading(scores=np.stack(columns, axis=1), classes=tuple(named))


def _flat(value: Any) -> list[Any]:
    """The values of a tensor, which servers send nested or flat."""
    if not isinstance(value, list):
        return [value]
    if not any(isinstance(item, list) for item in value):
        return value
    return [found for item in value for found in _flat(item)]


def _matrix(tensor: Mapping[str, Any]) -> Any:
    values = np.array([float(number(value)) for value in _flat(tensor["data"])])
    shape = tensor["shape"]
    if not shape or math.prod(shape) != len(values) or not len(values):
        raise UserError(
            f"The output '{tensor['name']}' says that its shape is {shape}, but it holds "
            f"{len(values)} values. Correct the model's server."
        )
    return values.reshape(shape[0], -1)


def _labels(tensor: Mapping[str, Any]) -> tuple[str | int, ...]:
    return tuple(label(value) for value in _flat(tensor["data"]))
