"""Attribute inference from the distribution of the target's loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from attacks.common.candidates import ask_scores, break_ties, plan, value_prior
from attacks.common.error_models import (
    average,
    deviation,
    log_gaussian,
    log_loss,
    public_errors,
    residual,
)
from bench.contract import Attack, Exposure, Knowledge, Reconstruction
from bench.contract.options import Positive


@dataclass(frozen=True)
class Yeom(Attack):
    """The value whose loss is likeliest: ``argmax_v prior(v) * f_A(error(x_v, y))``.

    Yeom et al. (CSF 2018, section 4), the general attribute inference adversary, which holds a
    guess ``f_A`` of the density of the target's error. As in their analysis ``f_A`` is a centred
    Gaussian. The error of a predicted number is ``y - f(x_v)`` with the standard deviation of the
    errors; that of a class is the log loss, whose scale is the mean loss, as Jayaraman and Evans
    (CCS 2022, section 3) apply the attack to classifiers.

    This is the variant that knows the error's distribution from the population: it is estimated by
    asking about the public records. Set ``scale`` for the variant that knows the error on the
    training records, which the paper takes as published with the model; it is smaller, and the
    attack stronger on members. Of a predicted number, with the public scale, the attack is
    :class:`attacks.fjrmia.Fjrmia` to the digit: the paper starts from it. (The adversary of
    section 5, which asks a membership oracle, is :class:`attacks.membership.Membership`.)

    Attributes:
        access: ``scores``.
        scale: of the error; None: as on the public records.
    """

    access: Literal["scores"] = "scores"
    scale: Positive | None = None

    goal = "attribute"
    modalities = frozenset({"table"})
    tasks = ("classification", "regression")
    knowledge = frozenset({"K2", "K3", "K4"})
    paper = "Yeom et al., CSF 2018, section 4 (general adversary)"

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Posterior ``[n, n_values]`` of every victim's value; see the base class.

        It is the prior of whom the budget does not allow to ask about.
        """
        number, scale = knowledge.task == "regression", self.scale
        asked = plan(exposure, knowledge, seed, public=scale is None)
        if scale is None:
            assert asked.public is not None
            errors = public_errors(exposure, knowledge.task, asked.public)
            scale = deviation(errors) if number else average(errors)
        answers = ask_scores(exposure, knowledge, asked)
        error = (residual if number else log_loss)(answers, asked.partial.y)
        prior = value_prior(knowledge)
        posterior = asked.whole(torch.softmax(prior.log() + log_gaussian(error, scale), 1), prior)
        return Reconstruction(break_ties(posterior, seed), {"scale": scale})
