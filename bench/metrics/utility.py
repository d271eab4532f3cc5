"""Usefulness of what a deployment answers (PROTOCOL 2.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import one_hot

from bench.contract import Card, Outcome, Split, Task
from bench.metrics import recommendation, roc

Answer = Callable[[Tensor], Tensor]

UTILITY: Mapping[Task, str] = {"regression": "within_20pct", "recommendation": "ndcg_at_20"}
"""Headline utility, in [0, 1]; a classifier's is named by its data set."""

_BINS = 15
_FLOOR = 1e-7
"""Smallest probability the log loss sees: a truncated score of 0 costs 16.1 nats, not Inf."""


def asked(task: Task, answer: Answer, x: Tensor) -> Tensor:
    """What a deployment answers of held-out records; a recommender is shown a part of each."""
    return recommendation.ask(answer, x) if task == "recommendation" else answer(x)


def measure(
    task: Task, test: Split, card: Card, labels: Tensor, scores: Tensor | None
) -> dict[str, float | None]:
    """Score what a deployment answered of the test split.

    Args:
        task: what it predicts.
        test: held-out records.
        card: of the data.
        labels: what it answered with ``labels``, as :func:`asked` returns it: labels int64
            ``[n]``, or lists of items.
        scores: what it answered with ``scores``; None where it answers labels only.
    """
    if task == "recommendation":
        return recommendation.utility(labels, test.x)
    if task == "regression":
        assert scores is not None and card.outcome is not None
        return regression(scores.squeeze(1), test.y, card.outcome)
    return utility(labels, scores, test.y, card.n_classes)


def regression(found: Tensor, y: Tensor, outcome: Outcome) -> dict[str, float | None]:
    """Score predicted outcomes, both standardised ``[n]``.

    Returns:
        ``within_20pct``: share of predictions within 20 % of the true value (the International
        Warfarin Pharmacogenetics Consortium, NEJM 2009); ``mae`` and ``rmse`` in the outcome's
        unit; ``r2``, share of the variance explained in that unit.
    """
    said, true = outcome.natural(found), outcome.natural(y)
    error = said - true
    spread = float((true - true.mean()).square().mean())
    return {
        "within_20pct": float((error.abs() <= 0.2 * true.abs()).double().mean()),
        "mae": float(error.abs().mean()),
        "rmse": float(error.square().mean().sqrt()),
        "r2": 1 - float(error.square().mean()) / spread if spread else None,
    }


def probabilities(scores: Tensor) -> Tensor:
    """Released scores ``[n, n_classes]`` as probabilities, float64.

    Truncated or rounded rows are divided by their sum; a row of zeros becomes uniform.
    """
    p = scores.double().clamp(min=0.0)
    total = p.sum(1, keepdim=True)
    return torch.where(total > 0, p / total.clamp(min=1e-300), 1.0 / p.shape[1])


def auroc(scores: Tensor, y: Tensor) -> float | None:
    """Macro one-vs-rest area under the ROC curve, ties counted half.

    Classes without a positive or without a negative record are left out; None if all are.
    """
    ranks = torch.from_numpy(rankdata(scores.double().cpu().numpy(), axis=0))
    positive = one_hot(y.cpu(), scores.shape[1]).double()
    n_positive = positive.sum(0)
    n_negative = len(y) - n_positive
    defined = (n_positive > 0) & (n_negative > 0)
    if not bool(defined.any()):
        return None
    wins = (ranks * positive).sum(0) - n_positive * (n_positive + 1) / 2
    return float((wins / (n_positive * n_negative).clamp(min=1.0))[defined].mean())


def expected_calibration_error(p: Tensor, correct: Tensor) -> float:
    """``sum_b (n_b / n) |acc_b - conf_b|`` over 15 equal-width bins of the top probability."""
    confidence = p.max(1).values
    bins = (confidence * _BINS).long().clamp(max=_BINS - 1)
    gap = torch.zeros(_BINS, dtype=p.dtype, device=p.device)
    gap.index_add_(0, bins, correct.to(p.dtype) - confidence)
    return float(gap.abs().sum() / len(p))


def utility(
    labels: Tensor, scores: Tensor | None, y: Tensor, n_classes: int
) -> dict[str, float | None]:
    """Score what the deployment answered on the test split.

    Args:
        labels: released labels int64 ``[n]``.
        scores: released scores ``[n, n_classes]``, possibly truncated or rounded; None where the
            deployment answers labels only.
        y: true labels int64 ``[n]``.
        n_classes: number of classes.

    Returns:
        ``accuracy``; ``balanced_accuracy``, the mean recall of the classes present in ``y``;
        ``auroc``, macro one-vs-rest on the released scores; ``log_loss`` in nats; ``ece15``;
        ``brier``, the mean over records of the squared error summed over classes, in [0, 2]. Of
        two classes also ``ks``, the Kolmogorov-Smirnov distance between the scores of the classes,
        and ``rate_shift``, the share answered the second class minus the share that is.
        Metrics of scores are None without scores. Every number is finite.
    """
    correct = labels == y
    count = torch.bincount(y, minlength=n_classes)
    hits = torch.bincount(y[correct], minlength=n_classes)
    present = count > 0
    out: dict[str, float | None] = {
        "accuracy": float(correct.double().mean()),
        "balanced_accuracy": float((hits[present].double() / count[present]).mean()),
        "auroc": None,
        "log_loss": None,
        "ece15": None,
        "brier": None,
    }
    if n_classes == 2:
        out |= {"rate_shift": float((labels == 1).double().mean() - (y == 1).double().mean())}
        out["ks"] = None
    if scores is None:
        return out
    p = probabilities(scores)
    truth = p.gather(1, y.unsqueeze(1)).clamp(min=_FLOOR)
    out["auroc"] = auroc(scores, y)
    if n_classes == 2 and bool(present.all()):
        everybody = np.ones((1, len(y)), dtype=np.bool_)
        [true], [false] = roc.counts(p[:, 1].cpu().numpy(), y.cpu().numpy() == 1, everybody)
        out["ks"] = float((true / true[-1] - false / false[-1]).max())
    out["log_loss"] = float(-truth.log().mean())
    out["ece15"] = expected_calibration_error(p, correct)
    out["brier"] = float((p - one_hot(y, n_classes)).square().sum(1).mean())
    return out
