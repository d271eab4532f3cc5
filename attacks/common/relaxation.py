"""Records of a table or of baskets as unconstrained numbers that gradient steps can move."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.contract.columns import Layout

TOLERANCE = 0.319
"""Standard deviations within which a number counts as recovered (Vero et al., ICML 2023)."""


def relax(layout: Layout, z: Tensor, temperature: float = 1.0) -> Tensor:
    """Records ``[..., d]`` of parameters ``z`` of that shape, all of them legal.

    A softmax for each category and a sigmoid for each flag, at ``temperature``; numbers between
    their public bounds by a sigmoid (Vero et al., ICML 2023, section 4.1).
    """
    span = layout.high - layout.low
    return layout.join(
        (layout.grouped(z) / temperature).softmax(-1),
        torch.sigmoid(z[..., layout.flags] / temperature),
        layout.low + span * torch.sigmoid(z[..., layout.numbers]),
    )


def unrelax(layout: Layout, x: Tensor, sure: float) -> Tensor:
    """Parameters that :func:`relax` maps near records ``x`` ``[..., d]``.

    Args:
        layout: of the records.
        x: valid records.
        sure: probability of each category's and flag's value, below 1; numbers keep as far from
            their bounds.
    """
    hot = layout.grouped(x)
    others = (torch.isfinite(hot).sum(-1, keepdim=True) - 1).clamp_min(1)
    odds = torch.where(hot > 0.5, sure, (1 - sure) / others).log()
    flags = torch.logit((x[..., layout.flags] > 0.5).to(x) * (2 * sure - 1) + 1 - sure)
    share = (x[..., layout.numbers] - layout.low) / (layout.high - layout.low).clamp_min(1e-6)
    numbers = torch.logit(share.clamp(1 - sure, sure))
    return layout.join(odds, flags, numbers)


def marginals(layout: Layout, public: Tensor, smoothing: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log shares of each category's values ``[g, m]`` and of 0 and 1 of each flag ``[2, f]``.

    Args:
        layout: of the records.
        public: records ``[n, d]``.
        smoothing: records added to each value, so that none is impossible.
    """
    counts = layout.grouped(public).sum(0) + smoothing
    shares = (counts / counts.clamp_min(0).sum(-1, keepdim=True)).clamp_min(0)
    ones = (public[:, layout.flags].sum(0) + smoothing) / (len(public) + 2 * smoothing)
    return shares.log(), torch.stack([1 - ones, ones]).log()


def prior_of(layout: Layout, public: Tensor) -> Callable[[Tensor], Tensor]:
    """Mean log probability ``[...]`` of the values of records ``[..., d]``, under the marginals.

    Of relaxed values the expectation. A number is normal with the public mean and deviation, up
    to a constant.
    """
    categories, flags = marginals(layout, public)
    mean = public[:, layout.numbers].mean(0)

    def log_probability(x: Tensor) -> Tensor:
        hot = layout.grouped(x)
        # Padding has probability 0 and log share -inf: 0 times that is nothing, not NaN.
        known = torch.isfinite(categories)
        total = torch.where(known, hot.where(known, 0.0) * categories.where(known, 0.0), 0.0)
        on = x[..., layout.flags]
        far = (x[..., layout.numbers] - mean) / layout.scale
        logs = total.sum((-2, -1)) + (on * flags[1] + (1 - on) * flags[0]).sum(-1)
        return (logs - 0.5 * far.square().sum(-1)) / layout.size

    return log_probability


def likeliest(layout: Layout, public: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """The record ``[d]`` that gets most values right of a random public one.

    The most frequent value of each category; of a number the middle of the values that an
    interval of ``tolerance`` to each side holds, where it holds most public records.
    """
    x = public.mean(0)
    for place, scale in zip(layout.numbers.tolist(), layout.scale.tolist(), strict=True):
        values = public[:, place].sort().values
        width = 2 * tolerance * scale
        stop = torch.searchsorted(values, values + width, right=True)
        first = (stop - torch.arange(len(values), device=values.device)).argmax()
        # Between those held, not at the edge of the tolerance where few values are far apart.
        x[place] = (values[first] + values[stop[first] - 1]) / 2
    return layout.project(x)
