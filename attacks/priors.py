"""Priors over images, fitted on what the attacker holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contract import Knowledge, Prior, require


@dataclass(frozen=True)
class PcaPrior(Prior):
    """Principal components of public images (eigenfaces; Turk and Pentland, 1991).

    ``x = mean + z @ basis`` with ``z ~ N(0, I)``: the components are scaled by their standard
    deviation, so that a latent is whitened.

    Attributes:
        components: size of the latent; at most the public records less one are kept.
    """

    components: int = 80

    def __post_init__(self) -> None:
        require(
            self.components >= 1,
            f"PcaPrior.components is {self.components}; give a whole number of at least 1.",
        )

    def fit(self, knowledge: Knowledge, seed: int, device: str) -> dict[str, Tensor]:
        """``mean`` ``[*shape]`` and ``basis`` ``[k, *shape]``, on the CPU.

        Raises:
            UserError: fewer than three public records.
        """
        public = knowledge.public.x
        require(
            len(public) >= 3,
            f"PcaPrior needs at least 3 public records, data set '{knowledge.card.name}' "
            f"has {len(public)}.",
        )
        # Double precision and a fixed sign: the same prior on every machine.
        x = public.flatten(1).to(device, torch.float64)
        mean = x.mean(0)
        _, sigma, rows = torch.linalg.svd(x - mean, full_matrices=False)
        keep = min(self.components, int((sigma > 1e-6 * sigma[0]).sum()))
        rows, sigma = rows[:keep], sigma[:keep] / (len(x) - 1) ** 0.5
        peak = rows.gather(1, rows.abs().argmax(1, keepdim=True))
        basis = rows * peak.sign() * sigma.unsqueeze(1)
        shape = public.shape[1:]
        return {
            "mean": mean.view(shape).float().cpu(),
            "basis": basis.view(-1, *shape).float().cpu(),
        }
