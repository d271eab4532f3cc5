"""What a given model answers, as raw outputs of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.contract import Card, Task, UserError, require
from bench.models.external.opened import Answered
from bench.models.shares import NEVER, logits_of

Meaning = Literal["probabilities", "logits", "labels", "numbers"]
"""What answers are: of classes their probabilities, their logits or the label alone; elsewhere the
outcome or the scores of items."""
MEANINGS: tuple[Meaning, ...] = get_args(Meaning)

_BLUR = 1e-5
"""By how much sums in float32 may leave [0, 1]."""
_EVEN = 1e-3
"""Sums of scores that differ by less, as a share, are one sum that was rounded."""


@dataclass(frozen=True)
class Reading:
    """How the answers of a model are read.

    Attributes:
        card: of the data.
        task: what the model predicts.
        meaning: what its answers are.
        order: of each class of the card its column in the scores.
        names: what the model calls each class of the card; empty: as the card does.
    """

    card: Card
    task: Task
    meaning: Meaning
    order: tuple[int, ...]
    names: tuple[str, ...]

    def outputs(self, answered: Answered) -> Tensor:
        """Raw outputs float32 ``[n, width]``.

        Raises:
            UserError: the answers do not fit the data.
        """
        if self.meaning == "labels":
            return _certain(self._indices(answered), len(self.order))
        scores = _scores(answered, self.task)
        if answered.classes and self.meaning == "probabilities":
            scores = answered.shares
        require(
            not (answered.classes and np.isnan(scores).any()),
            "The model leaves classes out of its answers, and what it would say of them is not "
            "known; let it answer every class.",
        )
        require(
            bool(np.isfinite(scores).all()),
            "The model answered NaN or Inf, which no attack can work with; mend the model, or the "
            "records that it cannot answer.",
        )
        return self.differentiable(torch.from_numpy(scores.astype(np.float64))).float()

    def differentiable(self, scores: Tensor) -> Tensor:
        """The same of scores ``[n, k]`` that carry gradients."""
        width = self.card.width(self.task)
        if self.task == "classification":
            scores = _columns(scores, self.meaning, width)[:, list(self.order)]
            return logits_of(scores) if self.meaning == "probabilities" else scores
        require(
            scores.shape[1] == width,
            f"The model answers {scores.shape[1]} numbers for a record, and {self.task} on "
            f"'{self.card.name}' needs {width}; give the model that was trained on such data.",
        )
        outcome = self.card.outcome
        if self.task == "recommendation" or outcome is None:
            return scores
        learnt = scores if outcome.power == 1.0 else scores.clamp_min(0) ** (1 / outcome.power)
        return (learnt - outcome.mean) / outcome.scale

    def _indices(self, answered: Answered) -> npt.NDArray[np.int64]:
        """Index of the class that each record was given."""
        require(
            answered.labels is not None,
            "The model answered scores alone where it gave labels before; ask its owner why.",
        )
        assert answered.labels is not None
        place = {name: i for i, name in enumerate(self.names or self.card.class_names)}
        texts = _texts(answered.labels)
        unknown = sorted({text for text in texts if text not in place})
        require(
            not unknown,
            f"The model answers {unknown[:5]}, and the classes are {list(place)}; say with "
            "model.external.classes=[...] what it calls each of the card's "
            f"{list(self.card.class_names)}, in this order.",
        )
        return np.array([place[text] for text in texts], np.int64)


def read_as(
    answered: Answered,
    card: Card,
    task: Task,
    meant: Meaning | Literal["auto"],
    classes: Sequence[str],
    named: Sequence[str] = (),
) -> Reading:
    """How answers are to be read, from some of them.

    Args:
        answered: to a sample of records.
        card: of the data.
        task: what the model predicts.
        meant: what its answers are; ``auto``: labels where it gives no scores, probabilities where
            all of them lie in [0, 1], logits else, and refused where they look like neither. Where
            ``labels`` are meant and it gives none, its scores are read.
        classes: the card's classes in the order of the model's scores, as its owner says, or what
            it calls each of them in its labels; empty: see ``named``.
        named: the same as the model names its scores; empty: as the card has them.

    Raises:
        UserError: the answers are not of this kind, or the classes are others.
    """
    if task != "classification":
        numbers = Reading(card, task, "numbers", (), ())
        numbers.outputs(answered)
        return numbers
    require(
        meant in ("auto", "labels") or answered.scores is not None,
        f"The model answers labels alone, and model.external.answers says '{meant}'; attack it "
        "with access 'labels'.",
    )
    found = meant == "auto" or (meant == "labels" and answered.labels is None)
    meaning: Meaning = _found(answered) if found else meant  # type: ignore[assignment]
    if meaning == "labels" and _renamed(card.class_names, classes):
        order, names = tuple(range(len(classes))), tuple(classes)
    else:
        order, names = _order(card.class_names, classes or named)
    if meaning == "labels" and answered.labels is not None:
        names = _called(names or card.class_names, order, {*_texts(answered.labels)})
    reading = Reading(card, task, meaning, order, names)
    reading.outputs(answered)
    return reading


def _found(answered: Answered) -> Meaning:
    if answered.scores is None:
        return "labels"
    scores = answered.shares
    if not np.isfinite(scores).all():
        return "logits"  # refused where they are read
    within = scores.min() >= -_BLUR and scores.max() <= 1 + _BLUR
    if within:
        return "probabilities"
    # Shares of 100, votes, or points of a score card: as logits they would all be certain.
    sums = scores.sum(1) if scores.shape[1] > 1 else np.ones(1)
    require(
        not (scores.min() >= 0 and np.ptp(sums) <= _EVEN * sums.max()),
        "The model's scores exceed 1 and are never negative"
        + (f", and those of a record sum to {sums[0]:g}" if scores.shape[1] > 1 else "")
        + ", so that they are neither probabilities nor logits; let it answer probabilities, or "
        "say what they are with model.external.answers=logits.",
    )
    return "logits"


def _called(names: tuple[str, ...], order: tuple[int, ...], told: set[str]) -> tuple[str, ...]:
    """What a model calls the classes in its labels: their names, or the columns of its scores.

    It is settled once: of classes "1" and "2" that are called 0 and 1, the label 1 alone would
    later be taken for the first.
    """
    truths = tuple(name.capitalize() for name in names)
    numbered = tuple(map(str, order))
    true = tuple(str(bool(column)) for column in order) if len(order) == 2 else ()
    cased = truths if {*truths} == {"False", "True"} else ()
    return next((words for words in (names, cased, numbered, true) if told <= {*words}), names)


def _renamed(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether they are other names of the same classes, in the same order."""
    return (
        len({*theirs}) == len(theirs) == len(ours)
        and {*theirs} != {*ours}
        and all(their == our or their not in ours for our, their in zip(ours, theirs, strict=True))
    )


