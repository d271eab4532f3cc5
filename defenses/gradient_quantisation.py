"""Quantise what clients share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Tensor

from bench.contract import TrainingDefense


@dataclass(frozen=True)
class GradientQuantisation(TrainingDefense):
    """Share every parameter's gradient on a grid of few levels.

    With one bit, a coordinate is its sign times the mean magnitude of its parameter (Bernstein et
    al., ICML 2018, scaled as by Karimireddy et al., ICML 2019); zero counts as plus. With more bits
    there are ``2**bits - 1`` levels from minus to plus the largest magnitude of the parameter, zero
    among them.

    Attributes:
        bits: bits of each coordinate; null is no defense. Values worth a sweep are 1, 2, 4 and 8.
        stochastic: whether to round up or down at random so that the expectation is exact (QSGD,
            Alistarh et al., NIPS 2017, section 3, with the largest magnitude as scale). One bit is
            then plus or minus the largest magnitude.
    """

    bits: Annotated[int, Ge(1), Le(16)] | None = 1
    stochastic: bool = False

    needs = frozenset({"steps"})
    paper = "Alistarh, Grubic, Li, Tomioka, Vojnovic, NIPS 2017; Bernstein et al., ICML 2018"
    cost = "a pass over each update"
    zero: ClassVar[Mapping[str, Any]] = {"bits": None}

    def share(self, update: Mapping[str, Tensor], rng: torch.Generator) -> Mapping[str, Tensor]:
        """The update on its grid."""
        if self.bits is None:
            return update
        return {name: self._round(part, self.bits, rng) for name, part in update.items()}

    def _round(self, values: Tensor, bits: int, rng: torch.Generator) -> Tensor:
        if bits == 1 and not self.stochastic:
            return torch.where(values >= 0, values.abs().mean(), -values.abs().mean())
        steps = 1 if bits == 1 else 2**bits - 2
        largest = values.abs().max()
        position = (values / largest.clamp_min(torch.finfo(values.dtype).tiny) + 1) / 2 * steps
        if self.stochastic:
            draw = torch.rand(values.shape, generator=rng, device=values.device, dtype=values.dtype)
            level = (position + draw).floor().clamp(0, steps)
        else:
            level = position.round()
        return (2 * level / steps - 1) * largest
