"""Baseline of training-record leakage: public records."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attacks.common.latent import require_classes
from bench.contract import Access, Attack, Exposure, Knowledge, Reconstruction, generator, require


@dataclass(frozen=True)
class PublicRecords(Attack):
    """Random public records, as many as an attack returns: nearer to a member half of the time.

    Attributes:
        access: ``none``.
        candidates: records per class.
    """

    access: Access = "none"
    candidates: int = 32

    goal = "training_instance"
    modalities = frozenset({"table", "basket"})
    accesses = ("none",)
    knowledge = frozenset({"K2"})
    paper = "baseline (PROTOCOL 2.0)"

    def __post_init__(self) -> None:
        require(self.access == "none", f"public_records: access is '{self.access}'; allowed: none.")
        require(
            self.candidates >= 1,
            f"public_records: candidates is {self.candidates}; allowed: 1 or more.",
        )

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Public records ``[classes * candidates, d]``, none twice before all were drawn."""
        public = knowledge.public.x.to(device)
        m = len(require_classes(knowledge, device)) * self.candidates
        rng = generator(seed)
        rounds = -(-m // len(public))
        order = torch.cat([torch.randperm(len(public), generator=rng) for _ in range(rounds)])
        return Reconstruction(public[order[:m].to(device)].clone())
