"""How much utility depends on who happened to be among the customers."""

from __future__ import annotations

from collections.abc import Callable
from typing import overload

import numpy as np
import torch
from torch import Tensor

from bench.contract import Card, Split, Task
from bench.metrics.people import DIGITS, weights
from bench.metrics.utility import measure


def useful(
    task: Task, test: Split, card: Card, labels: Tensor, scores: Tensor | None, metric: str
) -> dict[str, list[float]]:
    """The utility of a deployment as it would be of other customers from the same population.

    Args:
        task: what it predicts.
        test: held-out records.
        card: of the data.
        labels: what it answered for them; of a recommender lists, of a regression nothing is read.
        scores: the same; None where it answers labels alone.
        metric: the headline metric.

    Returns:
        ``metric`` and, of a classifier, accuracy, Brier score and AUROC: ``DRAWS`` numbers each.
        A draw in which a metric is not defined leaves that metric out.
    """
    rows = np.arange(len(test))
    drawn: dict[str, list[float]] = {}
    draws = weights(test.person.cpu().numpy())
    for counts in draws:
        index = torch.from_numpy(np.repeat(rows, counts.astype(np.int64)))
        some = None if scores is None else scores[index]
        found = measure(task, test.take(index), card, _always(labels[index]), _always(some))
        for name in dict.fromkeys((metric, "accuracy", "brier", "auroc")):
            value = found.get(name)
            if value is not None:
                drawn.setdefault(name, []).append(round(value, DIGITS))
    return {name: values for name, values in drawn.items() if len(values) == len(draws)}


@overload
def _always(answers: Tensor) -> Callable[[Tensor], Tensor]: ...
@overload
def _always(answers: None) -> None: ...
def _always(answers: Tensor | None) -> Callable[[Tensor], Tensor] | None:
    """What gives these answers whatever is asked."""
    return None if answers is None else lambda _: answers
