"""Scores made to be hard on a release defense, and what must hold of the answers.

A model's own scores are rarely near a tie and never at one. These are: a layer that turns 0.4 and
0.6 into 0.5 and 0.5 changes the answer, and one that answers no distribution only looks as if it
protected anything: what is scaled or shifted can be scaled and shifted back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SUM_TOLERANCE = 1e-4
"""How far the scores of a record may sum to something else than 1."""

WIDTHS = (2, 3, 10, 100)
"""Numbers of classes that a layer without anything fitted is tried on."""

_GAPS = (0.2, 0.1, 0.04, 0.01, 0.001, 0.0001)
"""By how much the best class leads the runner-up."""


@dataclass(frozen=True)
class Kept:
    """What a release did to the best class.

    Attributes:
        tied: rows in which another class is as good as the best one now.
        moved: rows in which another class is better.
        rows: rows that had one best class before.
        example: a row before and after, in words.
    """

    tied: int
    moved: int
    rows: int
    example: str

    @property
    def reason(self) -> str:
        """Why the best class is not kept; empty if it is."""
        if not self.tied and not self.moved:
            return ""
        return (
            f"the best class lost its place in {self.moved} and shares it in {self.tied} of "
            f"{self.rows} rows ({self.example}); keep it the only best one, or set 'relabels', so "
            "that the lost accuracy is charged"
        )


def probing(width: int) -> Tensor:
    """Scores of ``width`` classes: near-ties, saturated, uniform and random ones, ``[n, width]``.

    Every class is the best one somewhere, of up to ten classes.
    """
    rng = torch.Generator().manual_seed(width)
    rows = [torch.full((width,), 1.0 / width, dtype=torch.float64)]
    for best in range(min(width, 10)):
        rival = (best + 1) % width
        for gap in _GAPS:
            # Two leaders that share everything, or stand just above an even rest.
            for shared in {1.0, min(1.0, 2.2 / width)}:
                row = torch.full((width,), (1 - shared) / max(width - 2, 1), dtype=torch.float64)
                row[best], row[rival] = shared * (1 + gap) / 2, shared * (1 - gap) / 2
                rows.append(row)
        for rest in (0.0, 1e-7, 1e-3):
            row = torch.full((width,), rest / (width - 1), dtype=torch.float64)
            row[best] = 1 - rest
            rows.append(row)
    for spread in (0.1, 1.0, 5.0):
        logits = spread * torch.randn(8, width, generator=rng, dtype=torch.float64)
        rows += list(torch.softmax(logits, 1))
    return torch.stack(rows).float()


def not_answers(released: Tensor, scores: Tensor, classes: bool, normalised: bool = True) -> str:
    """Why something is no released answer to scores; empty if it is.

    Args:
        released: what a layer returned.
        scores: ``[n, width]``, what it was given.
        classes: whether they are scores of classes.
        normalised: whether the layer says that they still sum to 1.
    """
    if not isinstance(released, Tensor):
        return f"'release' returned {type(released).__name__}, not a tensor"
    if released.shape != scores.shape or released.dtype != scores.dtype:
        return (
            f"it made {tuple(released.shape)} {released.dtype} of {tuple(scores.shape)} "
            f"{scores.dtype}; keep shape and type"
        )
    if not bool(torch.isfinite(released).all()):
        return f"it returned NaN or Inf for {_row(scores, ~torch.isfinite(released).all(1))}"
    if not classes:
        return ""
    return _not_probabilities(released) if normalised else _not_coarser(released, scores)


def _not_probabilities(released: Tensor) -> str:
    negative = (released < 0).any(1)
    if bool(negative.any()):
        return (
            f"it returned negative scores, down to {float(released.min()):.3g}; scores of classes "
            "must be probabilities"
        )
    total = released.double().sum(1)
    far = (total - 1).abs() > SUM_TOLERANCE
    if bool(far.any()):
        worst = float(total[(total - 1).abs().argmax()])
        return (
            f"in {int(far.sum())} of {len(far)} rows the scores sum to another number than 1, such "
            f"as {worst:.4g}; return probabilities"
        )
    return ""


def _not_coarser(released: Tensor, scores: Tensor) -> str:
    """Why scores are not the given ones, cut or coarsened; empty if they are."""
    outside = ((released < 0) | (released > 1)).any(1)
    if bool(outside.any()):
        return (
            f"it returned scores outside of 0 to 1, such as {_row(released, outside)}; one that "
            "is not 'normalised' may only cut or coarsen scores"
        )
    order = scores.argsort(stable=True, dim=1, descending=True)
    falls = released.gather(1, order).diff(dim=1) <= 0
    level = scores.gather(1, order).diff(dim=1) == 0
    overtaken = ~(falls | level).all(1)
    if bool(overtaken.any()):
        return (
            f"a score overtook a larger one in {int(overtaken.sum())} of {len(scores)} rows; one "
            "that is not 'normalised' may only cut or coarsen scores"
        )
    return ""


def best_kept(released: Tensor, scores: Tensor) -> Kept:
    """Whether the one best class of every row stays the one best class.

    Args:
        released: ``[n, width]``.
        scores: ``[n, width]``; rows with several best classes do not count.
    """
    best = scores.max(1).values
    single = (scores == best.unsqueeze(1)).sum(1) == 1
    place = scores.argmax(1)
    others = released.scatter(1, place.unsqueeze(1), -torch.inf).max(1).values
    own = released.gather(1, place.unsqueeze(1)).squeeze(1)
    tied, moved = single & (own == others), single & (own < others)
    bad = tied | moved
    example = f"{_row(scores, bad)} became {_row(released, bad)}" if bool(bad.any()) else ""
    return Kept(int(tied.sum()), int(moved.sum()), int(single.sum()), example)


def _row(values: Tensor, chosen: Tensor) -> str:
    """The first chosen row, its largest entries first, in words."""
    row = values[int(chosen.int().argmax())]
    most = row.topk(min(3, len(row)))
    shown = ", ".join(
        f"class {int(c)}: {float(v):.5g}" for c, v in zip(most.indices, most.values, strict=True)
    )
    return f"[{shown}]"
