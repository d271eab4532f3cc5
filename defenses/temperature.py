"""Scores at another temperature: a control, no protection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.contract import Positive, Query, ReleaseDefense
from defenses.common import adaptive
from defenses.common.answers import keep_label


@dataclass(frozen=True)
class Temperature(ReleaseDefense):
    """Answer ``p^(1/T)``, renormalised: the softmax of the log scores divided by T.

    It protects nothing. The map is monotone and invertible: whoever knows T raises the answer to
    the power T, renormalises, and has the model's own scores back to the last few bits; whoever
    does not sees the same order of classes and of records. Attacks that take a confidence at its
    word look weaker, which is why it stands here: a defense that does no better than this control
    has only rescaled the scores.

    Attributes:
        temperature: T, above 0; above 1 flattens, below 1 sharpens, 1 changes nothing.
    """

    temperature: Positive = 5.0

    adaptive_attacks = adaptive.SCORES
    paper = "Shokri, Stronati, Song, Shmatikov, S&P 2017 (arXiv 1610.05820): a higher temperature"
    cost = "calibration of the scores"
    zero: ClassVar[Mapping[str, Any]] = {"temperature": 1.0}

    def release(self, scores: Tensor, query: Query) -> Tensor:
        """Rescale scores ``[n, n_classes]``; the argmax of each row is kept."""
        if self.temperature == 1.0:
            return scores
        # In double: single precision answers a row differently with the size of its batch.
        rescaled = torch.softmax(scores.double().log() / self.temperature, dim=1)
        return keep_label(rescaled.to(scores.dtype), scores)
