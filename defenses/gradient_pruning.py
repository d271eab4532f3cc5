"""Prune what clients share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.contract import Share, TrainingDefense


@dataclass(frozen=True)
class GradientPruning(TrainingDefense):
    """Set the smallest coordinates of a client's update to zero (Zhu et al. 2019, section 5).

    The smallest are those of the whole update with the smallest magnitude. Lin et al. (ICLR 2018)
    also keep what was cut for later rounds; a client of a single round has no later one, and the
    target is trained without it.

    Attributes:
        removed: share of the coordinates that become zero; 0 is no defense. Values worth a sweep
            are 0.5, 0.7, 0.9 and 0.99.
    """

    removed: Share = 0.9

    needs = frozenset({"steps"})
    paper = "Zhu, Liu, Han, NeurIPS 2019, section 5; Lin, Han, Mao, Wang, Dally, ICLR 2018"
    cost = "a sort of each update"
    zero: ClassVar[Mapping[str, Any]] = {"removed": 0.0}

    def share(self, update: Mapping[str, Tensor], rng: torch.Generator) -> Mapping[str, Tensor]:
        """The update with its smallest coordinates at zero."""
        size = sum(part.numel() for part in update.values())
        cut = round(self.removed * size)
        if cut == 0:
            return update
        magnitude = torch.cat([part.abs().flatten() for part in update.values()])
        least = magnitude.kthvalue(min(cut, size - 1)).values
        return {name: torch.where(part.abs() > least, part, 0.0) for name, part in update.items()}
