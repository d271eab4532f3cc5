"""Toy tables and baskets whose leaks are known."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from bench.contract import Access, Card, Exposure, Knowledge, Sensitive, Split, generator

Answer = Callable[[Tensor], Tensor]


def table_card(n_values: int = 2, n_classes: int = 2, n_known: int = 3) -> Card:
    """Sensitive columns first, one-hot, then ``n_known`` numbers."""
    codes = tuple(tuple(row) for row in torch.eye(n_values).tolist())
    values = tuple(f"value {i}" for i in range(n_values))
    return Card(
        "toy", "credit", "table", (n_values + n_known,), tuple(map(str, range(n_classes))),
        "record", "made up", "none", True, Sensitive("secret", values, (0, n_values), codes),
    )  # fmt: skip


def table(card: Card, n: int, seed: int, signal: float = 1.0) -> Split:
    """Records whose secret shows in the first known column, ``signal`` times."""
    assert card.sensitive is not None
    g = generator(seed)
    n_values = len(card.sensitive.values)
    s = torch.randint(n_values, (n,), generator=g)
    known = torch.randn(n, card.shape[0] - n_values, generator=g)
    known[:, 0] += signal * s
    y = torch.randint(card.n_classes, (n,), generator=g)
    return Split(torch.cat([one_hot(s, n_values), known], 1).float(), y, torch.arange(n), s)


def told(card: Card, public: Split, victims: Split, **more: object) -> Knowledge:
    """What the attacker of ``victims`` holds."""
    assert card.sensitive is not None
    partial = Split(card.sensitive.hide(victims.x), victims.y, victims.person)
    return Knowledge(frozenset({"K2", "K3"}), card, public, partial=partial, **more)  # type: ignore[arg-type]


def exposed(scores: Answer, access: Access = "scores") -> Exposure:
    """A deployment that answers ``scores``, and labels as their argmax."""
    return Exposure(access, scores, lambda x: scores(x).argmax(1))


def remembering(victims: Split, n_classes: int, sure: float = 0.9) -> Answer:
    """A target that is ``sure`` of its own records and undecided elsewhere."""

    def scores(x: Tensor) -> Tensor:
        same = torch.cdist(x, victims.x, compute_mode="donot_use_mm_for_euclid_dist") < 1e-4
        own = torch.where(same.any(1), victims.y[same.int().argmax(1)], -1)
        out = torch.full((len(x), n_classes), 1 / n_classes)
        rest = (1 - sure) / (n_classes - 1)
        known = own >= 0
        out[known] = rest + (sure - rest) * one_hot(own[known], n_classes).float()
        return out

    return scores
