"""Rounding of the released scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Tensor

from bench.contract import Query, ReleaseDefense


@dataclass(frozen=True)
class Rounding(ReleaseDefense):
    """Answer scores to a fixed number of decimals (Fredrikson et al. CCS 2015, section 6).

    Rounding can change the label that the scores name: two scores become equal, or many small
    scores all become 0. There the label's score is answered one unit of the last decimal higher,
    because a deployment answers the label anyway. Rounded scores need not sum to 1.

    Attributes:
        decimals: digits kept after the point; null keeps all and is no defense. Values worth a
            sweep are 0, 1, 2 and 3.
    """

    decimals: Annotated[int, Ge(0), Le(7)] | None = 1

    paper = "Fredrikson, Jha, Ristenpart, CCS 2015, section 6"
    cost = "coarser scores"
    zero: ClassVar[Mapping[str, Any]] = {"decimals": None}

    @property
    def normalised(self) -> bool:
        """Rounded scores need not sum to 1."""
        return self.decimals is None

    def release(self, scores: Tensor, query: Query) -> Tensor:
        """Round scores ``[n, n_classes]`` half to even; the best class stays the only best one."""
        if self.decimals is None:
            return scores
        step = 10.0**-self.decimals
        rounded = torch.round(scores, decimals=self.decimals)
        label = scores.argmax(1, keepdim=True)
        others = rounded.scatter(1, label, -1.0).max(1, keepdim=True).values
        tied = rounded.gather(1, label) <= others
        best = torch.where(tied, others + step, rounded.gather(1, label))
        # Of two scores that are level neither is above a half: one step more stays below 1.
        return rounded.scatter(1, label, torch.round(best, decimals=self.decimals))
