"""What answers in JSON say: scores, labels, or scores by the names of classes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.contract import UserError, nearest
from bench.contract.secrets import in_one_line

SCORES = frozenset(
    {
        "predict_proba",
        "predict_probability",
        "probability",
        "probabilities",
        "probas",
        "proba",
        "scores",
        "logits",
        "softmax",
        "output_probability",
    }
)
"""Names under which servers answer scores."""

_LABEL_KEYS = ("label", "class", "name", "category")
_SCORE_KEYS = ("score", "probability", "confidence", "prob")
_NUMBER = re.compile(r"\s*[+-]?(\d{1,400}(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")
_LARGEST = 2**63
"""Whole numbers from here on are no labels that anybody gives, and may be no floats either."""
_NOT_FINITE = re.compile(r"(?i)\s*[+-]?(nan|inf(inity)?|null|none)\s*")


@dataclass(frozen=True)
class Reading:
    """What one response says.

    Attributes:
        scores: float64 ``[n, k]``, NaN for a class that a record leaves out; None: none.
        labels: texts or whole numbers, one a record; None: none.
        classes: the names of the scores' columns, where the response tells them.
    """

    scores: npt.NDArray[Any] | None = None
    labels: tuple[str | int, ...] | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many records are answered."""
        if self.scores is not None:
            return len(self.scores)
        return len(self.labels or ())


def is_scores(name: str) -> bool:
    """Whether an output of this name holds scores."""
    return name.lower().replace("-", "_") in SCORES


def reading(answers: Sequence[Any], output: str = "") -> Reading:
    """Read one answer a record, each as JSON holds it.

    Args:
        answers: numbers, texts, lists of scores, or objects with a score for each class.
        output: the key that holds the answer, where each is an object with several.

    Raises:
        UserError: an answer is missing, not finite, or not of the form of the others.
    """
    if not answers:
        raise UserError("The answer holds no records. Ask at least one record.")
    plain = [_opened(answer, output) for answer in answers]
    if all(isinstance(answer, dict) for answer in plain):
        keys = {tuple(answer) for answer in plain}
        if len(keys) > 1 or len(plain[0]) > 1:
            return _by_class(plain)
        plain = [_opened(next(iter(answer.values())), "") for answer in plain]
    if all(isinstance(answer, list) and len(answer) == 1 for answer in plain):
        plain = [answer[0] for answer in plain]
    if all(isinstance(answer, list) for answer in plain):
        return Reading(scores=_matrix(plain))
    if any(isinstance(answer, dict | list) for answer in plain):
        raise UserError(
            "Some records are answered with lists or objects and others with single values. "
            "Name the part of the answer that holds the scores (`output` or `response`)."
        )
    return _single(plain)


def chosen(named: Mapping[str, Any], output: str) -> str:
    """Which of several named outputs holds the scores, or else the labels.

    Raises:
        UserError: there is no such output, or several could be it.
    """
    if output:
        if output not in named:
            raise UserError(f"The answer has no output '{output}'.{nearest(output, named)}")
        return output
    telling = [name for name in named if is_scores(name)]
    if len(telling) == 1:
        return telling[0]
    if len(named) == 1:
        return next(iter(named))
    names = ", ".join(map(str, named)) or "none"
    raise UserError(
        f"The answer has several outputs and it is not clear which holds the scores: {names}. "
        "Name one of them with `output`."
    )


def number(value: Any) -> float | int:
    """A finite number, also where JSON holds it as a text.

    Raises:
        UserError: it is none.
    """
    found = _number(value)
    if found is None:
        raise UserError(
            f"The answer holds {in_one_line(repr(value), 60)} where a finite number was expected. "
            "A model that answers null or NaN cannot be judged: correct the model or its server, "
            "or leave out the records that it cannot answer."
        )
    return found


def label(value: Any) -> str | int:
    """A label: a text or a whole number.

    Raises:
        UserError: it is null, not finite, or neither a text nor a number.
    """
    if isinstance(value, str):
        found = _number(value)
        # A label such as 007 is a name, not the number seven.
        return found if str(found) == value.strip() and isinstance(found, int) else value
    found = number(value)
    return int(found) if found == int(found) else str(found)


