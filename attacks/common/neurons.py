"""Records read off the gradients of single neurons of a fully connected first layer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.contract.columns import Layout

_SAME = 1e-2
"""Root mean square below which two neurons are said to name the same record."""
_CLEAR = 4.0
"""Standard deviations of the noise that a bias gradient must exceed."""
_SLACK = 1.2
"""How much more than their expected squared distance may lie between two ratios of one record."""
_MOST = 512
"""Neurons compared per client."""


def legal(ratio: Tensor, layout: Layout | None) -> Tensor:
    """Share ``[rows]`` of the values of ``ratio`` ``[rows, d]`` that a record could have.

    A pixel lies in [0, 1]; a category has a 1 and otherwise 0; a number is at most a public range
    outside of the public range.
    """
    if layout is None:
        return ((ratio > -0.05) & (ratio < 1.05)).float().mean(1)
    valid = (ratio - layout.project(ratio)).abs() < 0.05
    groups = F.pad(valid, (0, 1), value=True)[:, layout.index].all(-1)
    span = layout.high - layout.low
    numbers = ratio[:, layout.numbers]
    inside = (numbers > layout.low - span - 0.05) & (numbers < layout.high + span + 0.05)
    return torch.cat([groups, valid[:, layout.flags], inside], 1).float().mean(1)


def records_of(
    dw: Tensor,
    db: Tensor,
    batch: int,
    layout: Layout | None,
    largest: bool = True,
    noise: float = 0.0,
) -> Tensor:
    """The most credible records of one client ``[batch, d]``; NaN where there are too few.

    A neuron that answers to one record only has a weight gradient that is the record times its
    bias gradient. Ratios that neurons agree on come first, then those that are legal by their
    bias gradient, then the others.

    Args:
        dw: weight gradients ``[m, d]``, a row per neuron, or differences of rows.
        db: bias gradients ``[m]``.
        batch: records of the client.
        layout: of a table's columns; None of images.
        largest: whether large bias gradients go first; where there is no noise and a record has
            the same one everywhere, small ones are of fewer records.
        noise: standard deviation of what a defense added to every gradient. Neurons of which no
            more than noise is left are dropped, and the others name the same record where they
            differ by no more than noise explains.
    """
    order = db.abs().argsort(descending=largest)
    order = order[db[order].abs() > _CLEAR * noise][:_MOST]
    ratio = dw[order] / db[order].unsqueeze(1)
    inside = legal(ratio, layout)
    apart = torch.cdist(ratio, ratio) / ratio.shape[1] ** 0.5
    # A ratio errs by the noise of its weight gradients and, in proportion, of its bias gradient.
    error = (noise / db[order]).square() * (1 + ratio.square().mean(1))
    same = apart < (_SAME**2 + _SLACK * (error + error.unsqueeze(1))).sqrt()
    agreed = same.sum(1)
    # A lone neuron has only itself: an exact image is more credible than a mixture that is not.
    worth = torch.where(inside == 1, agreed.to(ratio.dtype), inside - 1)
    picked = ratio.new_full((batch, ratio.shape[1]), torch.nan)
    for row in range(min(batch, len(order))):
        best = worth.argmax()
        if worth[best] == -torch.inf:
            break
        picked[row] = ratio[best]
        worth = torch.where(same[best], -torch.inf, worth)
    return picked
