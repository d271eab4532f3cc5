"""Baseline: the mean public image of a victim's published label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

from bench.contract import Attack, Exposure, Knowledge, Reconstruction, require


@dataclass(frozen=True)
class ClassMean(Attack):
    """What the published label alone tells of an image.

    The deployment publishes labels on purpose, so what they tell is not billed to a defense
    (PROTOCOL 2.0). Where public labels are other people's (faces), or a label has no public
    image, the guess is the mean of all public images.

    Attributes:
        access: ``none``.
    """

    access: Literal["none"] = "none"

    goal = "output_reconstruction"
    modalities = frozenset({"image"})
    knowledge = frozenset({"K2"})
    paper = "baseline (PROTOCOL 2.0, 2.2)"

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image per victim ``[n, *shape]``."""
        labels, card = knowledge.victim_labels, knowledge.card
        require(labels is not None, "ClassMean needs the victims' published labels.")
        assert labels is not None
        x = knowledge.public.x.to(device)
        mean = x.mean(0)
        if not card.shared_classes:
            return Reconstruction(mean.expand(len(labels), *mean.shape).clone())
        one_hot = F.one_hot(knowledge.public.y.to(device), card.n_classes).to(x.dtype)
        count = one_hot.sum(0).view(-1, *[1] * mean.dim())
        means = torch.einsum("nc,n...->c...", one_hot, x) / count.clamp_min(1)
        return Reconstruction(torch.where(count > 0, means, mean)[labels.to(device)])
