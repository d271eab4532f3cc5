"""The prior as a baseline of attribute inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attacks.common.candidates import attacked, break_ties, value_prior
from bench.contract import Attack, Exposure, Knowledge, Reconstruction


@dataclass(frozen=True)
class Majority(Attack):
    """Every victim has the commonest value of the public records.

    Of the victims' records only their number is read.

    The majority-class baseline beside which Jayaraman and Evans (CCS 2022) and Mehnaz et al.
    (USENIX Security 2022) show their attacks: right as often as that value is common, with an AUC
    of 1/2.

    Attributes:
        access: ``none``.
    """

    access: Literal["none"] = "none"

    goal = "attribute"
    modalities = frozenset({"table"})
    tasks = ("classification", "regression")
    knowledge = frozenset({"K2", "K3"})
    paper = "Jayaraman and Evans, CCS 2022 (majority class)"

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """The shares of the values, the same row ``[n, n_values]`` for everyone."""
        _, partial = attacked(knowledge)
        shares = break_ties(value_prior(knowledge).unsqueeze(0), seed)
        return Reconstruction(shares.repeat(len(partial), 1))
