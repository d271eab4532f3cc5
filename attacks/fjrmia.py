"""The first model inversion attack: marginal priors and the target's error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attacks.common.candidates import (
    Asked,
    ask_labels,
    ask_scores,
    break_ties,
    plan,
    value_prior,
)
from attacks.common.error_models import confusion, deviation, log_gaussian, public_errors, residual
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, Task

COUNT = 1e-3
"""Added to every cell of the confusion matrix, so that an answer seen nowhere excludes no value."""


@dataclass(frozen=True)
class Fjrmia(Attack):
    """FJRMIA: the likeliest value by its marginal prior and the target's error on public records.

    Fredrikson et al. (USENIX Security 2014, algorithm 1) score every candidate record by
    ``pi(y, f(x_v)) * prod_i p_i(x_i)``; with all other attributes known only the prior of the
    sensitive one is left: ``prior(v) * pi(y, f(x_v))``. It differs from
    :class:`attacks.attribute_map.AttributeMap` by that prior: nothing is learned from what else is
    known of the victim.

    - Classes, by labels (as generalised by Mehnaz et al., USENIX Security 2022, section 3.1):
      ``pi(y, y') = C[y, y']``, how often the target answers ``y'`` to records of class ``y``.
    - A number, by scores: ``pi`` is Gaussian, ``N(y - f(x_v); 0, sigma^2)``, with the standard
      deviation of the target's error, as for their warfarin model.

    Matrix and deviation are estimated by asking about the public records; the papers take them as
    published with the model.

    Attributes:
        access: ``labels`` of classes, ``scores`` of a number.
    """

    access: Literal["labels", "scores"] = "labels"

    goal = "attribute"
    modalities = frozenset({"table"})
    knowledge = frozenset({"K2", "K3", "K4"})
    paper = (
        "Fredrikson et al., USENIX Security 2014, algorithm 1; "
        "Mehnaz et al., USENIX Security 2022, section 3.1"
    )

    @property
    def adaptive_to(self) -> tuple[str, ...]:  # type: ignore[override]
        """By labels, releases that leave the label only: it models how the target errs."""
        return ("label_only", "rounding", "top_k") if self.access == "labels" else ()

    @property
    def tasks(self) -> tuple[Task, ...]:  # type: ignore[override]
        """Labels exist for classes, whose scores the attack has no use for."""
        return ("classification",) if self.access == "labels" else ("regression",)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Posterior ``[n, n_values]`` of every victim's value; see the base class.

        It is the prior of whom the budget does not allow to ask about.
        """
        asked = plan(exposure, knowledge, seed, public=True)
        log_error, info = (self._number if self.access == "scores" else self._classes)(
            exposure, knowledge, asked
        )
        prior = value_prior(knowledge)
        posterior = asked.whole(torch.softmax(prior.log() + log_error, 1), prior)
        return Reconstruction(break_ties(posterior, seed), info)

    def _classes(
        self, exposure: Exposure, knowledge: Knowledge, asked: Asked
    ) -> tuple[Tensor, dict[str, float]]:
        assert asked.public is not None
        counts = confusion(exposure, knowledge.card, asked.public) + COUNT
        matrix = counts / counts.sum(1, keepdim=True)
        accuracy = float(matrix.diagonal().mean())
        labels = ask_labels(exposure, asked)
        return matrix[asked.partial.y.unsqueeze(1), labels].log(), {"balanced_accuracy": accuracy}

    def _number(
        self, exposure: Exposure, knowledge: Knowledge, asked: Asked
    ) -> tuple[Tensor, dict[str, float]]:
        assert asked.public is not None
        sigma = deviation(public_errors(exposure, "regression", asked.public))
        error = residual(ask_scores(exposure, knowledge, asked), asked.partial.y)
        return log_gaussian(error, sigma), {"sigma": sigma}
