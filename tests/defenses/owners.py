"""An owner whose records are logits: answers for members are sure, those for others are not."""

from __future__ import annotations

import dataclasses
from typing import cast

import torch

from bench.contract import Card, Defense, Owner, Split, Traffic, generator


def owner(n_classes: int = 6, n: int = 400, sure: float = 4.0, unsure: float = 1.0) -> Owner:
    rng = generator(31)

    def split(scale: float) -> Split:
        x = scale * torch.randn(n, n_classes, generator=rng)
        return Split(x, x.argmax(1), torch.arange(n))

    def silent(count: int, seed: int) -> Traffic:
        raise AssertionError("no release defense asks for traffic")

    return Owner(
        cast("Card", None),
        "classification",
        split(sure),
        split(unsure),
        lambda x: x.softmax(1),
        silent,
        "cpu",
    )


def quick(defense: Defense) -> Defense:
    """The same defense, fitted and searching in few steps where it does either."""
    few = {"fit_steps": 30, "steps": 15}
    names = {field.name for field in dataclasses.fields(defense)}  # type: ignore[arg-type]
    if "fit_steps" not in names:
        return defense
    return dataclasses.replace(defense, **{k: few[k] for k in few if k in names})  # type: ignore[type-var]
