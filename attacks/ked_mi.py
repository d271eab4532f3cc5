"""KED-MI: a GAN that knows the target, and a distribution of latents per class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from attacks.common.gan import Critic, Generator, augment, load_critic, load_generator
from attacks.common.gan_inversion import train_inversion_gan, unreal
from attacks.common.gan_search import Identity, check_finite, per_class, slope
from attacks.common.latent import GanLatent, Loss, best_restart, last_fifth, require_classes
from attacks.common.ranges import Shift
from bench.contract import (
    Attack,
    Exposure,
    Knowledge,
    Reconstruction,
    generator,
    seeded,
)
from bench.contract.options import Count, NonNegative, Positive


@dataclass(frozen=True)
class KedMi(Attack):
    """Knowledge-enriched distributional model inversion, for all classes at once.

    Chen et al., ICCV 2021. Section 3.2: a GAN is trained on public images with the target's soft
    labels (:func:`attacks.common.gan_inversion.train_inversion_gan`). Section 3.3: per class, a
    normal distribution of latents is optimised by Adam through the reparametrisation trick,
    ``E[-log D(G(z)) + weight * L_id(G(z))]``, one latent a step. The authors report the mean over
    5 latents drawn at the end; here the one that the target itself scores best is returned. Their
    clip of the latents changed nothing (it acted on a copy); here it holds for every latent that
    is decoded, the returned one included, and for the means.

    Published: 120 epochs of batches of 64, 5 steps of the discriminator a step, Adam at 2e-4
    (0.5, 0.999), latent 100; then Adam at 0.02, 2400 steps, weight 100, cross-entropy. The
    defaults are for a CPU: the GAN starts from the shared GAN prior and is trained for a few
    hundred steps, and the recovery takes fewer, larger steps.

    Attributes:
        access: ``weights``.
        loss: identity loss: ``cross_entropy`` as published, or ``logit`` and
            ``margin``, divided by their spread over prior samples.
        weight: the paper's lambda, of the identity loss.
        steps: of the recovery.
        learning_rate: of the recovery.
        clip: bound of a latent's coordinates.
        restarts: distributions per class, the first from mean 0 (the paper's), others from
            random means.
        samples: latents drawn per distribution at the end.
        jitter: largest random shift of the image at each step, a share of its side; the paper has
            none.
        warm_start: start the GAN from the prior's; false: from noise, as published, ``latent`` and
            ``width`` wide, and no prior is needed.
        gan_steps: updates of the generator.
        batch_size: images per update.
        critic_steps: updates of the discriminator per update of the generator.
        gan_lr: of Adam, for the GAN.
        latent: size of the latent without a warm start.
        width: channels of the outermost hidden maps without a warm start.
    """

    access: Literal["weights"] = "weights"
    loss: Loss = "cross_entropy"
    weight: NonNegative = 100.0
    steps: Count = 400
    learning_rate: Positive = 0.06
    clip: Positive = 1.0
    restarts: Count = 1
    samples: Count = 5
    jitter: Shift = 0.0
    warm_start: bool = True
    gan_steps: Count = 300
    batch_size: Count = 32
    critic_steps: Count = 1
    gan_lr: Positive = 2e-4
    latent: Count = 64
    width: Count = 16

    goal = "class_representative"
    modalities = frozenset({"image"})
    knowledge = frozenset({"K1"})
    paper = "Chen et al., ICCV 2021, sections 3.2 and 3.3"

    def doubled(self) -> KedMi:
        """With twice the steps, of the GAN's training too."""
        return replace(self, steps=2 * self.steps, gan_steps=2 * self.gan_steps)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image per class ``[t, *shape]`` in [0, 1].

        ``info``, for the chosen sample of each class: ``stop_reasons`` (``steps``), ``signal``
        (minus the identity loss, by which it was chosen), ``deviation`` (mean sigma of its
        distribution); and ``steps``, ``gan_steps`` and ``improvement_last_fifth`` of the objective
        (PROTOCOL 3.6, C7) for all.

        Raises:
            UserError: the knowledge lacks the classes, or a GAN prior for the warm start.
            DivergedError: the GAN or the search produced NaN or Inf.
        """
        classes = require_classes(knowledge, device)
        network = exposure.network()
        rng = generator(seed, device)
        maker, critic = self._players(knowledge, seed, device)
        averaged = train_inversion_gan(
            maker,
            critic,
            knowledge.public.x.to(device),
            network,
            rng,
            steps=self.gan_steps,
            batch_size=self.batch_size,
            critic_steps=self.critic_steps,
            lr=self.gan_lr,
        )
        latent = GanLatent(averaged)
        identity = Identity.of(network, latent, classes, self.loss, rng)
        own = classes.repeat(self.restarts)

        def noise(runs: int) -> Tensor:
            return per_class(classes, knowledge.card.n_classes, runs, latent.size, rng)

        mean, log_variance, trace = self._recover(identity, latent, critic, own, noise, rng)
        deviation = (log_variance / 2).exp()
        many = noise(self.samples * self.restarts).view(self.samples, *mean.shape)
        z = (mean + deviation * many).clamp(-self.clip, self.clip).flatten(0, 1)
        check_finite(z, self.learning_rate)
        with torch.no_grad():
            x = latent.decode(z)
            quality = -identity(x, own.repeat(self.samples))
        rows = best_restart(quality, self.samples * self.restarts)
        return Reconstruction(
            x[rows],
            {
                "stop_reasons": ["steps"] * len(classes),
                "steps": self.steps,
                "gan_steps": self.gan_steps,
                "signal": quality[rows].tolist(),
                "deviation": deviation.mean(1)[rows % len(own)].tolist(),
                "largest_coordinate": float(z.abs().max()),
                "improvement_last_fifth": last_fifth(trace),
            },
        )

    def _players(self, knowledge: Knowledge, seed: int, device: str) -> tuple[Generator, Critic]:
        """The generator and the discriminator before they meet the target."""
        card = knowledge.card
        if not self.warm_start:
            with seeded(seed):
                maker = Generator(card.shape, self.latent, self.width)
                critic = Critic(card.shape, self.width, card.n_classes)
            return maker.to(device), critic.to(device)
        maker, before = load_generator(knowledge.prior), load_critic(knowledge.prior)
        with seeded(seed):
            critic = Critic(card.shape, before.width, card.n_classes)
        critic.downs.load_state_dict(before.downs.state_dict(), strict=True)
        return maker.to(device), critic.to(device)

    def _recover(
        self,
        identity: Identity,
        latent: GanLatent,
        critic: Critic,
        own: Tensor,
        noise: Callable[[int], Tensor],
        rng: torch.Generator,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Means and log variances ``[n, k]``, and minus the mean objective of each step."""
        mean = noise(self.restarts)
        mean[: len(own) // self.restarts] = 0.0
        log_variance = torch.ones_like(mean)
        optimiser = torch.optim.Adam([mean, log_variance], self.learning_rate)
        trace = []

        def objective(z: Tensor, rows: slice) -> Tensor:
            x = latent.decode(z)
            seen = augment(x, rng, flip=False, shift=self.jitter) if self.jitter > 0 else x
            return unreal(critic.logits(x)) + self.weight * identity(seen, own[rows])

        for _ in range(self.steps):
            shift = (log_variance / 2).exp() * noise(self.restarts)
            z = mean + shift
            value, gradient = slope(objective, z.clamp(-self.clip, self.clip))
            # The gradient of a clipped coordinate is kept where it points back inside.
            gradient = torch.where((z.abs() > self.clip) & (gradient * z < 0), 0.0, gradient)
            mean.grad, log_variance.grad = gradient, gradient * shift / 2
            optimiser.step()
            mean.clamp_(-self.clip, self.clip)
            trace.append(-value.mean())
        return mean, log_variance, torch.stack(trace)
