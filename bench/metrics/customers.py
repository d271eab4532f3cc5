"""How much utility depends on who happened to be among the customers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bench.contract import Card, Split, Task, sparse
from bench.metrics.people import DIGITS, weights
from bench.metrics.recommendation import gains
from bench.metrics.roc import Floats
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
    draws = weights(test.person.cpu().numpy())
    if task == "recommendation":
        return _useful_lists(test, labels, metric, draws)
    rows = np.arange(len(test))
    drawn: dict[str, list[float]] = {}
    for counts in draws:
        index = torch.from_numpy(np.repeat(rows, counts.astype(np.int64)))
        some = None if scores is None else scores[index]
        found = measure(task, test.take(index), card, labels[index], some)
        for name in dict.fromkeys((metric, "accuracy", "brier", "auroc")):
            value = found.get(name)
            if value is not None:
                drawn.setdefault(name, []).append(round(value, DIGITS))
    return {name: values for name, values in drawn.items() if len(values) == len(draws)}


def _useful_lists(test: Split, lists: Tensor, metric: str, draws: Floats) -> dict[str, list[float]]:
    """The mean gain of the customers drawn, of those who bought two items or more."""
    gain = gains(lists, test.x)[metric].cpu().numpy()
    kept = draws[:, (sparse.sums(test.x, 1) >= 2).cpu().numpy()]
    total = kept.sum(1)
    means = (kept @ gain / np.where(total > 0, total, 1.0)).round(DIGITS).tolist()
    return {metric: means} if (total > 0).all() else {}
