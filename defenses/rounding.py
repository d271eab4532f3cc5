"""Rounding of the released scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Tensor

from bench.contract import Query, ReleaseDefense, require


@dataclass(frozen=True)
class Rounding(ReleaseDefense):
    """Answer scores to some decimals, or to a step (Fredrikson et al. CCS 2015, section 6).

    Rounding can change the label that the scores name: two scores become equal, or many small
    scores all become 0. There the label's score is answered one unit of the last decimal higher,
    because a deployment answers the label anyway. Rounded scores need not sum to 1.

    Attributes:
        decimals: digits kept after the point; null, with ``step`` null too, keeps all and is no
            defense. Values worth a sweep are 0, 1, 2 and 3.
        step: scores are multiples of it, such as 0.05, instead of having ``decimals``, which is
            null then; a whole number of steps must make 1.
    """

    decimals: Annotated[int, Ge(0), Le(7)] | None = 1
    step: Annotated[float, Ge(1e-7), Le(0.5)] | None = None

    paper = "Fredrikson, Jha, Ristenpart, CCS 2015, section 6"
    cost = "coarser scores"
    zero: ClassVar[Mapping[str, Any]] = {"decimals": None, "step": None}

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.decimals is None or self.step is None,
            "both decimals and step are given; set one and leave the other null.",
        )
        require(
            self.step is None or math.isclose(self._steps * self.step, 1, rel_tol=1e-6),
            f"step is {self.step}, of which no whole number makes 1; give one such as 0.05.",
        )

    @property
    def _steps(self) -> int:
        """How many steps make 1."""
        assert self.step is not None
        return round(1 / self.step)

    @property
    def normalised(self) -> bool:
        """Rounded scores need not sum to 1."""
        return self.decimals is None and self.step is None

    def release(self, scores: Tensor, query: Query) -> Tensor:
        """Round scores ``[n, n_classes]`` half to even; the best class stays the only best one."""
        label = scores.argmax(1, keepdim=True)
        if self.step is not None:
            counted = torch.round(scores.double() * self._steps)
            return (_named(counted, label, 1.0) / self._steps).to(scores.dtype)
        if self.decimals is None:
            return scores
        rounded = torch.round(scores, decimals=self.decimals)
        return torch.round(_named(rounded, label, 10.0**-self.decimals), decimals=self.decimals)


def _named(rounded: Tensor, label: Tensor, step: float) -> Tensor:
    """Rounded scores ``[n, n_classes]`` of which that of ``label`` ``[n, 1]`` is the only best.

    Of two scores that are level neither is above a half: one step more is at most 1.
    """
    others = rounded.scatter(1, label, -1.0).max(1, keepdim=True).values
    own = rounded.gather(1, label)
    return rounded.scatter(1, label, torch.where(own <= others, others + step, own))
