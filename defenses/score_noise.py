"""Gaussian noise on the released scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from bench.contract import NonNegative, Query, ReleaseDefense
from defenses.common.answers import Argmax, gaussian, keep_label, normalised, secret


@dataclass(frozen=True)
class ScoreNoise(ReleaseDefense):
    """Add Gaussian noise to every score, cut it off at 0, and normalise.

    ``fresh`` noise is drawn anew with every answer, so somebody who asks the same record n times
    and averages divides the noise by sqrt(n). ``fixed`` noise is a function of the record and of a
    key that the deployment keeps secret, so asking again says nothing new. A record that differs in
    its last bit has other noise, so an attacker averages over such records instead. Neither states
    an epsilon: the noise is not calibrated to what one training record changes.

    Attributes:
        sigma: standard deviation of the noise on each score; 0 is no defense. Values worth a sweep
            are 0.02, 0.05, 0.1 and 0.3.
        noise: ``fresh`` is drawn anew with every answer, ``fixed`` is a function of the record.
        argmax: with ``kept`` the label's score changes places with one that the noise put before
            it; with ``charged`` the noise may change the label, which costs accuracy.
    """

    sigma: NonNegative = 0.1
    noise: Literal["fresh", "fixed"] = "fixed"
    argmax: Argmax = "kept"

    paper = (
        "Elementary. Noise fixed per record is the one-time randomness of Jia, Salem, Backes, "
        "Zhang, Gong, CCS 2019 (MemGuard)"
    )
    cost = "noisy scores"
    zero: ClassVar[Mapping[str, Any]] = {"sigma": 0.0}

    @property
    def relabels(self) -> bool:
        """Whether the noise may change the label."""
        return self.argmax == "charged"

    @property
    def fresh(self) -> bool:
        """Whether the noise is drawn anew with every answer."""
        return self.noise == "fresh"

    def release(self, scores: Tensor, query: Query) -> Tensor:
        """Scores ``[n, n_classes]`` with noise of their own in every entry."""
        if self.sigma == 0.0:
            return scores
        if self.fresh:
            noise = torch.randn(
                scores.shape, generator=query.rng, device=scores.device, dtype=torch.float64
            )
        else:
            noise = gaussian(secret(query, salt=1), scores.shape[1])
        noisy = normalised((scores.double() + self.sigma * noise).clamp_min(0.0)).to(scores.dtype)
        return noisy if self.relabels else keep_label(noisy, scores)
