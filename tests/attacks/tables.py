"""Toy tables and baskets whose leaks are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from bench.contract import (
    Access,
    Card,
    Exposure,
    Knowledge,
    Network,
    Outcome,
    Sensitive,
    Split,
    generator,
)

Answer = Callable[[Tensor], Tensor]


def table_card(n_values: int = 2, n_classes: int = 2, n_known: int = 3) -> Card:
    """Sensitive columns first, one-hot, then ``n_known`` numbers."""
    codes = tuple(tuple(row) for row in torch.eye(n_values).tolist())
    values = tuple(f"value {i}" for i in range(n_values))
    return Card(
        "toy",
        "credit",
        "table",
        (n_values + n_known,),
        tuple(map(str, range(n_classes))),
        "record",
        "made up",
        "none",
        True,
        Sensitive("secret", values, (0, n_values), codes),
    )


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
    return Knowledge(card, public, partial=partial, **more)  # type: ignore[arg-type]


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


def uniform(n: int, n_values: int) -> Tensor:
    """An imputer that knows nothing."""
    return torch.full((n, n_values), 1 / n_values, dtype=torch.float64)


def grid_card(n_values: int = 5, outcome: bool = False, n_known: int = 3) -> Card:
    """A number as the secret, in the first column; ``n_known`` numbers follow."""
    grid = torch.linspace(-1.5, 1.5, n_values).tolist()
    secret = Sensitive(
        "secret", tuple(map(str, grid)), (0, 1), tuple((g,) for g in grid), numeric=True
    )
    return Card(
        "numbers",
        "medical",
        "table",
        (1 + n_known,),
        () if outcome else ("0", "1"),
        "record",
        "made up",
        "none",
        True,
        secret,
        tasks=("regression",) if outcome else ("classification",),
        outcome=Outcome("dose", "mg", 0.0, 1.0) if outcome else None,
    )


def measured(card: Card, n: int, seed: int, noise: float = 1.0, signal: float = 0.0) -> Split:
    """Records of :func:`grid_card`.

    The outcome is the secret plus the first known number plus noise, the class its sign; the
    second known number is ``signal`` times the secret plus noise of 1.
    """
    assert card.sensitive is not None
    g = generator(seed)
    grid = torch.tensor(card.sensitive.codes)[:, 0]
    s = torch.randint(len(grid), (n,), generator=g)
    x = torch.randn(n, card.shape[0], generator=g)
    x[:, 0] = grid[s]
    x[:, 2] += signal * x[:, 0]
    y = x[:, 0] + x[:, 1] + noise * torch.randn(n, generator=g)
    return Split(x, y if card.outcome is not None else (y > 0).long(), torch.arange(n), s)


class Leaves(nn.Module):
    """Buffers of trees as a tree model has them: :class:`bench.contract.Network`."""

    def __init__(self, trees: int) -> None:
        super().__init__()
        # 0 asks for column 2; its left child 1 asks for the secret's last column, 1.
        nodes = {
            "feature": [2, 1, -1, -1, -1],
            "threshold": [0.5, 0.5, 0.0, 0.0, 0.0],
            "left": [1, 2, -1, -1, -1],
            "right": [4, 3, -1, -1, -1],
            "counts": [100, 40, 30, 10, 60],
            "leaf": [-1, -1, 0, 1, 2],
        }
        for name, row in nodes.items():
            self.register_buffer(name, torch.tensor([row] * trees))

    def forward(self, x: Tensor) -> Tensor:
        left = x[:, 2] <= 0.5
        leaf = torch.where(left, torch.where(x[:, 1] <= 0.5, 0, 1), 2)
        return one_hot(leaf, 3).float()


def stump(width: int, n_classes: int, trees: int = 1) -> Network:
    """Trees of three leaves: 30 and 10 records where column 2 is low, of value 0 and 1; else 60.

    The leaf of 10 holds the last class only, the others every class.
    """
    assert width >= 3
    head = nn.Linear(3, n_classes, bias=False)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[:-1, 1] = -30.0
    return Network(nn.Sequential(Leaves(trees)), head)


def world(
    n_values: int = 2, n_classes: int = 2, n: int = 60, n_public: int = 80, **more: Any
) -> tuple[Split, Knowledge]:
    """Victims, and what their attacker holds; the imputer knows nothing."""
    card = table_card(n_values, n_classes)
    victims, public = table(card, n, 1), table(card, n_public, 0)
    prior = {"probabilities": uniform(n, n_values), "winner": torch.tensor(3)}
    return victims, told(card, public, victims, prior=prior, **more)


def right(values: Tensor, victims: Split) -> float:
    return float((values.argmax(1) == victims.s).double().mean())
