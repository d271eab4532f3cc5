"""Descent through a network in the latent of a prior, for all classes and restarts at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.common.descent import Features
from attacks.common.latent import Latent, Loss, objective, within
from attacks.common.latent_search import SearchResult
from attacks.common.strangers import Strangers
from bench.contract import Split


@dataclass(frozen=True)
class LatentDescent:
    """Adam on ``loss / spread + prior_weight * |z|^2 / 2 + avoid * likeness to public people``.

    Attributes:
        loss: see :func:`attacks.common.latent.objective`; ``logit`` has LOMMA's penalty on features
            beside it.
        restarts: runs per class.
        steps: of Adam.
        rate: its learning rate, decayed to 0 by a half cosine.
        prior_weight: weight of ``|z|^2 / 2``, against a loss of unit spread over public images.
        feature_weight: LOMMA's lambda, for ``logit``.
        jitter: pixels by which the images are randomly shifted at each step.
        noise: standard deviation of the Gaussian noise added to the images at each step.
        avoid: weight of the likeness to public people, against a loss of unit spread.
    """

    loss: Loss
    restarts: int
    steps: int
    rate: float
    prior_weight: float
    feature_weight: float = 0.0
    jitter: int = 0
    noise: float = 0.0
    avoid: float = 0.0

    def run(
        self,
        network: nn.Module,
        latent: Latent,
        bank: Tensor,
        classes: Tensor,
        public: Split,
        rng: torch.Generator,
    ) -> SearchResult:
        """Where the search ended, restart by restart ``[restarts * t]``.

        Args:
            network: returns logits ``[n, n_classes]``.
            latent: which is searched.
            bank: latents ``[m, k]`` whose images give the loss its unit.
            classes: int64 ``[t]``.
            public: public pictures and their owners, who are avoided.
            rng: of starts, shifts and noise.
        """
        strangers = Strangers.of(public) if self.avoid > 0 else None
        head = Features(network) if self.loss == "logit" else None
        with torch.no_grad():
            seen = objective(network(latent.decode(bank[:256])), self.loss)[:, classes]
            spread = seen.std(0).mean().clamp_min(1e-6)
            usual = bank.new_zeros(()) if head is None else head.value.mean(0)
        own = classes.repeat(self.restarts).unsqueeze(1)
        z = torch.randn(len(own), latent.size, generator=rng, device=rng.device)
        # The first run starts at the mean face, the others at random faces of the prior.
        z[: len(classes)] *= 0.1
        z.requires_grad_()
        optimiser = torch.optim.Adam([z], self.rate, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        trace: list[Tensor] = []

        def total() -> Tensor:
            x = shifted(latent.decode(z), self.jitter, rng)
            if self.noise > 0:
                x = x + self.noise * torch.randn(x.shape, generator=rng, device=rng.device)
            logits = network(x)
            loss = objective(logits, self.loss).gather(1, own).squeeze(1)
            if head is not None:
                drift = (head.value - usual).square().flatten(1).mean(1)
                loss = loss + self.feature_weight * drift
            trace.append(-loss.detach().mean())
            loss = loss / spread + self.prior_weight * z.square().sum(1) / 2
            return loss if strangers is None else loss + self.avoid * strangers.resemblance(x)

        for _ in range(self.steps):
            (z.grad,) = torch.autograd.grad(total().sum(), z)
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                z.copy_(within(z, math.sqrt(latent.size)))
        with torch.no_grad():
            quality = -total()
        reasons = ["steps"] * len(own)
        return SearchResult(z.detach(), quality, reasons, torch.stack(trace), z.new_zeros(len(own)))


def averaged(ended: SearchResult, restarts: int) -> SearchResult:
    """The mean latent of all restarts of each class, with the mean of their signals.

    What the restarts share is the person, what differs is chance.
    """
    count = len(ended.z) // restarts
    return SearchResult(
        ended.z.view(restarts, count, -1).mean(0),
        ended.quality.view(restarts, count).mean(0),
        ended.reasons[:count],
        ended.trace,
        ended.radius[:count],
    )


def shifted(x: Tensor, pixels: int, rng: torch.Generator) -> Tensor:
    """Images ``[n, c, h, w]``, all moved by the same random offset of up to ``pixels`` each way."""
    if pixels == 0:
        return x
    down, right = torch.randint(2 * pixels + 1, (2,), generator=rng, device=rng.device).tolist()
    padded = F.pad(x, (pixels,) * 4, mode="replicate")
    return padded[:, :, down : down + x.shape[2], right : right + x.shape[3]]
