"""Baseline of training-record leakage: public records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attacks.common.draws import dealt
from attacks.common.latent import require_classes
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, generator
from bench.contract.options import Count


@dataclass(frozen=True)
class PublicRecords(Attack):
    """Random public records, as many as an attack returns: nearer to a member half of the time.

    Attributes:
        access: ``none``.
        candidates: records per class.
    """

    access: Literal["none"] = "none"
    candidates: Count = 32

    goal = "training_instance"
    modalities = frozenset({"table", "basket"})
    knowledge = frozenset({"K2"})
    paper = "baseline (PROTOCOL 2.0)"

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Public records ``[classes * candidates, d]``, none twice before all were drawn."""
        public = knowledge.public.x.to(device)
        m = len(require_classes(knowledge, device)) * self.candidates
        rng = generator(seed)
        return Reconstruction(public[dealt(len(public), m, rng).to(device)].clone())
