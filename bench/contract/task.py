"""What a target predicts, and what follows from it: its loss, its answer, its list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

Task = Literal["classification", "regression", "recommendation"]
"""``classification``: one of the classes. ``regression``: a number. ``recommendation``: from what a
customer has bought, a score for everything the shop sells."""

TASKS: tuple[Task, ...] = ("classification", "regression", "recommendation")
LIST_LENGTH = 20
"""Items a recommender shows where no defense says otherwise."""


def common_task(offered: Iterable[Task], wanted: Iterable[Task]) -> Task | None:
    """The task that a data set offers and a model does, the first of :data:`TASKS` if several."""
    both = set(offered) & set(wanted)
    return next((task for task in TASKS if task in both), None)


class Labelled(Protocol):
    """Records and the label of each, such as a split has them."""

    @property
    def x(self) -> Tensor:
        """The records."""

    @property
    def y(self) -> Tensor:
        """Their labels or outcomes."""


def targets(task: Task, split: Labelled) -> Tensor:
    """What a model of ``task`` learns to say of each record.

    Returns:
        Class labels int64 ``[n]``, outcomes float32 ``[n]``, or the records themselves.
    """
    return split.x.flatten(1) if task == "recommendation" else split.y


def loss(task: Task, outputs: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The training loss of raw network outputs.

    Cross-entropy of classes; squared error of an outcome; of baskets the multinomial negative
    log-likelihood of Liang et al. (WWW 2018, eq. 2), divided by the basket's size.

    Args:
        task: what the network predicts.
        outputs: ``[n, width]``.
        target: as :func:`targets` gives it, or of classes a distribution per record, float
            ``[n, n_classes]``.
        reduction: ``mean`` or ``none``.
    """
    if task == "regression":
        return F.mse_loss(outputs.squeeze(1), target, reduction=reduction)
    if task == "recommendation":
        target = target / target.sum(1, keepdim=True).clamp_min(1.0)
    return F.cross_entropy(outputs, target, reduction=reduction)


def distribution(y: Tensor, n_classes: int) -> Tensor:
    """Targets as a distribution over the classes, float ``[n, n_classes]``.

    Args:
        y: labels int64 ``[n]``, or distributions already.
        n_classes: number of classes.
    """
    return y if y.is_floating_point() else F.one_hot(y, n_classes).float()


def answers(task: Task, outputs: Tensor) -> Tensor:
    """What a deployment without a defense answers, ``[n, width]``.

    Probabilities of classes; the outcome as it is, ``[n, 1]``; a score per item as it is.
    """
    return torch.softmax(outputs, dim=1) if task == "classification" else outputs


def top_list(scores: Tensor, x: Tensor, length: int = LIST_LENGTH, hide: bool = True) -> Tensor:
    """The best-scored items, best first: int64 ``[n, length]``.

    Args:
        scores: ``[n, n_items]``.
        x: the baskets the scores are about, 0/1 ``[n, n_items]``.
        length: items shown.
        hide: leave out what the customer has bought. Where fewer items than ``length`` are left,
            the list ends in -1.
    """
    if hide:
        scores = scores.masked_fill(x.flatten(1) > 0, -torch.inf)
    best = scores.topk(min(length, scores.shape[1]), dim=1)
    return best.indices.masked_fill(best.values == -torch.inf, -1)


def agreement(task: Task, outputs: Tensor, target: Tensor) -> float:
    """How well raw outputs say what they were trained to say.

    Share of right labels; share of the outcome's variance explained; share of bought items among
    the basket's size of best-scored ones.

    Args:
        task: what the network predicts.
        outputs: ``[n, width]``.
        target: as :func:`targets` gives it.
    """
    if task == "classification":
        return float((outputs.argmax(1) == target).float().mean())
    if task == "regression":
        spread = (target - target.mean()).square().mean().clamp_min(1e-12)
        return float(1 - F.mse_loss(outputs.squeeze(1), target) / spread)
    size = target.sum(1, keepdim=True)
    rank = outputs.argsort(1, descending=True).argsort(1)
    hits = ((rank < size) * target).sum(1) / size.squeeze(1).clamp_min(1)
    return float(hits.mean())


def leading(outputs: Tensor, target: Tensor) -> float:
    """:func:`agreement` of a recommendation without sorting whole catalogues.

    The two differ only where items tie at the end of a basket's size of best-scored ones.

    Args:
        outputs: ``[n, n_items]``.
        target: baskets, 0/1 ``[n, n_items]``.
    """
    size = target.sum(1, keepdim=True)
    best = outputs.topk(max(1, int(size.max())), 1).indices
    rank = torch.arange(best.shape[1], device=best.device)
    hits = (target.gather(1, best) * (rank < size)).sum(1) / size.squeeze(1).clamp_min(1)
    return float(hits.mean())