def _number(value: Any) -> float | int | None:
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            return None
        value = float(value) if re.search(r"[.eE]", value) else int(value)
    if isinstance(value, bool | int):
        return int(value) if abs(value) < _LARGEST else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def _opened(answer: Any, output: str) -> Any:
    """One answer without what is wrapped around it."""
    if answer is None:
        raise UserError(
            "A record was answered with null. Correct the model or its server, or leave out the "
            "records that it cannot answer."
        )
    if isinstance(answer, dict):
        return _of_object(answer, output)
    if isinstance(answer, list):
        if not answer:
            raise UserError("A record was answered with an empty list. Correct the server.")
        if all(isinstance(item, dict) for item in answer):
            return _of_pairs(answer, output)
        wrapped = len(answer) == 1 and isinstance(answer[0], list)
        return _opened(answer[0], output) if wrapped else answer
    return answer


def _of_object(answer: dict[str, Any], output: str) -> Any:
    if output and output in answer:
        return _opened(answer[output], "")
    if error := complaint(answer):
        raise UserError(f"The model answered a record with an error: {in_one_line(error)}.")
    if not answer:
        raise UserError("A record was answered with an empty object. Correct the server.")
    if (pair := _pair(answer)) is not None:
        return pair[0]
    nested = {key: value for key, value in answer.items() if isinstance(value, list | dict)}
    if nested:
        return _opened(answer[chosen(nested, output)], "")
    if len(answer) > 1 and any(_number(value) is None for value in answer.values()):
        keys = in_one_line(", ".join(map(str, answer)))
        raise UserError(
            f"A record was answered with an object that is no score for each class: {keys}. Name "
            "the key that holds the scores or the label with `output`."
        )
    return answer


def _of_pairs(answer: list[dict[str, Any]], output: str) -> Any:
    """A list of labels with scores, in any order, as scores by class."""
    pairs = [_pair(item) for item in answer]
    if len(answer) > 1 and all(pair is not None for pair in pairs):
        return {str(pair[0]): pair[1] for pair in pairs if pair is not None}
    if len(answer) == 1:
        return _opened(answer[0], output)
    raise UserError(
        "A record was answered with a list of objects that are not pairs of a label and a score. "
        "Name the part that holds the scores with `response`, such as $.predictions[*].scores."
    )


def _pair(item: dict[str, Any]) -> tuple[Any, Any] | None:
    small = {str(key).lower(): value for key, value in item.items()}
    names = [key for key in _LABEL_KEYS if key in small]
    scores = [key for key in _SCORE_KEYS if key in small]
    if len(small) != 2 or len(names) != 1 or len(scores) != 1:
        return None
    return (small[names[0]], small[scores[0]])


def complaint(body: Any) -> str:
    """What an answer says of an error, though it was sent as a good one; empty: it says none."""
    if not isinstance(body, dict):
        return ""
    for key in ("error", "errors", "error_message", "error_code", "exception", "detail"):
        said = body.get(key)
        if said and not isinstance(said, int | float):
            return str(said)
    return ""


def _by_class(answers: Sequence[dict[str, Any]]) -> Reading:
    classes = tuple(dict.fromkeys(str(name) for answer in answers for name in answer))
    rows = [
        {str(name): float(number(value)) for name, value in answer.items()} for answer in answers
    ]
    return Reading(
        scores=np.array([[row.get(name, math.nan) for name in classes] for row in rows]),
        classes=classes,
    )


def _matrix(rows: Sequence[list[Any]]) -> npt.NDArray[np.float64]:
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise UserError(
            f"Records were answered with different numbers of scores: {lengths}. Every record "
            "needs one score for each class. Let the server answer all classes."
        )
    return np.array([[float(number(value)) for value in row] for row in rows])


def _single(values: Sequence[Any]) -> Reading:
    """One value a record: whole numbers and texts are labels, other numbers are scores."""
    numbers = [_number(value) for value in values]
    if any(isinstance(found, float) for found in numbers):
        return Reading(scores=np.array([[float(number(value))] for value in values]))
    if any(isinstance(value, str) and _NOT_FINITE.fullmatch(value) for value in values) and any(
        found is not None for found in numbers
    ):
        raise UserError("A record was answered with a text for a missing number. Correct it.")
    return Reading(labels=tuple(label(value) for value in values))
