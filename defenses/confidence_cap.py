"""A cap on the released confidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt, Le
from torch import Tensor

from bench.contract import Query, ReleaseDefense, Share, require
from defenses.common.answers import keep_label


@dataclass(frozen=True)
class ConfidenceCap(ReleaseDefense):
    """Never answer a score above a cap, and never tell small scores apart.

    The mass above ``cap`` is spread over the other classes in proportion to their scores; none of
    them may exceed the cap either. All answers that are at least as sure as the cap look alike at
    the top, so an attack that climbs the confidence of a class meets a plateau there. With two
    classes nothing is left above the cap; with more, the ratios of the other scores are still
    answered. Equal shares would not help: the smallest answer would give the share away, and with
    it the confidence.

    ``below`` is the opposite, a cut-off that answers only high confidences: scores under it are
    replaced by their mean. The version of the Adversarial Robustness Toolbox sets them to 0, which
    makes class 0 the label of a record that no class is sure of; here the label keeps its score.

    Attributes:
        cap: largest score that is answered, above 1 / n_classes; 1 caps nothing. Values worth a
            sweep are 0.6, 0.7, 0.8 and 0.9.
        below: scores under it are answered as their mean; 0 answers all of them.
    """

    cap: Annotated[float, Gt(0), Le(1)] = 0.8
    below: Share = 0.0

    paper = (
        "Elementary. 'below' is the high-confidence cut-off of the Adversarial Robustness Toolbox "
        "(HighConfidence), with the label kept"
    )
    cost = "surest answers less sure than they are"
    zero: ClassVar[Mapping[str, Any]] = {"cap": 1.0, "below": 0.0}

    def check_classes(self, n_classes: int) -> None:
        """Raise UserError where the scores of that many classes cannot all be under the cap."""
        require(
            self.cap * n_classes > 1.0,
            f"ConfidenceCap.cap is {self.cap}, but the data set has {n_classes} classes; "
            f"give more than {1.0 / n_classes:.4g}.",
        )

    def release(self, scores: Tensor, query: Query) -> Tensor:
        """Cut and cap scores ``[n, n_classes]``.

        Raises:
            UserError: the cap is impossible for the number of classes.
        """
        self.check_classes(scores.shape[1])
        rows = scores.double()
        if self.below > 0.0:
            small = rows < self.below
            small.scatter_(1, scores.argmax(1, keepdim=True), False)
            mean = (rows * small).sum(1, keepdim=True) / small.sum(1, keepdim=True).clamp_min(1)
            rows = torch.where(small, mean, rows)
        surer = rows.amax(1, keepdim=True) > self.cap
        changed = keep_label(torch.where(surer, self._capped(rows), rows).to(scores.dtype), scores)
        return torch.where(surer | (self.below > 0.0), changed, scores)

    def _capped(self, rows: Tensor) -> Tensor:
        """``min(p f, cap)`` with the f that makes each row sum to 1."""
        n = rows.shape[1]
        ordered = rows.sort(1, descending=True).values
        at_cap = torch.arange(n, device=rows.device)
        # With the first m classes at the cap, the other n - m are multiplied by factor[m]; the
        # least possible m is searched.
        left = (1.0 - self.cap * at_cap).clamp_min(0.0)
        rest = ordered.flip(1).cumsum(1).flip(1)
        factor = left / rest.clamp_min(1e-300)
        count = (ordered * factor <= self.cap).double().argmax(1, keepdim=True)
        capped = (rows * factor.gather(1, count)).clamp_max(self.cap)
        # Classes of score 0 have no proportions: they share what is left.
        nothing = rest.gather(1, count) == 0
        share = left[count] / (n - count)
        return torch.where(nothing, torch.where(rows == 0, share, self.cap), capped)
