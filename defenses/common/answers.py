"""What defenses that change answers have in common: valid rows, and noise per record."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from bench.contract import Query
from bench.contract.serving import digest

_GOLDEN = -7046029254386353131
"""0x9E3779B97F4A7C15 as int64: the step of splitmix64."""

Argmax = Literal["kept", "charged"]
"""Whether the answered label stays the model's (``kept``) or may change (``charged``)."""


def normalised(rows: Tensor) -> Tensor:
    """Rows of numbers of at least 0, divided by their sum; a row of zeros becomes uniform."""
    total = rows.sum(1, keepdim=True)
    return torch.where(total > 0, rows / total.clamp_min(1e-300), 1.0 / rows.shape[1])


def keep_label(released: Tensor, scores: Tensor) -> Tensor:
    """The scores ``released``, changed so that they have the argmax of ``scores``.

    Where another class came first, the two change places. Where another class was level with the
    label, the label is answered one unit of the last place higher.

    Args:
        released: changed scores ``[n, n_classes]``.
        scores: scores of the model ``[n, n_classes]``.
    """
    label = scores.argmax(1, keepdim=True)
    first = released.argmax(1, keepdim=True)
    best, own = released.gather(1, first), released.gather(1, label)
    swapped = released.scatter(1, first, own).scatter(1, label, best)
    above = torch.nextafter(best, torch.full_like(best, torch.inf))
    alone = (swapped == best).sum(1, keepdim=True) == 1
    return swapped.scatter(1, label, torch.where(alone, best, above))


def secret(query: Query, salt: int) -> Tensor:
    """A 64-bit number per record that nobody without the key can compute, int64 ``[n]``.

    Args:
        query: gives the key and the records.
        salt: number of the defense that asks, so that two defenses in a stack do not share their
            noise.
    """
    key = _mix(torch.tensor((query.key << 8) + salt, device=query.x.device))
    return _mix(digest(query.x) ^ key)


def uniform(secrets: Tensor, draws: int, start: int = 0) -> Tensor:
    """Numbers in (0, 1], float64 ``[n, draws]``; those of a record depend on its secret only.

    They are the splitmix64 stream of each secret (Steele, Lea, Flood, OOPSLA 2014), read at
    counters ``start`` to ``start + draws``.
    """
    counter = torch.arange(start + 1, start + draws + 1, device=secrets.device)
    bits = _mix(secrets.unsqueeze(1) + counter * _GOLDEN)
    return (_shift(bits, 11).double() + 1.0) * 2.0**-53


def gaussian(secrets: Tensor, draws: int) -> Tensor:
    """Standard normal numbers, float64 ``[n, draws]`` (Box and Muller 1958)."""
    radius = (-2.0 * uniform(secrets, draws).log()).sqrt()
    return radius * torch.cos(2.0 * math.pi * uniform(secrets, draws, start=draws))


def _shift(bits: Tensor, by: int) -> Tensor:
    """Shift right and fill with zeros, as it is done with a number without sign."""
    shifted: Tensor = (bits >> by) & (2 ** (64 - by) - 1)
    return shifted


def _mix(bits: Tensor) -> Tensor:
    """The output function of splitmix64; products overflow on purpose."""
    bits = (bits ^ _shift(bits, 30)) * -4658895280553007687
    bits = (bits ^ _shift(bits, 27)) * -7723592293110705685
    return bits ^ _shift(bits, 31)
