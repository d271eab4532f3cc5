"""Baseline of deletions: what the public records say of every column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attacks.common.relaxation import likeliest
from bench.contract import Attack, Exposure, Knowledge, Reconstruction
from bench.contract.columns import Layout


@dataclass(frozen=True)
class TypicalRecord(Attack):
    """What can be said of a deleted record without the models (PROTOCOL 2.7).

    Attributes:
        access: ``none``.
        guess: ``likeliest``: every column's most frequent value; of a number the middle of the
            fullest interval that the metric tolerates. ``mean``: the public mean, the baseline
            "Avg" of Bertran et al. (NeurIPS 2024).
    """

    access: Literal["none"] = "none"
    guess: Literal["likeliest", "mean"] = "likeliest"

    goal = "deleted_record"
    modalities = frozenset({"table"})
    tasks = ("classification", "regression")
    knowledge = frozenset({"K2"})
    paper = "baseline (PROTOCOL 2.7); Bertran et al., NeurIPS 2024"

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """The same record ``[1, d]`` for every victim; no labels."""
        public = knowledge.public.x.to(device)
        if self.guess == "mean":
            return Reconstruction(public.mean(0, keepdim=True))
        return Reconstruction(likeliest(Layout.of(knowledge.card, public), public).view(1, -1))
