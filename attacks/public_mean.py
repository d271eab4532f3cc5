"""Baseline: the mean public image for every class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attacks.common.latent import mean_images, require_classes
from bench.contract import Attack, Exposure, Knowledge, Reconstruction


@dataclass(frozen=True)
class PublicMean(Attack):
    """What an attacker can say of a class without the model, at its most cautious.

    Attributes:
        access: ``none``.
    """

    access: Literal["none"] = "none"

    goal = "class_representative"
    modalities = frozenset({"image"})
    knowledge = frozenset({"K1"})
    paper = "baseline (PROTOCOL 3.6, C4)"

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """The same image ``[t, *shape]`` for all classes."""
        classes = require_classes(knowledge, device)
        return Reconstruction(mean_images(knowledge, len(classes), device))
