"""Decoders from answers to baskets, and the features of answers that they read."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract import generator, seeded

MAX_SHIFT = 50.0
"""Yang et al.'s c: log scores below -c are cut."""

Encoder = Callable[[Tensor], Tensor]
"""From answers to features ``[n, f]``."""
Guess = Callable[[Tensor], Tensor]
"""A fitted decoder: features ``[n, f]`` to item scores ``[n, n_items]``."""


@dataclass(frozen=True)
class Pairs:
    """Features of answers ``z`` ``[n, f]`` and the baskets ``x`` ``[n, n_items]`` they are of."""

    z: Tensor
    x: Tensor

    def take(self, index: Tensor) -> Pairs:
        """The pairs at ``index`` int64."""
        index = index.to(self.x.device)
        return Pairs(self.z[index], self.x[index])


# ---------------------------------------------------------------- features
def probabilities(answers: Tensor, n_classes: int) -> Encoder:
    """Features of a classifier's answers: one-hot labels, or standardised shifted log scores.

    The shift puts a withheld score (0) one unit of log below the least score ever answered, so
    that it stands apart without drowning the differences among the others.

    Args:
        answers: labels int64 ``[n]`` or scores ``[n, n_classes]``, which set mean and deviation.
        n_classes: number of classes.
    """
    if not answers.is_floating_point():
        return lambda labels: F.one_hot(labels, n_classes).float()
    answered = answers[answers > 0]
    shift = MAX_SHIFT if len(answered) == 0 else 1.0 - math.log(float(answered.min()))
    shift = min(MAX_SHIFT, shift)
    return standardised(lambda p: (p.clamp_min(1e-30).log() + shift).clamp_min(0.0), answers)


def standardised(raw: Encoder, answers: Tensor) -> Encoder:
    """``raw`` with the mean and deviation of ``answers``; what hardly varies is not blown up."""
    z = raw(answers)
    least = max(1e-3 * float(z.std(correction=0)), 1e-6)
    mean, deviation = z.mean(0), z.std(0, correction=0).clamp_min(least)
    return lambda answers: (raw(answers) - mean) / deviation


def shown(n_items: int) -> Encoder:
    """Features of lists int64 ``[n, k]``, -1 where they end: which items, and how far up.

    Twice ``n_items`` columns: whether an item is shown, and for the shown ones the centred weight
    of its rank, 1 for the first to -1 for the last. An item that is not shown is 0 in both, so its
    absence is seen by every decoder that reads the first half.
    """

    def encode(lists: Tensor) -> Tensor:
        n, k = lists.shape
        place = torch.where(lists < 0, n_items, lists)
        rank = torch.linspace(1.0, -1.0, k, device=lists.device).expand(n, k)
        features = torch.zeros(2, n, n_items + 1, device=lists.device)
        features[0].scatter_(1, place, 1.0)
        features[1].scatter_(1, place, rank)
        return torch.cat([features[0, :, :-1], features[1, :, :-1]], 1)

    return encode


# ---------------------------------------------------------------- decoders
def ridge(pairs: Pairs, penalty: float) -> Guess:
    """Least squares with an L2 penalty, in records, from features and 1 to every item."""
    return ridges(pairs, [penalty])[penalty]


def ridges(pairs: Pairs, penalties: Sequence[float]) -> dict[float, Guess]:
    """:func:`ridge` for each of several penalties."""
    z = pairs.z.double()
    # Centred, the intercept is free of the penalty.
    mean, popular = z.mean(0), pairs.x.double().mean(0)
    a = z - mean
    gram, wanted = a.T @ a, a.T @ (pairs.x.double() - popular)

    def guess(penalty: float) -> Guess:
        weight = torch.linalg.solve(gram + penalty * torch.eye(len(gram)).to(gram), wanted)
        return lambda z: ((z.double() - mean) @ weight + popular).float()

    return {penalty: guess(penalty) for penalty in penalties}


def network(
    pairs: Pairs,
    held: Pairs | None,
    hidden: int,
    epochs: int,
    patience: int,
    lr: float,
    weight_decay: float,
    seed: int,
) -> tuple[Guess, int]:
    """The inverse network (Yang et al., CCS 2019, section 4), binary cross-entropy per item.

    Args:
        pairs: it is trained on these.
        held: it stops at the best loss on these; None: after ``epochs``.
        hidden: units of its hidden layer.
        epochs: most passes.
        patience: passes without a better loss before it stops.
        lr: Adam's learning rate.
        weight_decay: decoupled L2 coefficient.
        seed: of its weights and of the order of batches.

    Returns:
        The decoder, and after how many passes it was taken.
    """
    a, x = pairs.z, pairs.x
    with seeded(seed):
        first = nn.Linear(a.shape[1], hidden)
        items = nn.Linear(hidden, x.shape[1])
    net = nn.Sequential(first, nn.ReLU(), items).to(a.device)
    with torch.no_grad():
        items.bias.copy_(torch.logit(x.mean(0), eps=1e-3))
    adam = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=weight_decay, fused=True)
    order = generator(seed)
    best, best_epoch, weights = math.inf, 0, copy.deepcopy(net.state_dict())
    epoch = 0
    while epoch < epochs and epoch - best_epoch < patience:
        epoch += 1
        for rows in torch.split(torch.randperm(len(a), generator=order).to(a.device), 128):
            _slope(first, items, a[rows], x[rows])
            adam.step()
        if held is None:
            best_epoch = epoch
            continue
        with torch.no_grad():
            loss = float(F.binary_cross_entropy_with_logits(net(held.z), held.x))
        if loss < best:
            best, best_epoch, weights = loss, epoch, copy.deepcopy(net.state_dict())
    if held is not None:
        net.load_state_dict(weights)

    def guess(z: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.sigmoid(net(z))

    return guess, max(1, best_epoch)


@torch.no_grad()
def _slope(first: nn.Linear, items: nn.Linear, a: Tensor, x: Tensor) -> None:
    """Set the gradients of the mean cross-entropy: by hand, which costs half of what a graph does.

    Args:
        first: the hidden layer, a ReLU behind it.
        items: the layer after it, of logits.
        a: features ``[n, f]``.
        x: baskets ``[n, n_items]``.
    """
    hidden = first(a).relu_()
    off = torch.sigmoid(items(hidden)).sub_(x).div_(x.numel())
    back = (off @ items.weight).mul_(hidden > 0)
    items.weight.grad, items.bias.grad = off.T @ hidden, off.sum(0)
    first.weight.grad, first.bias.grad = back.T @ a, back.sum(0)


def basket_size(x: Tensor) -> int:
    """The number of items to guess: the rounded mean size of baskets ``[n, n_items]``."""
    return min(x.shape[1], max(1, round(float(x.sum(1).mean()))))


def mean_f1(scores: Tensor, x: Tensor, k: int) -> float:
    """Mean F1 of the ``k`` best-scored items against baskets ``x``, both ``[n, n_items]``."""
    hits = x.gather(1, scores.topk(k, 1).indices).sum(1)
    return float((2 * hits / (x.sum(1) + k)).mean())
