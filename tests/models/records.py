"""Small records that a network can learn in a blink."""

from __future__ import annotations

import dataclasses

import torch

from bench.contract import Card, Column, Outcome, Sensitive, Split, Splits, generator


def table(seed: int = 0, n: int = 96) -> Splits:
    """Two overlapping classes, six numbers; ``n`` records a split."""
    rng = generator(seed)
    x = torch.randn(3 * n, 6, generator=rng)
    y = (x[:, 0] + x[:, 1] + 0.7 * torch.randn(3 * n, generator=rng) > 0).long()
    card = Card("table", "credit", "table", (6,), ("no", "yes"), "record", "made up", "none", True)
    full = Split(x, y, torch.arange(3 * n))
    return Splits(card, *(full.take(torch.arange(i * n, (i + 1) * n)) for i in range(3)))


def numbers(seed: int = 0, n: int = 96) -> Splits:
    """A dose that follows from six numbers; ``n`` records a split."""
    rng = generator(seed)
    x = torch.randn(3 * n, 6, generator=rng)
    y = (x[:, 0] - x[:, 1] + 0.2 * torch.randn(3 * n, generator=rng)) / 1.4
    outcome = Outcome("dose", "mg", mean=35.0, scale=10.0)
    card = Card(
        "numbers",
        "medical",
        "table",
        (6,),
        (),
        "record",
        "made up",
        "none",
        True,
        tasks=("regression",),
        outcome=outcome,
    )
    full = Split(x, y, torch.arange(3 * n))
    return Splits(card, *(full.take(torch.arange(i * n, (i + 1) * n)) for i in range(3)))


def images(seed: int = 0, people: int = 4, size: int = 16) -> Splits:
    """Noisy pictures of ``people`` patterns, eight each; public ones show six other patterns."""
    rng = generator(seed)
    patterns = torch.rand(people + 6, 1, size, size, generator=rng)

    def shots(who: torch.Tensor, label: torch.Tensor) -> Split:
        noise = 0.1 * torch.randn(len(who), 1, size, size, generator=rng)
        return Split((patterns[who] + noise).clamp(0, 1), label, who)

    own = torch.arange(people).repeat(8)
    others = torch.arange(people, people + 6).repeat(8)
    names = tuple(f"person {i}" for i in range(people))
    card = Card(
        "images", "face", "image", (1, size, size), names, "person", "made up", "none", True
    )
    # Labels of public people are their own numbers, not 0, 1, 2...
    return Splits(card, shots(own, own), shots(own, own), shots(others, others * 10))


def described() -> Splits:
    """The table, with names for its columns and a sensitive one."""
    fields = tuple(Column(f"number {i}", "number", (i, i + 1)) for i in range(6))
    sensitive = Sensitive("number 0", ("low", "high"), (0, 1), ((-1.0,), (1.0,)), numeric=True)
    plain = table()
    card = dataclasses.replace(plain.card, fields=fields, sensitive=sensitive)
    return dataclasses.replace(plain, card=card)