def _order(ours: Sequence[str], theirs: Sequence[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Column of each class, and what the model calls it."""
    if not theirs:
        return tuple(range(len(ours))), ()
    require(
        len(theirs) == len(ours),
        f"The model has {len(theirs)} classes ({list(theirs)[:10]}) and the data {len(ours)} "
        f"({list(ours)[:10]}); they must be the same: mend 'classes' and 'labels' in the card.",
    )
    place = {name: i for i, name in enumerate(theirs)}
    if set(place) == set(ours):
        return tuple(place[name] for name in ours), tuple(ours)
    numbered = set(place) == {str(i) for i in range(len(ours))}
    require(
        numbered,
        f"The model calls its classes {list(theirs)[:10]}, and the card {list(ours)[:10]}; say "
        "with model.external.classes=[...] which of the card's classes each column of the scores "
        "is, in the order of the columns.",
    )
    order = tuple(place[str(i)] for i in range(len(ours)))
    return order, tuple(str(i) for i in range(len(ours)))


def _scores(answered: Answered, task: Task) -> npt.NDArray[Any]:
    if answered.scores is None and task != "classification" and answered.labels is not None:
        try:
            return answered.labels.astype(np.float64).reshape(-1, 1)
        except ValueError as error:
            raise UserError(
                f"The model answers '{answered.labels[0]}' where a number is predicted; give the "
                "model that predicts it, or mend the card's 'task'."
            ) from error
    require(
        answered.scores is not None,
        "The model answered labels alone where it was asked for scores; attack it with access "
        "'labels'.",
    )
    assert answered.scores is not None
    scores = answered.scores
    return scores.reshape(len(scores), -1)


def _columns(scores: Tensor, meaning: Meaning, width: int) -> Tensor:
    """A column for every class: of two classes a model may give the second one's alone."""
    if scores.shape[1] == 1 and width == 2:
        other = 1 - scores if meaning == "probabilities" else torch.zeros_like(scores)
        return torch.cat([other, scores], 1)
    require(
        scores.shape[1] == width,
        f"The model gives {scores.shape[1]} scores for a record, and the data has {width} classes; "
        "mend 'classes' in the card, or name the model's output that holds the scores.",
    )
    return scores


def _certain(index: npt.NDArray[np.int64], width: int) -> Tensor:
    """Outputs whose softmax is 1 for one class and 0 for all others."""
    chosen = torch.from_numpy(index)
    return torch.full((len(chosen), width), NEVER).scatter_(1, chosen.unsqueeze(1), 0.0)


def _texts(labels: npt.NDArray[Any]) -> list[str]:
    return [_text(label) for label in labels.tolist()]


def _text(label: object) -> str:
    """A label as cards write it: whole numbers without a decimal point."""
    whole = isinstance(label, float) and label.is_integer()
    return str(int(label)) if whole else str(label)  # type: ignore[call-overload]
