"""Quantise what clients share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Tensor

from bench.contract import TrainingDefense
from defenses.common import adaptive


@dataclass(frozen=True)
class GradientQuantisation(TrainingDefense):
    """Share every parameter's gradient on a grid of few levels.

    One bit: the sign times the parameter's mean magnitude (Bernstein et al., ICML 2018, scaled as
    by Karimireddy et al., ICML 2019); a zero is sent as plus. More bits: ``2**bits - 1`` levels
    from minus to plus the parameter's largest magnitude, zero among them.

    Attributes:
        bits: bits per coordinate, 1 to 16; None is no defense.
        stochastic: round up or down at random so that the expectation is exact (QSGD, Alistarh et
            al., NIPS 2017, section 3, with the largest magnitude as scale); one bit then sends
            plus or minus the largest magnitude.
    """

    bits: Annotated[int, Ge(1), Le(16)] | None = 1
    stochastic: bool = False

    needs = frozenset({"steps"})
    adaptive_attacks = (*adaptive.BASIC, "sign_matching", "miface")
    paper = "Alistarh, Grubic, Li, Tomioka, Vojnovic, NIPS 2017; Bernstein et al., ICML 2018"
    cost = "a pass over each update"
    zero: ClassVar[Mapping[str, Any]] = {"bits": None}

    def share(self, update: Mapping[str, Tensor], rng: torch.Generator) -> Mapping[str, Tensor]:
        """The update on its grid."""
        if self.bits is None:
            return update
        return {k: self._round(v, self.bits, rng) for k, v in update.items()}

    def _round(self, v: Tensor, bits: int, rng: torch.Generator) -> Tensor:
        if bits == 1 and not self.stochastic:
            return torch.where(v >= 0, v.abs().mean(), -v.abs().mean())
        steps = 1 if bits == 1 else 2**bits - 2
        top = v.abs().max()
        position = (v / top.clamp_min(torch.finfo(v.dtype).tiny) + 1) / 2 * steps
        if self.stochastic:
            draw = torch.rand(v.shape, generator=rng, device=v.device, dtype=v.dtype)
            level = (position + draw).floor().clamp(0, steps)
        else:
            level = position.round()
        return (2 * level / steps - 1) * top
