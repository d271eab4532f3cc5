"""Confidence of the true label as a score of a sensitive value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attacks.common.candidates import ask_scores, break_ties, likelihood, plan
from bench.contract import Attack, Exposure, Knowledge, Reconstruction


@dataclass(frozen=True)
class BlackBox(Attack):
    """BB: how sure the target is of the true label, ``p(y | x_v)``, for every candidate value.

    Jayaraman and Evans (CCS 2022, section 4.1). No auxiliary data. Their BB.IP multiplies it with
    the imputer's probability: that is :class:`attacks.attribute_map.AttributeMap` by scores with
    weight 1 and a smoothing towards 0, so it does not stand here again.

    Of a numeric attribute, whose rows are read as distributions, rows are divided by their sum.

    Attributes:
        access: ``scores``.
    """

    access: Literal["scores"] = "scores"

    goal = "attribute"
    modalities = frozenset({"table"})
    knowledge = frozenset({"K3", "K4"})
    paper = "Jayaraman and Evans, CCS 2022, section 4.1 (BB)"

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Confidence ``[n, n_values]`` in [0, 1]; see the base class.

        It is the same for every value of whom the budget does not allow to ask about.
        """
        asked = plan(exposure, knowledge, seed)
        p = likelihood(ask_scores(exposure, knowledge, asked), asked.partial.y)
        p = asked.whole(p, p.new_tensor(1 / p.shape[1]))
        if asked.sensitive.numeric:
            p = (p + 1e-12) / (p + 1e-12).sum(1, keepdim=True)
        return Reconstruction(break_ties(p, seed))
