"""Label-only answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from bench.contract import Query, ReleaseDefense
from bench.contract.access import Access


@dataclass(frozen=True)
class LabelOnly(ReleaseDefense):
    """Answer the predicted class and no score.

    A deployment that would have offered scores offers labels instead. Somebody who holds the
    weights computes the scores from them, so nothing changes there.
    """

    paper = "Fredrikson, Jha, Ristenpart, CCS 2015; attacked by Kahla et al., CVPR 2022"
    cost = "no scores for customers"
    tunable: ClassVar[bool] = False

    def offered(self, access: Access) -> Access:
        """``labels`` where the deployment offered scores; any other access is unchanged."""
        return "labels" if access == "scores" else access

    def release(self, scores: Tensor, query: Query) -> Tensor:
        """The one-hot row of each record's largest score, ``[n, n_classes]``."""
        return one_hot(torch.argmax(scores, dim=1), scores.shape[1]).to(scores.dtype)
