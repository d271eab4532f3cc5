"""GMI: gradient descent in the latent of a GAN trained on public images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from attacks.common.gan import augment, load_critic
from attacks.common.gan_search import Identity, check_finite, per_class, slope
from attacks.common.latent import GanLatent, Loss, best_restart, last_fifth, require_classes
from attacks.common.ranges import Shift
from bench.contract import (
    Attack,
    Exposure,
    Knowledge,
    Reconstruction,
    generator,
)
from bench.contract.options import Count, NonNegative, Positive, Share


@dataclass(frozen=True)
class Gmi(Attack):
    """Generative model inversion, for all classes and restarts at once.

    Zhang et al., CVPR 2020, section 3.3: minimise ``-D(G(z)) + weight * L_id(G(z))`` over z by
    gradient descent with momentum from random latents, z clipped at each step. As in the authors'
    code the momentum is Nesterov's and the target's own score chooses among the restarts.

    The authors take the mean of both terms over a batch of 100 people, so that a latent moves by a
    hundredth of its own gradient; here that hundredth (``mean_over``) does not change with the
    number of classes. Published: weight 100, learning rate 0.02, momentum 0.9, 1500 steps,
    5 restarts, clip 1, cross-entropy. The defaults of steps and restarts are for a CPU.

    Attributes:
        access: ``weights``.
        loss: identity loss: ``cross_entropy`` as published, or ``logit`` and
            ``margin``, divided by their spread over prior samples.
        weight: the paper's lambda, of the identity loss.
        steps: of the descent.
        learning_rate: of the descent.
        momentum: Nesterov's.
        clip: bound of a latent's coordinates.
        restarts: runs per class.
        mean_over: people whose losses the authors average.
        jitter: largest random shift of the image at each step, a share of its side; the paper has
            none.
    """

    access: Literal["weights"] = "weights"
    loss: Loss = "cross_entropy"
    weight: NonNegative = 100.0
    steps: Count = 400
    learning_rate: Positive = 0.02
    momentum: Share = 0.9
    clip: Positive = 1.0
    restarts: Count = 3
    mean_over: Count = 100
    jitter: Shift = 0.0

    goal = "class_representative"
    modalities = frozenset({"image"})
    knowledge = frozenset({"K1"})
    paper = "Zhang et al., CVPR 2020, section 3.3"

    def doubled(self) -> Gmi:
        """With twice the steps."""
        return replace(self, steps=2 * self.steps)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image per class ``[t, *shape]`` in [0, 1].

        ``info``, for the chosen restart of each class: ``stop_reasons`` (``steps``), ``signal``
        (minus the identity loss, by which it was chosen), ``realness`` (the critic's score);
        and ``steps`` and ``improvement_last_fifth`` of the objective (PROTOCOL 3.6, C7) for all.

        Raises:
            UserError: the knowledge lacks a GAN prior or the classes.
            DivergedError: the search produced NaN or Inf.
        """
        classes = require_classes(knowledge, device)
        latent = GanLatent.of(knowledge, device)
        critic = load_critic(knowledge.prior).to(device)
        rng = generator(seed, device)
        identity = Identity.of(exposure.network(), latent, classes, self.loss, rng)
        own = classes.repeat(self.restarts)
        start = per_class(classes, knowledge.card.n_classes, self.restarts, latent.size, rng)
        z, trace = self._descend(identity, latent, critic, own, start, rng)
        check_finite(z, self.learning_rate)
        with torch.no_grad():
            x = latent.decode(z)
            quality = -identity(x, own)
            rows = best_restart(quality, self.restarts)
            real = critic(x[rows])
        return Reconstruction(
            x[rows],
            {
                "stop_reasons": ["steps"] * len(classes),
                "steps": self.steps,
                "signal": quality[rows].tolist(),
                "realness": real.tolist(),
                "largest_coordinate": float(z.abs().max()),
                "improvement_last_fifth": last_fifth(trace),
            },
        )

    def _descend(
        self,
        identity: Identity,
        latent: GanLatent,
        critic: nn.Module,
        own: Tensor,
        z: Tensor,
        rng: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Latents ``[n, k]`` after a descent from ``z``, minus the mean objective of each step."""
        velocity = torch.zeros_like(z)
        trace = []

        def objective(z: Tensor, rows: slice) -> Tensor:
            x = latent.decode(z)
            seen = augment(x, rng, flip=False, shift=self.jitter) if self.jitter > 0 else x
            loss: Tensor = self.weight * identity(seen, own[rows]) - critic(x)
            return loss

        for _ in range(self.steps):
            value, gradient = slope(objective, z)
            before = velocity
            step = self.learning_rate / self.mean_over
            velocity = self.momentum * velocity - step * gradient
            z = z - self.momentum * before + (1 + self.momentum) * velocity
            z = z.clamp(-self.clip, self.clip)
            trace.append(-value.mean())
        return z, torch.stack(trace)
