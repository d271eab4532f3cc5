"""A scikit-learn model that was given as a skops file.

skops writes down which types an object is made of. It builds those that it knows, and any other
only where the user has named its type: building an object runs the code of its installed class.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.contract import UserError, nearest, require
from bench.contract.secrets import in_one_line
from bench.models.external.files.packages import package
from bench.models.external.opened import Answered, Inputs, Opened, unanswered


def open_skops(content: bytes, name: str, trusted: Sequence[str], labels: bool) -> Opened:
    """Open what ``skops.io.dump`` wrote.

    Args:
        content: of the file.
        name: of the file, for messages.
        trusted: types besides those that skops knows which the user allows to be built.
        labels: whether labels are meant, besides the scores.

    Raises:
        UserError: the file cannot be read, holds a type that nobody allowed, or is no model.
    """
    skops = package("skops.io")
    try:
        types = sorted(map(str, skops.get_untrusted_types(data=content)))
    except Exception as error:
        raise UserError(
            f"{name} cannot be read as a skops file; it may be cut off: {in_one_line(error)}. "
            "Write it again: skops.io.dump(model, path)."
        ) from None
    refused = [item for item in types if item not in set(trusted)]
    options = " ".join(f"--trust {item}" for item in refused)
    require(
        not refused,
        f"{name} holds types that skops does not know to be harmless: {', '.join(refused)}. "
        "Opening the file runs the code of these types. Read the list; if you trust every one of "
        f"them, confirm it with {options} (option model.external.trust=[{','.join(refused)}]).",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other versions of scikit-learn
            model = skops.loads(content, trusted=types)
    except Exception as error:
        raise UserError(
            f"{name} cannot be opened: {in_one_line(error)}. Install the versions that it was "
            "written with, or export it as ONNX (skl2onnx)."
        ) from None
    return _opened(model, name, types, labels)


def _opened(model: Any, name: str, types: list[str], labelled: bool) -> Opened:
    require(
        callable(getattr(model, "predict", None)),
        f"{name} holds a {type(model).__name__}, which predicts nothing. Write a fitted classifier "
        "or regressor, or a pipeline that ends in one.",
    )
    labels = _attribute(model, "classes_")
    if labels is not None and not (isinstance(labels, np.ndarray) and labels.ndim == 1):
        raise UserError(
            f"{name} predicts several outcomes at once. Write a model that predicts one."
        )
    method = next((item for item in _METHODS if _attribute(model, item) is not None), "predict")
    method = "predict" if labels is None else method

    def ask(values: Inputs) -> Answered:
        require(len(values) > 0, f"{name} was asked about no record at all.")
        given = _given(values, model, name)
        answers = _call(model, method, given, name)
        if labels is None:
            scores = np.asarray(answers, dtype=np.float64)
            return Answered(scores=_rows(scores, len(values), name))
        if method == "predict":
            return Answered(labels=np.asarray(answers))
        said = np.asarray(_call(model, "predict", given, name)) if labelled else None
        return Answered(_rows(np.asarray(answers), len(values), name), said)

    facts = {
        "format": "skops",
        "type": f"{type(model).__module__}.{type(model).__name__}",
        "steps": [type(step).__name__ for _, step in getattr(model, "steps", [])],
        "method": method,
        "columns": _columns(model),
        "trusted": types,
    }
    return Opened(ask, () if labels is None else tuple(map(str, labels)), None, facts)


_METHODS = ("predict_proba", "decision_function")


def _attribute(model: Any, name: str) -> Any:
    """What the model offers under a name; None: it does not, or not in this state."""
    try:
        return getattr(model, name, None)
    except Exception:  # properties of scikit-learn raise what they like
        return None


def _columns(model: Any) -> list[str]:
    """Names of the columns that it was fitted on; empty: it was fitted on a matrix."""
    names = _attribute(model, "feature_names_in_")
    return [] if names is None else [str(item) for item in names]


def _given(values: Inputs, model: Any, name: str) -> Any:
    """What the model reads: a table with its columns in order, or a matrix."""
    columns = _columns(model)
    if isinstance(values, pd.DataFrame):
        if not columns:
            matrix = values.to_numpy()
            return _checked(matrix, model, name)
        missing = [column for column in columns if column not in values.columns]
        if missing:
            raise UserError(
                f"{name} was fitted on a column {missing[0]!r}, and no column of the table is "
                f"called so.{nearest(missing[0], map(str, values.columns))} Rename the column."
            )
        return values[columns]
    return _checked(values.reshape(len(values), -1), model, name)


def _checked(matrix: npt.NDArray[Any], model: Any, name: str) -> npt.NDArray[Any]:
    wanted = _attribute(model, "n_features_in_")
    require(
        wanted is None or wanted == matrix.shape[1],
        f"{name} was fitted on {wanted} numbers a record, and a record has {matrix.shape[1]}. Give "
        "the data that it was trained on, encoded in the same way.",
    )
    return matrix


def _call(model: Any, method: str, given: Any, name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of columns without names
            return getattr(model, method)(given)
    except Exception as error:
        raise unanswered(name, error) from None


def _rows(scores: npt.NDArray[Any], count: int, name: str) -> npt.NDArray[Any]:
    scores = scores[:, None] if scores.ndim == 1 else scores
    require(
        scores.ndim == 2 and len(scores) == count,
        f"{name} answers {count} records with the shape {list(scores.shape)}; one row of numbers "
        "for each record is needed. Write a model that predicts one outcome.",
    )
    return scores
