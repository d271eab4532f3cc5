"""Clip what clients share and add noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.contract import NonNegative, Positive, TrainingDefense


@dataclass(frozen=True)
class ClipNoise(TrainingDefense):
    """Clip a client's whole update to a norm and add Gaussian noise before it leaves the client.

    This is the local form of Geyer, Klein and Nabi (2017) and McMahan et al. (ICLR 2018): no server
    is trusted. It states no epsilon, for three reasons: the target is trained on shuffled batches
    and not on a Poisson sample of clients, nothing accounts for a client that takes part in many
    rounds, and without ``clip_norm`` the noise has no sensitivity to be measured against.
    ``dp_sgd`` states one.

    Attributes:
        clip_norm: C, the largest L2 norm of the whole update; null clips nothing.
        noise_multiplier: standard deviation of the noise on each coordinate, in units of C, or of 1
            where nothing is clipped. Values worth a sweep are 0.001, 0.01, 0.1 and 1.
    """

    clip_norm: Positive | None = 1.0
    noise_multiplier: NonNegative = 0.01

    needs = frozenset({"steps"})
    paper = "McMahan, Ramage, Talwar, Zhang, ICLR 2018; Geyer, Klein, Nabi 2017, arXiv 1712.07557"
    cost = "a client's clipped norm; slower learning"
    zero: ClassVar[Mapping[str, Any]] = {"clip_norm": None, "noise_multiplier": 0.0}

    def share(self, update: Mapping[str, Tensor], rng: torch.Generator) -> Mapping[str, Tensor]:
        """The clipped update plus noise of its own."""
        scale = 1.0
        if self.clip_norm is not None:
            norm = torch.stack([part.norm() for part in update.values()]).norm()
            factor = (self.clip_norm / norm.clamp_min(1e-30)).clamp(max=1.0)
            update = {name: part * factor for name, part in update.items()}
            scale = self.clip_norm
        std = self.noise_multiplier * scale
        if std == 0:
            return update
        return {
            name: part
            + std * torch.randn(part.shape, generator=rng, device=part.device, dtype=part.dtype)
            for name, part in update.items()
        }
