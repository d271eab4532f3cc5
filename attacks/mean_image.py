"""Baseline: the mean public image for every victim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attacks.common.federated import Federated
from attacks.common.latent import mean_images
from bench.contract import Attack, Exposure, Knowledge, Reconstruction


@dataclass(frozen=True)
class MeanImage(Federated, Attack):
    """What can be said of a client's records without its update.

    Attributes:
        access: ``none``.
    """

    access: Literal["none"] = "none"

    goal = "gradient_reconstruction"
    modalities = frozenset({"image"})
    knowledge = frozenset({"K2"})
    paper = "baseline (PROTOCOL 3.6, C4)"

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """The same image for every victim ``[n, *shape]``; no labels."""
        federation = knowledge.federation or self.federation
        return Reconstruction(mean_images(knowledge, federation.records, device))
