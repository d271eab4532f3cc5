"""Shares of the classes as logits."""

from __future__ import annotations

import torch
from torch import Tensor

NEVER = -110.0
"""Logit of a class with share 0: its softmax in float32 is exactly 0."""

_LEAST = 1.2e-38
"""The least number that float32 holds in full on every device."""


def logits_of(shares: Tensor) -> Tensor:
    """Logits whose softmax gives the shares back, where these sum to 1."""
    return torch.where(shares > 0, shares.clamp_min(_LEAST).log(), NEVER)
