"""Privacy auditing in one training run: a lower bound of epsilon from canaries (PROTOCOL 4.4).

Steinke, Nasr, Jagielski, "Privacy Auditing with One (1) Training Run", NeurIPS 2023: theorem 5.2
and algorithm 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor

from bench.contract import Split, generator, require

CONFIDENCE = 0.95
"""Of the lower bound."""
_MOST_CANARIES = 200


@dataclass(frozen=True)
class Twin:
    """Training records with canaries among them.

    Attributes:
        train: what the twin is trained on.
        canaries: all canaries, wrong labels included.
        included: which of them are in ``train``, bool ``[m]``.
    """

    train: Split
    canaries: Split
    included: Tensor


def plant(train: Split, n_classes: int, seed: int) -> Twin:
    """Turn some records into canaries, each with a wrong label, and leave half of them out.

    Args:
        train: training records.
        n_classes: 2 or more.
        seed: of which records, which labels and which are left out.

    Raises:
        UserError: fewer than eight records, or one class.
    """
    require(
        len(train) >= 8 and n_classes >= 2,
        f"An audit needs 8 records and 2 classes; there are {len(train)} and {n_classes}.",
    )
    rng = generator(seed)
    m = min(_MOST_CANARIES, len(train) // 2)
    order = torch.randperm(len(train), generator=rng).to(train.y.device)
    wrong = torch.randint(1, n_classes, (m,), generator=rng).to(train.y.device)
    chosen = train.take(order[:m])
    canaries = replace(chosen, y=(chosen.y + wrong) % n_classes)
    included = (torch.rand(m, generator=rng) < 0.5).to(train.y.device)
    kept, rest = canaries.take(included.nonzero().squeeze(1)), train.take(order[m:])

    s = None if rest.s is None or kept.s is None else torch.cat([rest.s, kept.s])
    x, y, person = (
        torch.cat([getattr(part, name) for part in (rest, kept)]) for name in ("x", "y", "person")
    )
    return Twin(Split(x, y, person, s), canaries, included)


def guesses(m: int) -> int:
    """How many canaries are guessed about; fixed before looking, or the bound would not hold."""
    return max(2, m // 4 * 2)


def right(scores: Tensor, included: Tensor) -> int:
    """Right guesses: the half with the largest scores are taken for included, that with the least
    for left out.

    Args:
        scores: larger for canaries that seem to have been trained on, ``[m]``.
        included: the truth, bool ``[m]``.
    """
    half = guesses(len(scores)) // 2
    order = scores.argsort(stable=True)
    return int(included[order[-half:]].sum() + (~included[order[:half]]).sum())


def p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """Chance that an (epsilon, delta)-private training lets ``v`` of ``r`` guesses be right.

    Args:
        m: canaries.
        r: guesses, at most ``m``.
        v: right ones.
        epsilon: at least 0.
        delta: in [0, 1].
    """
    q = 1 / (1 + math.exp(-epsilon))
    found = float(binom.sf(v - 1, r, q))
    count = np.arange(1, v + 1)
    below = np.cumsum(binom.pmf(v - count, r, q))
    return min(1.0, found + 2 * m * delta * float(np.max(below / count, initial=0.0)))


def lower_bound(m: int, r: int, v: int, delta: float, confidence: float = CONFIDENCE) -> float:
    """The largest epsilon that ``v`` right guesses of ``r`` rule out at ``confidence``; 0 if none.

    Args:
        m: canaries.
        r: guesses, fixed beforehand.
        v: right ones.
        delta: of the guarantee.
        confidence: in (0, 1).
    """
    level = 1 - confidence
    low, high = 0.0, 1.0
    while p_value(m, r, v, high, delta) < level:
        low, high = high, high + 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if p_value(m, r, v, middle, delta) < level:
            low = middle
        else:
            high = middle
    return low
