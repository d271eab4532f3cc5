"""A model that was given as an ONNX file. onnxruntime runs operators, never code of the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.contract import UserError, nearest, require
from bench.contract.secrets import in_one_line
from bench.models.external.files.batches import batches, columns
from bench.models.external.files.onnx_graph import as_module, graph_classes, graph_facts, read_graph
from bench.models.external.files.onnx_inputs import Input, feeds, fixed_batch, inputs_of
from bench.models.external.files.packages import package
from bench.models.external.opened import Answered, Inputs, Opened, unanswered

_SCORES = ("tensor(float)", "tensor(double)", "tensor(float16)")
_LABELS = ("tensor(int64)", "tensor(int32)", "tensor(string)", "tensor(bool)")
_SILENT = 4
"""onnxruntime reports through exceptions all that stops it; it warns of shapes that converters
declare wrongly, such as a batch of 1 by that of LightGBM."""


@dataclass(frozen=True)
class _Model:
    """A session with what is read from it.

    Attributes:
        session: of onnxruntime.
        name: of the file, for messages.
        inputs: what it reads.
        fixed: how many records it wants at a time; None: any number.
        scores: name of the output with scores; None: there is none.
        labels: name of the output with labels; None: there is none.
        classes: in the order of the scores.
    """

    session: Any
    name: str
    inputs: Sequence[Input]
    fixed: int | None
    scores: str | None
    labels: str | None
    classes: tuple[str, ...]

    def ask(self, values: Inputs) -> Answered:
        """Answers to records in their order."""
        require(len(values) > 0, f"{self.name} was asked about no record at all.")
        given = feeds(values, self.inputs, self.name)
        wanted = [output for output in (self.scores, self.labels) if output is not None]
        parts: dict[str, list[npt.NDArray[Any]]] = {output: [] for output in wanted}
        for batch in batches(len(values), self.fixed):
            answers = self._run(wanted, {key: rows[batch.rows] for key, rows in given.items()})
            for output, answer in zip(wanted, answers, strict=True):
                read = self._scores(answer) if output == self.scores else np.asarray(answer)
                self._check_count(read, len(batch.rows), output)
                parts[output].append(read[: batch.real])
        return Answered(
            scores=None if self.scores is None else np.concatenate(parts[self.scores]),
            labels=None
            if self.labels is None
            else np.concatenate(parts[self.labels]).reshape(len(values)),
        )

    def _run(self, wanted: list[str], given: dict[str, npt.NDArray[Any]]) -> list[Any]:
        try:
            return list(self.session.run(wanted, given))
        except Exception as error:
            raise unanswered(self.name, error) from None

    def _scores(self, answer: Any) -> npt.NDArray[Any]:
        """Scores ``[n, k]`` of a tensor, or of one map from classes to scores for each record."""
        if isinstance(answer, list):
            keys = list(answer[0]) if answer else []
            named = {str(key): key for key in keys}
            order = [named[c] for c in self.classes] if set(named) == set(self.classes) else keys
            return np.array([[row[key] for key in order] for row in answer], dtype=np.float32)
        values: npt.NDArray[Any] = columns(torch.from_numpy(np.asarray(answer))).numpy()
        require(
            values.ndim == 2,
            f"{self.name}: the output {self.scores!r} has the shape {list(values.shape)}; one row "
            "of scores for each record is needed. Name another output (model.external.output).",
        )
        return values

    def _check_count(self, read: npt.NDArray[Any], rows: int, output: str) -> None:
        require(
            read.ndim > 0 and len(read) == rows and (output == self.scores or read.size == rows),
            f"{self.name}: the output {output!r} has the shape {list(read.shape)} for {rows} "
            "records; one answer for each record is needed. Name another output "
            "(model.external.output), or export the model with a batch of any size.",
        )


def open_onnx(content: bytes, name: str, output: str | None, differentiable: bool) -> Opened:
    """Open an ONNX model.

    Args:
        content: of the file.
        name: of the file, for messages.
        output: which output holds the scores; None: the only one with float numbers.
        differentiable: whether to convert it to a module of torch as well.

    Raises:
        UserError: the file cannot be read or run, its scores are not clear, or a conversion that
            was asked for is not possible.
    """
    graph = read_graph(content, name)
    session = _session(content, name)
    inputs = inputs_of(session.get_inputs(), name)
    outputs = session.get_outputs()
    scores = _scores_of(outputs, output, name)
    able = [item.name for item in outputs if _is_label(item)]
    labels = output if output in able else next(iter(able), None)
    require(
        scores is not None or (labels is not None and output in (None, labels)),
        f"{name}: {output or 'its outputs'} gives neither scores nor labels: {_listed(outputs)}. "
        "Name an output with float numbers, or export the model with one.",
    )
    classes = graph_classes(graph, scores, labels)
    width = next((_width(item) for item in outputs if item.name == scores), None)
    if width is not None and width != len(classes) and (width, len(classes)) != (1, 2):
        classes = ()
    fixed = fixed_batch(inputs)
    module = None
    if differentiable:
        require(
            scores is not None,
            f"{name} gives labels alone, which have no gradients. Export it with its scores.",
        )
        module = as_module(graph, str(scores), session, fixed, name)
    model = _Model(session, name, inputs, fixed, scores, labels, classes)
    facts = {
        "format": "onnx",
        "inputs": [_fact(item) for item in session.get_inputs()],
        "outputs": [_fact(item) for item in outputs],
        "scores": scores,
        "labels": labels,
        **graph_facts(graph),
    }
    return Opened(model.ask, classes, module, facts)


def _session(content: bytes, name: str) -> Any:
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(
            f"{name} cannot be run by onnxruntime: {in_one_line(error)}. Export it for an opset "
            "that the installed onnxruntime knows, without operators of your own."
        ) from None


def _scores_of(outputs: Sequence[Any], output: str | None, name: str) -> str | None:
    """Name of the output with scores; None: the model gives labels alone."""
    able = [item.name for item in outputs if _is_score(item)]
    if output is not None:
        names = [item.name for item in outputs]
        if output not in names:
            raise UserError(f"{name} has no output {output!r}.{nearest(output, names)}")
        return output if output in able else None
    require(
        len(able) <= 1,
        f"{name} has several outputs with float numbers: {_listed(outputs)}. Say which one holds "
        "the scores of the classes, or the predicted number: model.external.output=NAME.",
    )
    return able[0] if able else None


def _is_score(item: Any) -> bool:
    return item.type in _SCORES or (item.type.startswith("seq(map(") and "float" in item.type)


def _is_label(item: Any) -> bool:
    """Whether an output holds one label a record."""
    if item.type not in _LABELS:
        return False
    return len(item.shape) <= 1 or (len(item.shape) == 2 and item.shape[1] == 1)


def _width(item: Any) -> int | None:
    """Declared number of columns of scores; None: it is not declared."""
    known = item.type in _SCORES and len(item.shape) == 2 and isinstance(item.shape[1], int)
    return item.shape[1] if known else None


def _fact(item: Any) -> dict[str, Any]:
    return {"name": item.name, "shape": list(item.shape), "type": item.type}


def _listed(outputs: Sequence[Any]) -> str:
    return "; ".join(f"{item.name} {list(item.shape)} {item.type}" for item in outputs)
