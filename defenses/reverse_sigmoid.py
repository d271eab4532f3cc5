"""Reverse sigmoid: deceptive perturbation of the released scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt, Le
from torch import Tensor

from bench.contract import Probability, Query, ReleaseDefense
from defenses.common.answers import Argmax, keep_label, normalised


@dataclass(frozen=True)
class ReverseSigmoid(ReleaseDefense):
    """Take an S-curve of each score away from it: ``y - beta (s(gamma s^-1(y)) - 1/2)``.

    The perturbation is odd around 1/2 and steepest at 0 and 1, so the answer first rises with the
    score and then falls: with two classes and the defaults, .9999 and .792 are both answered as
    .746. Somebody who inverts the map has two sources to choose from. Where many classes have a
    score near 0, all of them are raised by up to ``beta / 2``, and one of them often overtakes a
    label that is not sure: of rows of 40 classes with logits from N(0, 4), 2 % change their argmax
    at ``beta=0.5``, 20 % at 0.7 and 57 % at 1 (``gamma=0.2``). That either costs accuracy or is
    prevented; ``argmax`` says which.

    Attributes:
        beta: size of the perturbation; 0 is no defense, and above 1 scores would become negative.
            Values worth a sweep are 0.3, 0.5, 0.7 and 1.
        gamma: slope; at 1 the answer is ``(1 - beta) y + beta / 2``, normalised, and above 1 scores
            would become negative.
        argmax: with ``kept`` the label's score changes places with the one that overtook it; with
            ``charged`` the answered label is that of the answered scores.
    """

    beta: Probability = 0.7
    gamma: Annotated[float, Gt(0), Le(1)] = 0.2
    argmax: Argmax = "kept"

    paper = (
        "Lee, Edwards, Molloy, Su, 'Defending against neural network model stealing attacks using "
        "deceptive perturbations', IEEE SPW 2019 (arXiv 1806.00054)"
    )
    cost = "scores that mislead every customer"
    zero: ClassVar[Mapping[str, Any]] = {"beta": 0.0}

    @property
    def relabels(self) -> bool:
        """Whether the perturbation may change the label."""
        return self.argmax == "charged"

    def release(self, scores: Tensor, query: Query) -> Tensor:
        """Perturb scores ``[n, n_classes]``; rows sum to 1."""
        if self.beta == 0.0:
            return scores
        # In double precision: in single precision an answer depends on the size of its batch.
        y = scores.double().clamp(0.0, 1.0)
        taken = self.beta * (torch.sigmoid(self.gamma * torch.logit(y)) - 0.5)
        answer = normalised((y - taken).clamp_min(0.0)).to(scores.dtype)
        return answer if self.relabels else keep_label(answer, scores)
