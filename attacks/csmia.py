"""Confidence-score-based model inversion attribute inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from attacks.common.candidates import ask_scores, cases, plan
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, generator


@dataclass(frozen=True)
class CSMIA(Attack):
    """CSMIA: compare the target's confidence under every candidate value with the true label.

    The three cases of Mehnaz et al. (USENIX Security 2022, section 4.1): exactly one value makes
    the target predict the true label: that value (1); several do: the one with the highest
    confidence (2); none does: the one with the lowest (3); ties are broken at random. One signed
    confidence per candidate, ``+max_c p_c`` where the predicted label is the true one and
    ``-max_c p_c`` where it is not, has its maximum exactly there; its margin between the values
    ranks case 1 above cases 2 and 3, as the authors' own confidence in the cases does.

    As published it uses no auxiliary data, so it may score below imputation; the attack that
    multiplies confidence with an imputer is :class:`attacks.attribute_map.AttributeMap`.

    Attributes:
        access: ``scores``.
    """

    access: Literal["scores"] = "scores"

    goal = "attribute"
    modalities = frozenset({"table"})
    knowledge = frozenset({"K3", "K4"})
    paper = "Mehnaz et al., USENIX Security 2022, section 4.1"

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Signed confidence ``[n, n_values]`` in [-1, 1]; see the base class.

        It is 0 of whom the budget does not allow to ask about.
        """
        asked = plan(exposure, knowledge, seed)
        scores = torch.nan_to_num(ask_scores(exposure, knowledge, asked).double())
        confidence, predicted = scores.max(2)
        right = predicted == asked.partial.y.unsqueeze(1)
        signed = torch.where(right, confidence, -confidence)
        signed = asked.whole(signed, signed.new_zeros(()))
        # Below the resolution of a float32 answer: it decides between equal candidates only.
        ties = torch.rand(signed.shape, generator=generator(seed), dtype=torch.float64)
        values = signed + 1e-9 * ties.to(signed.device)
        return Reconstruction(values, cases(right))
