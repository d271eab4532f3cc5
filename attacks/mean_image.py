"""Baseline: the mean public image for every victim."""

from __future__ import annotations

from dataclasses import dataclass

from attacks.common.federated import Federated
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, require
from bench.contract.access import Access


@dataclass(frozen=True)
class MeanImage(Federated, Attack):
    """What can be said of a client's records without its update.

    Attributes:
        access: ``none``.
    """

    access: Access = "none"

    goal = "gradient_reconstruction"
    modalities = frozenset({"image"})
    accesses = ("none",)
    knowledge = frozenset({"K2"})
    paper = "baseline (PROTOCOL 3.6, C4)"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.access == "none",
            f"MeanImage.access is '{self.access}'; a baseline has access=none.",
        )

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """The same image for every victim ``[n, *shape]``; no labels."""
        federation = knowledge.federation or self.federation
        mean = knowledge.public.x.to(device).mean(0)
        return Reconstruction(mean.expand(federation.records, *mean.shape).clone())
