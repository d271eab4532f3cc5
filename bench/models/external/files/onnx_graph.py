"""What an ONNX graph says of itself, and the same graph as a differentiable module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bench.contract import UserError, require
from bench.contract.secrets import in_one_line
from bench.models.external.files.batches import Batched
from bench.models.external.files.packages import package

_LABELS = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")
_PASS_SCORES_ON = frozenset({"Cast", "Flatten", "Identity", "Mul", "Normalizer", "Reshape"})
"""Behind any other operator there may be an inner model, whose classes are not the scores'."""
_AGREEMENT = 1e-3
_TRIES = 8


def read_graph(content: bytes, name: str) -> Any:
    """The model of an ONNX file, with all its weights inside.

    Raises:
        UserError: it is no ONNX model, or it keeps weights in other files.
    """
    onnx = package("onnx")
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:
        raise UserError(
            f"{name} cannot be read as an ONNX model; it may be cut off or be something else: "
            f"{in_one_line(error)}. Export or copy it again."
        ) from None
    require(
        len(model.graph.node) > 0 and len(model.graph.output) > 0,
        f"{name} cannot be read as an ONNX model: it has no operator or no output. Export or copy "
        "it again.",
    )
    # Such a path may point anywhere on this machine.
    outside = [tensor for tensor in _tensors(model.graph) if tensor.data_location == 1]
    require(
        not outside,
        f"{name} keeps {len(outside)} tensors in other files. Save it with all its weights inside: "
        "onnx.save_model(onnx.load(path), path, save_as_external_data=False).",
    )
    return model


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and the graphs within its operators."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                if inner.node:
                    yield from _graphs(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    for part in _graphs(graph):
        yield from part.initializer
        for node in part.node:
            for attribute in node.attribute:
                yield from [attribute.t, *attribute.tensors]


def graph_facts(model: Any) -> dict[str, Any]:
    """Producer, opset versions by domain, and how often each operator occurs."""
    graphs = [*_graphs(model.graph), *model.functions]
    operators = Counter(str(node.op_type) for graph in graphs for node in graph.node)
    return {
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "opset": {item.domain or "ai.onnx": int(item.version) for item in model.opset_import},
        "operators": dict(sorted(operators.items())),
    }


def graph_classes(model: Any, scores: str | None, labels: str | None) -> tuple[str, ...]:
    """Names of the classes in the order of the scores; empty: the graph does not say.

    Args:
        model: from :func:`read_graph`.
        scores: name of the output with scores.
        labels: name of the output with labels, which is the more telling one.
    """
    found = None if labels is None else _classes_behind(model, labels, None)
    if found is None and scores is not None:
        found = _classes_behind(model, scores, _PASS_SCORES_ON)
    return found or ()


def _classes_behind(model: Any, output: str, through: frozenset[str] | None) -> Any:
    """What the operator that is nearest to an output says of the classes; None: none says.

    Inner models of an ensemble may count their classes while only the outermost operator knows how
    they are called.

    Args:
        model: from :func:`read_graph`.
        output: name of the output to start from.
        through: operators to look behind; None: all.
    """
    producers = {value: node for node in model.graph.node for value in node.output}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    waiting, seen = [output], set()
    while waiting:
        value = waiting.pop(0)
        node = producers.get(value)
        if node is None or value in seen:
            continue
        seen.add(value)
        found = _named_by(node, constants)
        if found is not None:
            return found
        if through is None or node.op_type in through:
            waiting.extend(node.input)
    return None


def _named_by(node: Any, constants: dict[str, Any]) -> tuple[str, ...] | None:
    """The classes that an operator names; None: it names none, and its inputs may."""
    read = package("onnx").helper.get_attribute_value
    values = {item.name: read(item) for item in node.attribute}
    for key in _LABELS:
        if len(values.get(key, ())):
            return tuple(map(_text, values[key]))
    if node.op_type == "LabelEncoder":
        keys = list(values.get("keys_int64s", ()))
        names = values.get("values_strings") or values.get("values_int64s") or ()
        return tuple(map(_text, names)) if keys == list(range(len(names))) else ()
    if node.op_type == "ArrayFeatureExtractor" and node.input[0] in constants:
        names = package("onnx").numpy_helper.to_array(constants[node.input[0]]).ravel()
        return tuple(map(_text, names)) if len(names) > 1 else None
    return None


def _text(label: Any) -> str:
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)


