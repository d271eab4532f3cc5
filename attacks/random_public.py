"""Baseline: a random public image for every class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from attacks.common.latent import require_classes
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, generator


@dataclass(frozen=True)
class RandomPublic(Attack):
    """A natural face that has nothing to do with the class: what chance looks like.

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
        """A public image ``[t, *shape]`` per class, drawn with replacement."""
        classes = require_classes(knowledge, device)
        rng = generator(seed)
        drawn = torch.randint(len(knowledge.public), (len(classes),), generator=rng)
        return Reconstruction(knowledge.public.x[drawn].to(device))
