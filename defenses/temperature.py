"""Scores at another temperature: a control, no protection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.contract import Positive, Query, ReleaseDefense
from defenses.common.answers import keep_label


@dataclass(frozen=True)
class Temperature(ReleaseDefense):
    """Answer ``p^(1/T)``, normalised: the softmax of the log scores divided by T.

    It protects nothing. The map is monotone and can be inverted: somebody who knows T raises the
    answer to the power T, normalises it, and has the scores of the model back except for the last
    few bits. Somebody who does not know T still sees the same order of classes and of records.
    Attacks that trust a confidence look weaker, which is why this control stands here: a defense
    that does no better has only rescaled the scores.

    Attributes:
        temperature: T; above 1 it flattens the scores, below 1 it sharpens them, 1 changes nothing.
            Values worth a sweep are 0.5, 2, 5 and 20.
    """

    temperature: Positive = 5.0

    paper = "Shokri, Stronati, Song, Shmatikov, S&P 2017 (arXiv 1610.05820): a higher temperature"
    cost = "calibration of the scores"
    zero: ClassVar[Mapping[str, Any]] = {"temperature": 1.0}

    def release(self, scores: Tensor, query: Query) -> Tensor:
        """Rescale scores ``[n, n_classes]``; the argmax of each row is kept."""
        if self.temperature == 1.0:
            return scores
        # In double precision: in single precision an answer depends on the size of its batch.
        rescaled = torch.softmax(scores.double().log() / self.temperature, dim=1)
        return keep_label(rescaled.to(scores.dtype), scores)