def as_module(model: Any, output: str, session: Any, fixed: int | None, name: str) -> nn.Module:
    """The graph as a module of torch that answers like onnxruntime.

    Args:
        model: from :func:`read_graph`.
        output: name of the scores.
        session: onnxruntime's session of the same model.
        fixed: how many records it wants at a time; None: any number.
        name: of the file, for messages.

    Raises:
        UserError: it has operators that cannot be converted, or the module answers otherwise.
    """
    inputs = session.get_inputs()
    kinds = {"tensor(float)": torch.float32, "tensor(double)": torch.float64}
    require(
        len(inputs) == 1 and inputs[0].type in kinds,
        f"{name} reads {', '.join(f'{item.name} {item.type}' for item in inputs)}: only a model "
        "with one input of float numbers has gradients. Attack it without gradients.",
    )
    part = _renamed(_only(model, output))
    unknown = _unknown(part)
    require(
        not unknown,
        f"{name} has operators that cannot be converted to torch: {', '.join(unknown)}. Attack it "
        "without gradients, or give the model as a torch.export program.",
    )
    try:
        inner = package("onnx2torch").convert(part)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{name} cannot be converted to torch: {in_one_line(error)}. Attack it without "
            "gradients, or give the model as a torch.export program."
        ) from None
    module = Batched(inner.eval().requires_grad_(False), fixed, kinds[inputs[0].type])
    _check_agreement(module, session, output, fixed, name)
    return module


def _only(model: Any, output: str) -> Any:
    """A copy with only what ``output`` needs, as its one output."""
    copy = type(model)()
    copy.CopyFrom(model)
    producers = {value: node for node in copy.graph.node for value in node.output if value}
    needed, waiting = set(), [output]
    while waiting:
        value = waiting.pop()
        if value in producers and value not in needed:
            needed.add(value)
            waiting.extend(producers[value].input)
    kept = [node for node in copy.graph.node if needed & set(node.output)]
    outputs = [item for item in copy.graph.output if item.name == output]
    for field, items in ((copy.graph.node, kept), (copy.graph.output, outputs)):
        # What is deleted from a field is emptied, so its bytes are kept instead.
        held = [(type(item), item.SerializeToString()) for item in items]
        del field[:]
        field.extend(kind.FromString(data) for kind, data in held)
    return copy


def _renamed(model: Any) -> Any:
    """The same with names of ours, in place.

    onnx2torch writes names into Python code, so a name that somebody else chose could be code.
    """
    names: dict[str, str] = {"": ""}
    graph = model.graph
    for index, node in enumerate(graph.node):
        node.name = f"n{index}"
        for field in (node.input, node.output):
            field[:] = [names.setdefault(value, f"v{len(names)}") for value in field]
    for item in [*graph.input, *graph.output, *graph.initializer]:
        item.name = names.setdefault(item.name, f"v{len(names)}")
    del graph.value_info[:]
    return model


def _unknown(model: Any) -> list[str]:
    """Types of operators that onnx2torch has no converter for."""
    find = package("onnx2torch.node_converters").get_converter
    versions = {item.domain: item.version for item in model.opset_import}
    unknown = set()
    for node in model.graph.node:
        try:
            find(
                operation_type=node.op_type,
                version=versions.get(node.domain, 0),
                domain=node.domain,
            )
        except NotImplementedError:
            unknown.add(str(node.op_type))
    return sorted(unknown)


def _check_agreement(
    module: nn.Module, session: Any, output: str, fixed: int | None, name: str
) -> None:
    """Compare both on random records, the same ones each time."""
    given = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 8 for size in given.shape[1:]]
    size = fixed or _TRIES
    x = np.random.default_rng(0).random((size, *shape), dtype=np.float32)
    dtype = np.float64 if given.type == "tensor(double)" else np.float32
    try:
        right = session.run([output], {given.name: x.astype(dtype)})[0]
        with torch.no_grad():
            got = module(torch.from_numpy(x)).numpy()
    except Exception as error:
        raise UserError(
            f"{name} does not run after its conversion to torch: {in_one_line(error)}. Attack it "
            "without gradients, or give the model as a torch.export program."
        ) from None
    worst = _distance(np.asarray(right, dtype=np.float64).reshape(size, -1), got)
    require(
        worst <= _AGREEMENT,
        f"{name} answers otherwise after its conversion to torch (by up to {worst:.2g} where "
        f"{_AGREEMENT} is allowed), so its gradients would mislead. Attack it without gradients, "
        "or give the model as a torch.export program.",
    )


def _distance(right: npt.NDArray[np.float64], got: npt.NDArray[Any]) -> float:
    """Largest difference, relative where numbers are above 1; infinite where shapes differ."""
    if right.shape != got.shape or not np.isfinite(got).all():
        return float("inf")
    return float((np.abs(right - got) / np.maximum(np.abs(right), 1)).max(initial=0))
