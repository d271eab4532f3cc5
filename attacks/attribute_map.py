"""Maximum a posteriori attribute inference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from attacks.common.candidates import (
    Asked,
    ask_labels,
    ask_scores,
    break_ties,
    imputed,
    likelihood,
    plan,
)
from attacks.common.error_models import confusion, deviation, log_gaussian, public_errors, residual
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, Task
from bench.contract.options import NonNegative, Positive


@dataclass(frozen=True)
class AttributeMap(Attack):
    """MAP attribute inference: imputation times what the target says of each candidate value.

    ``score(v) = p(v | known, y) * L(v)^weight``, normalised over the values. The imputer is the
    prior of Fredrikson et al. (USENIX Security 2014, algorithm 1), which they take from marginals;
    conditioning it on everything known makes it BB.IP of Jayaraman and Evans (CCS 2022, section
    4.1), so that the attack differs from the imputation baseline by the target's answer alone.

    With scores, ``L(v) = (p(y | x_v) + smoothing) / (1 + smoothing * n_classes)``: the confidence
    of the true label (Yeom et al., CSF 2018, section 4), mixed with an uninformative answer. With
    labels, ``L(v) = C[y, yhat(x_v)]``, the target's confusion matrix (FJRMIA: Fredrikson 2014;
    Mehnaz et al., USENIX Security 2022, section 3.1), estimated by querying the public records.

    Of a predicted number, ``L(v) = (exp(-e_v^2 / 2 sigma^2) + smoothing) / (1 + smoothing)`` with
    the error ``e_v = y - f(x_v)``: the Gaussian error model of Fredrikson et al. 2014, whose
    standard deviation is that of the target's errors on the public records.

    The weight is the learning rate of a generalised posterior. It cannot be calibrated on public
    records: on these, which the target has not seen, the best weight is near 0, because the
    imputer already knows ``y``; members are answered differently, which is the leak.

    Where an answer is the same for every candidate (withheld, rounded away) the score is the
    imputer's. Scores that are all 0 or 1 are labels in disguise and are read as labels: a
    confidence of 1 that says nothing must not be taken at its word.

    Attributes:
        access: ``scores`` or ``labels`` (classes only).
        weight: exponent of the likelihood; 0 is imputation, 1 is MAP.
        smoothing: of the score likelihood; above 0, so no candidate is ever excluded by one
            answer. Labels: pseudo-count of every column of the confusion matrix.
    """

    access: Literal["scores", "labels"] = "scores"
    weight: NonNegative = 1.0
    smoothing: Positive = 0.05

    goal = "attribute"
    modalities = frozenset({"table"})
    knowledge = frozenset({"K2", "K3", "K4"})
    paper = (
        "Fredrikson et al., USENIX Security 2014, algorithm 1; "
        "Jayaraman and Evans, CCS 2022, section 4.1 (BB.IP)"
    )

    @property
    def adaptive_to(self) -> tuple[str, ...]:  # type: ignore[override]
        """A known temperature is undone, and how labels err is learned."""
        if self.access == "labels":
            return ("label_only", "rounding", "top_k")
        return ("rounding", "temperature")

    @property
    def tasks(self) -> tuple[Task, ...]:  # type: ignore[override]
        """Labels exist for classes only."""
        return ("classification", "regression") if self.access == "scores" else ("classification",)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Posterior ``[n, n_values]`` of every victim's value; see the base class.

        It is the imputer's of whom the budget does not allow to ask about.
        """
        asked, likely = self._likelihood(exposure, knowledge, seed)
        prior = imputed(knowledge)
        log_posterior = prior[asked.rows].log() + self.weight * likely.log()
        differ = (likely.amax(1) > likely.amin(1)).double()
        return Reconstruction(
            break_ties(asked.whole(torch.softmax(log_posterior, 1), prior), seed),
            {"answers_that_differ": float(differ.mean()) if asked.count else 0.0},
        )

    def _likelihood(
        self, exposure: Exposure, knowledge: Knowledge, seed: int
    ) -> tuple[Asked, Tensor]:
        """Who was asked about, and ``L(v)`` of them, positive, float64 ``[count, n_values]``."""
        asked = plan(exposure, knowledge, seed, public=True)
        card, public = knowledge.card, asked.public
        assert public is not None
        if knowledge.task == "regression":
            error = residual(ask_scores(exposure, knowledge, asked), asked.partial.y)
            scale = deviation(public_errors(exposure, knowledge.task, public))
            likely = log_gaussian(error, scale).exp()
            return asked, (likely + self.smoothing) / (1.0 + self.smoothing)
        if self.access == "scores":
            scores = ask_scores(exposure, knowledge, asked)
            if not bool(((scores == 0) | (scores == 1)).all()):
                # No confusion matrix is needed: what was kept back for it goes to more victims.
                more = asked.next(exposure)
                if more.count:
                    scores = torch.cat([scores, ask_scores(exposure, knowledge, more)])
                    asked = replace(asked, count=asked.count + more.count)
                p = likelihood(scores, asked.partial.y)
                return asked, (p + self.smoothing) / (1.0 + self.smoothing * card.n_classes)
            labels = scores.argmax(2)
        else:
            labels = ask_labels(exposure, asked)
        matrix = self._confusion(confusion(exposure, card, public))
        return asked, matrix[asked.partial.y.unsqueeze(1), labels]

    def _confusion(self, counts: Tensor) -> Tensor:
        """``C[y, yhat]``: how likely the true label is, given the predicted one.

        A prediction that is never or rarely made is taken to say little: it leaves the label's
        share among the public records.

        Args:
            counts: public records of every true and predicted class.
        """
        share = (counts.sum(1, keepdim=True) + 1) / (counts.sum() + len(counts))
        counts = counts + self.smoothing * share
        return counts / counts.sum(0, keepdim=True)
