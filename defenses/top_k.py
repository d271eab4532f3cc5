"""Top-k truncation of the released scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.contract import Count, Query, ReleaseDefense, require


@dataclass(frozen=True)
class TopK(ReleaseDefense):
    """Answer the k largest scores of a record and 0 for the others.

    Attributes:
        k: number of scores that are kept, at most the number of classes; null keeps all and is no
            defense. Values worth a sweep are 1, 3, 5 and 10.
        renormalise: whether the kept scores are divided by their sum, which hides how much was cut.
    """

    k: Count | None = 1
    renormalise: bool = False

    paper = "Yang, Zhang, Chang, Liang, CCS 2019 (arXiv 1902.08552), truncated predictions"
    cost = "no scores beyond the best"
    zero: ClassVar[Mapping[str, Any]] = {"k": None}

    def check_classes(self, n_classes: int) -> None:
        """Raise UserError where more scores would be kept than there are classes."""
        require(
            self.k is None or self.k <= n_classes,
            f"TopK.k is {self.k}, but the data set has {n_classes} classes; give at most "
            f"{n_classes}.",
        )

    @property
    def normalised(self) -> bool:
        """What is cut is missing from the sum, unless the rest is divided by its own."""
        return self.k is None or self.renormalise

    def release(self, scores: Tensor, query: Query) -> Tensor:
        """Keep the k largest of each row of scores ``[n, n_classes]``; ties keep the lower class.

        Raises:
            UserError: k exceeds the number of classes.
        """
        if self.k is None:
            return scores
        self.check_classes(scores.shape[1])
        # A stable sort, unlike torch.topk, breaks ties as argmax does: the lowest index first.
        order = torch.sort(scores, dim=1, descending=True, stable=True).indices[:, : self.k]
        kept = torch.zeros_like(scores).scatter(1, order, scores.gather(1, order))
        return kept / kept.sum(1, keepdim=True) if self.renormalise else kept
