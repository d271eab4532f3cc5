"""The no-model baseline of attribute inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.contract import Attack, Exposure, Knowledge, Reconstruction


@dataclass(frozen=True)
class Imputation(Attack):
    """What the imputer says without asking the model (IP of Jayaraman and Evans, CCS 2022).

    How much the attacker knows of the population is ``prior.n_aux``, public records to learn from:
    50, 500 and 5,000 in the paper, ``imputation_sizes`` here.

    It holds the same records and the same prior as the attacks it is the bar for.

    Attributes:
        access: ``none``.
    """

    access: Literal["none"] = "none"

    goal = "attribute"
    modalities = frozenset({"table"})
    tasks = ("classification", "regression")
    knowledge = frozenset({"K2", "K3"})
    paper = "Jayaraman and Evans, CCS 2022, section 3"

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """The imputer's probabilities ``[n, n_values]``."""
        return Reconstruction(
            knowledge.prior["probabilities"], {"winner": int(knowledge.prior["winner"])}
        )
