"""The first model inversion attack: marginal priors and the target's error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attacks.common.candidates import ask_labels, ask_scores, attacked, break_ties, value_prior
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
    knowledge = frozenset({"K2", "K3"})
    paper = (
        "Fredrikson et al., USENIX Security 2014, algorithm 1; "
        "Mehnaz et al., USENIX Security 2022, section 3.1"
    )
    adaptive_to = ("label_only",)

    @property
    def tasks(self) -> tuple[Task, ...]:  # type: ignore[override]
        """Labels exist for classes, whose scores the attack has no use for."""
        return ("classification",) if self.access == "labels" else ("regression",)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Posterior ``[n, n_values]`` of every victim's value; see the base class."""
        log_error, info = (self._number if self.access == "scores" else self._classes)(
            exposure, knowledge
        )
        posterior = torch.softmax(value_prior(knowledge).log() + log_error, 1)
        return Reconstruction(break_ties(posterior, seed), info)

    def _classes(self, exposure: Exposure, knowledge: Knowledge) -> tuple[Tensor, dict[str, float]]:
        _, partial = attacked(knowledge)
        counts = confusion(exposure, knowledge) + COUNT
        matrix = counts / counts.sum(1, keepdim=True)
        accuracy = float(matrix.diagonal().mean())
        labels = ask_labels(exposure, knowledge)
        return matrix[partial.y.unsqueeze(1), labels].log(), {"balanced_accuracy": accuracy}

    def _number(self, exposure: Exposure, knowledge: Knowledge) -> tuple[Tensor, dict[str, float]]:
        _, partial = attacked(knowledge)
        sigma = deviation(public_errors(exposure, knowledge))
        error = residual(ask_scores(exposure, knowledge), partial.y)
        return log_gaussian(error, sigma), {"sigma": sigma}
